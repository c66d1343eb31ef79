//! The golden path over gRPC: a tonic service and a tonic client.
//!
//! What is about time runs in memory on a paused clock; over real connections nothing about time is asserted.

mod answers;
mod client;
mod faults;
mod hops;
#[cfg(feature = "idempotency")]
mod keys;
mod loopback;
mod server;
mod verdicts;
mod wire;
