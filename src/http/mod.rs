//! What is special about HTTP: deadlines in headers, bodies that can be sent again, limits on the bodies of
//! answers, the last good answers for when there is no new one, and the mark on a degraded answer.
//!
//! # The inbound deadline
//!
//! A caller says how long it will wait, in whole milliseconds: `x-request-timeout-ms`, or the
//! `x-envoy-expected-rq-timeout-ms` that Envoy sends. It is turned into a local instant on arrival, so clock skew does
//! not matter, and combined with the server's own timeout by the minimum: a caller can shorten a limit, never lengthen
//! one. Of several values the shortest counts. What cannot be read is ignored and counted, in
//! `resilience.deadlines.malformed`; a caller's garbage is never the server's error.
//!
//! # The inbound priority
//!
//! A caller says how much its request matters in `x-request-priority`: one of the names of [`Priority`]. It can lower what
//! the request is worth to the server, which is `critical` unless
//! [`priority_of`](crate::golden::ServerBuilder::priority_of) says otherwise, and raise it only where
//! [`trust_priority`](crate::golden::ServerBuilder::trust_priority) says so. Of several values the least counts. What
//! cannot be read is ignored and counted, in `resilience.priorities.malformed`.
//!
//! # What an attempt says
//!
//! | header | on | value |
//! |---|---|---|
//! | `x-request-timeout-ms` (or the name that was given) | every attempt | what is left of the attempt's time, in whole milliseconds, rounded down, at least 1 |
//! | `x-request-priority` | attempts of work that has a priority | what [`Priority::current`] was; one that the request carries is left |
//! | `x-envoy-attempt-count` | later attempts | which attempt it is: 2, 3, … |
//!
//! The golden HTTP client writes them innermost, so each attempt says what is left when *it* begins. A shorter limit that
//! the request already carries is left as it is. No RFC has a name for the number of an attempt; Envoy's is what meshes
//! and their logs know, and counts the first attempt as 1. A first attempt does without, because that is what its absence
//! means, and most calls are first attempts.
//!
//! [`idempotency_keys`](crate::golden::ClientBuilder::idempotency_keys) adds an `Idempotency-Key`
//! (draft-ietf-httpapi-idempotency-key-header) to the calls that have none: one a call, the same on every attempt.
//!
//! The cost is two small allocations for the number, and two for the map of headers where the request has none yet. With
//! [`without_wire_headers`](crate::golden::ClientBuilder::without_wire_headers) nothing is written.

mod body;
mod body_timeout;
mod deadline;
mod degraded;
mod held;
mod key;
mod priority;
mod record;
#[cfg(feature = "reqwest")]
mod reqwest;
mod stale;
mod telemetry;
#[cfg(test)]
mod tests;
mod wire;

pub use body::AnswerBody;
pub(crate) use body_timeout::BodyLimits;
pub use body_timeout::{
    BodyTimeout, BodyTimeoutFuture, BodyTimeoutLayer, BodyTimeoutPass, BodyTimeoutPolicy, TimedBody,
};
#[cfg(feature = "grpc")]
pub(crate) use deadline::Patience;
pub(crate) use deadline::REQUEST_TIMEOUT;
pub use deadline::{DeadlineHeaderPass, DeadlineHeaderPolicy};
pub use degraded::{Bodies, Degraded, HttpFallbackPolicy};
pub use held::{BodyBulkhead, BodyBulkheadFuture, BodyBulkheadLayer, BodyBulkheadPolicy, HeldBody};
pub use key::IdempotencyKeyPolicy;
pub(crate) use priority::Priorities;
pub use priority::{PriorityHeaderPass, PriorityHeaderPolicy};
#[cfg(feature = "grpc")]
pub(crate) use record::with_body;
pub use record::{NotReplayable, RecordBody};
#[cfg(feature = "reqwest")]
pub use reqwest::{Reqwest, ReqwestFuture};
pub use stale::{KeptBody, Stale, StaleBody, StaleCache, StalePass};
pub(crate) use telemetry::{Http, Judge, Part, Teller, Trust};
pub use telemetry::{
    HttpTelemetryPass, HttpTelemetryPolicy, ServerTelemetry, ServerTelemetryFuture, ServerTelemetryLayer,
    ToldBody,
};
#[cfg(feature = "grpc")]
pub(crate) use telemetry::{Said, Verdict};
pub(crate) use wire::WireHeaders;
pub use wire::{WireHeadersPass, WireHeadersPolicy};

#[cfg(doc)]
use crate::Priority;
