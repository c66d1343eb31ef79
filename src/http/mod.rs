//! What is special about HTTP: deadlines in headers and the mark on a degraded answer.
//!
//! # The inbound deadline
//!
//! A caller says how long it will wait, in whole milliseconds: `x-request-timeout-ms`, or the
//! `x-envoy-expected-rq-timeout-ms` that Envoy sends. It is turned into a local instant on arrival, so clock skew does
//! not matter, and combined with the server's own timeout by the minimum: a caller can shorten a limit, never lengthen
//! one. Of several values the shortest counts. What cannot be read is ignored and counted, in
//! `resilience.deadlines.malformed`; a caller's garbage is never the server's error.

mod body;
mod deadline;
mod degraded;
#[cfg(test)]
mod tests;

pub use body::AnswerBody;
pub(crate) use deadline::REQUEST_TIMEOUT;
pub use deadline::{DeadlineHeaderPass, DeadlineHeaderPolicy};
pub use degraded::{Degraded, HttpFallbackPolicy};
