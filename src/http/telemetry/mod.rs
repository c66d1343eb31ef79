//! Telemetry of HTTP, and of gRPC over it: what OpenTelemetry's conventions ask, on both ends of the wire.
//!
//! One policy tells of each part of a stack: of the calls of a server, of the calls of a client with all that it does for
//! them, and of what it sends. What it tells of ends with the *body* of the answer (its last frame, its error, or its
//! drop), because that is when the work is done and when it is known how it went. What a protocol has of its own is a
//! [`Judge`].
//!
//! A span is only prepared where somebody would see it. Without a tracer provider a request pays for two words of its head.

mod body;
mod held;
mod judge;
mod layer;
mod methods;
mod open;
mod policy;
mod teller;
#[cfg(feature = "otel")]
mod trace;
#[cfg(not(feature = "otel"))]
#[path = "no_trace.rs"]
mod trace;
mod words;

pub use body::ToldBody;
pub(crate) use judge::{Http, Judge};
#[cfg(feature = "grpc")]
pub(crate) use judge::{Said, Verdict};
pub use layer::{ServerTelemetry, ServerTelemetryFuture, ServerTelemetryLayer};
pub use policy::{HttpTelemetryPass, HttpTelemetryPolicy};
pub(crate) use teller::{Part, Teller, Trust};
pub(super) use trace::inject;
