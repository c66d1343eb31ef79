//! Telemetry of HTTP: what OpenTelemetry's conventions ask, on both ends of the wire.
//!
//! One policy tells of each part of a stack: of the calls of a server, of the calls of a client with all their attempts,
//! and of each attempt by itself. What it tells of ends with the *body* of the answer (its last frame, its error, or its
//! drop), because that is when the work is done and when it is known how it went.
//!
//! A span is only prepared where somebody would see it. Without a tracer provider a request pays for two words of its head.

mod body;
mod layer;
mod open;
mod policy;
#[cfg(feature = "otel")]
mod trace;
#[cfg(not(feature = "otel"))]
#[path = "no_trace.rs"]
mod trace;
mod words;

pub use body::ToldBody;
pub use layer::{ServerTelemetry, ServerTelemetryFuture, ServerTelemetryLayer};
pub(crate) use open::{Part, Teller, Trust};
pub use policy::{HttpTelemetryPass, HttpTelemetryPolicy};
pub(super) use trace::inject;
