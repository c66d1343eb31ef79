//! Telemetry: how each call ended and how long it took.
//!
//! [`TelemetryLayer`] stands outside of everything else, so that what it tells is what the caller saw. Each call is told
//! exactly once: with its answer, or, when its future is dropped before that, as `cancelled` or `panic`. Inside a golden
//! stack [`AttemptTelemetryPolicy`] does the same for each attempt at the transport, inside the retries, the circuit
//! breaker and the bulkhead, so that a call that was refused on this side is no attempt.
//!
//! # Defaults
//!
//! | setting | default |
//! |---|---|
//! | name | none: it has to be given, because it is what dashboards and alerts ask for |
//! | observer | [`record::observer`](crate::record::observer): the process's counts and its metrics backend |
//! | classifier | [`ByError`](crate::classify::ByError) |
//!
//! # Telemetry
//!
//! Events `CallFinished`, `AttemptStarted` and `AttemptFinished`. With feature `otel`, through the global tracer provider, a span for each
//! call and for each attempt: see `docs/telemetry.md` for their attributes. A provider that is set or changed later is
//! noticed within a second; without one, or with one that was shut down, a call makes no span.
//!
//! # Cancellation
//!
//! A dropped call ends its span and is told once, as `cancelled`; a caller that went away is not an error. A panic passes
//! through and is told as `panic`.
//!
//! # Example
//!
//! ```
//! # #[tokio::main(flavor = "current_thread")] async fn main() -> Result<(), tower::BoxError> {
//! use moneta_resilience::{Registry, event::Outcome, telemetry::TelemetryLayer};
//! use tower::{BoxError, ServiceBuilder, ServiceExt, service_fn};
//!
//! let service = ServiceBuilder::new()
//!     .layer(TelemetryLayer::new("ledger"))
//!     .service(service_fn(|amount: u32| async move { Ok::<_, BoxError>(amount) }));
//! service.oneshot(7).await?;
//!
//! let all = Registry::global().cells_by_name();
//! let (_, ledger) = all.iter().find(|(name, _)| name.as_str() == "ledger").expect("it was counted");
//! assert_eq!(ledger.calls(Outcome::Success), 1);
//! # Ok(()) }
//! ```

mod attempt;
mod call;
mod layer;
#[cfg(any(feature = "otel", feature = "metrics", feature = "slo-generate"))]
#[cfg_attr(
    not(all(feature = "otel", feature = "http")),
    allow(dead_code, reason = "spans, and each protocol, have names of their own")
)]
pub(crate) mod names;
#[cfg(feature = "otel")]
mod span;
#[cfg(not(feature = "otel"))]
#[path = "no_span.rs"]
mod span;
#[cfg(test)]
mod tests;
#[cfg(feature = "otel")]
mod tracer;

pub use attempt::{AttemptTelemetryPass, AttemptTelemetryPolicy};
pub use call::{CallTelemetryPass, CallTelemetryPolicy};
pub use layer::{TelemetryFuture, TelemetryLayer, TelemetryService};
#[cfg(feature = "logs")]
pub(crate) use span::current;
pub(crate) use span::{Prepared, Span, SpanEnd, Spans};
#[cfg(feature = "otel")]
pub(crate) use tracer::has_tracer;
#[cfg(feature = "otel")]
pub(crate) use tracer::scope;

use crate::{
    class::Ending,
    error::{BoxError, Rejected},
    event::Outcome,
};

/// Which side of a wire the work of a span is on. It decides the span's kind, and whether a request that was itself at
/// fault is an error.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Side {
    /// Neither: a call with all its attempts.
    Internal,
    /// The one that asks.
    Client,
    /// The one that answers.
    #[cfg_attr(not(feature = "http"), expect(dead_code, reason = "the server profile is one of HTTP"))]
    Server,
    /// The one that takes a message off a queue.
    Consumer,
}

impl Side {
    /// What kind of error `outcome` is to the work on this side, if it is one. A caller that went away is none, and
    /// neither is a request at fault, except to the one that made it.
    #[inline]
    pub(crate) fn error_type(self, outcome: Outcome, error: Option<&BoxError>) -> Option<&'static str> {
        match outcome {
            Outcome::Success | Outcome::Degraded | Outcome::Cancelled => None,
            Outcome::CallerFault if self != Self::Client => None,
            _ => Some(error_type(outcome, error)),
        }
    }
}

#[cold]
fn error_type(outcome: Outcome, error: Option<&BoxError>) -> &'static str {
    let rejected = error.and_then(|error| Rejected::find(&**error));
    rejected.map_or(outcome.as_str(), |rejected| rejected.reason().as_str())
}

/// How work ended that gave no answer.
pub(crate) const fn outcome_of(ending: Ending) -> Outcome {
    match ending {
        Ending::Cancelled => Outcome::Cancelled,
        Ending::Panicked => Outcome::Panicked,
    }
}
