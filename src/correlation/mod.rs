//! What the lines of a log are found by: the request that they were written for, and the trace in which it stands.

#[cfg(all(feature = "http", feature = "logs"))]
mod request;
#[cfg(not(all(feature = "http", feature = "logs")))]
#[path = "no_request.rs"]
mod request;
#[cfg(any(feature = "logs", feature = "otel"))]
#[cfg_attr(
    not(all(feature = "http", feature = "logs")),
    allow(dead_code, reason = "what traces come over HTTP is shown in logs")
)]
mod trace;

pub(crate) use request::Correlation;
#[cfg(any(feature = "logs", feature = "otel"))]
pub(crate) use trace::Trace;
#[cfg(feature = "logs")]
pub(crate) use trace::{SpanId, TraceId};
