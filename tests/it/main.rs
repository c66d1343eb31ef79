//! The integration tests, as one binary: what holds for the crate as a whole.
#![expect(clippy::unwrap_used, reason = "a test may panic")]

mod bad_use;
#[cfg(feature = "http")]
mod bodies;
mod consumer;
mod contract;
#[cfg(all(feature = "http", feature = "logs"))]
mod correlation;
#[cfg(feature = "http")]
mod deadlines;
#[cfg(feature = "http")]
mod faults;
mod floors;
#[cfg(feature = "http")]
mod golden_http;
#[cfg(feature = "grpc")]
mod grpc;
#[cfg(feature = "idempotency")]
mod idempotency;
#[cfg(feature = "http")]
mod keys;
mod outcomes;
#[cfg(feature = "reqwest")]
mod over_reqwest;
#[cfg(feature = "http")]
mod priorities;
#[cfg(all(feature = "rate-limit", feature = "http"))]
mod rate_limits;
mod shapes;
#[cfg(feature = "http")]
mod shedding;
#[cfg(all(feature = "slo", feature = "http"))]
mod slo;
#[cfg(all(feature = "slo", feature = "http"))]
mod slo_drive;
#[cfg(all(feature = "slo", feature = "http"))]
mod slo_injected;
mod storm;
mod trials;
#[cfg(feature = "http")]
mod ui;
#[cfg(feature = "hyper")]
mod unprocessed;
