//! Client throttling: not sending what the other side would refuse anyway.
//!
//! A service in overload spends its time on refusing calls, and the more are sent, the less it serves. A client sees the
//! refusals and can send less by itself. This is the adaptive throttling of the SRE book (Beyer et al., *Site Reliability
//! Engineering*, ch. 21, "Client-Side Throttling"): over the calls of the last two minutes each call is refused here with
//! probability
//!
//! ```text
//! p = max(0, (requests − K · accepts) / (requests + 1))
//! ```
//!
//! so that with `K` = 2 the other side sees about twice as many calls as it accepts, however many are made. Calls that are
//! refused here count as requests: when more is asked for, more is refused. As soon as the other side accepts more, more is
//! sent.
//!
//! Only an answer that says *too much* is not accepted: [`Throttled`](crate::Class::Throttled) (429, `RESOURCE_EXHAUSTED`), and
//! a [`Transient`](crate::Class::Transient) failure that says when to come back, as a server of this crate does when it refuses
//! (503 with `Retry-After`, `UNAVAILABLE` with a pushback). Every other failure is the circuit breaker's affair. What was
//! refused on this side, by the layers inside, is no request.
//!
//! # Defaults
//!
//! | setting | default |
//! |---|---|
//! | [`ratio`](ThrottleLayer::ratio), K | 2 |
//! | [`window`](ThrottleLayer::window) | 2 min |
//! | [`min_rate`](ThrottleLayer::min_rate) | 1 request a second: with fewer over the window, nothing is refused |
//! | [`max_refused`](ThrottleLayer::max_refused) | 95 %: some calls always find out whether the other side is back |
//! | golden client | off, until [`throttle`](crate::golden::ClientBuilder::throttle) |
//!
//! # Errors
//!
//! [`Rejected`](crate::Rejected) with reason [`Throttled`](crate::Reason::Throttled), whose class is
//! [`Neutral`](crate::Class::Neutral): nothing was asked of the dependency, and no retry follows.
//!
//! # Telemetry
//!
//! Event `LoadShed`; total `resilience.load_shed.refused{pipeline, reason}`.
//!
//! # Cancellation
//!
//! A call that is dropped counts neither as a request nor as accepted. Nothing is held.
//!
//! # Example
//!
//! ```
//! # #[tokio::main(flavor = "current_thread")] async fn main() -> Result<(), moneta_resilience::BoxError> {
//! use moneta_resilience::load_shed::ThrottleLayer;
//! use tower::{BoxError, Layer, ServiceExt, service_fn};
//!
//! let service = ThrottleLayer::new().layer(service_fn(|id: u64| async move { Ok::<_, BoxError>(id) }));
//! assert_eq!(service.oneshot(7).await?, 7);
//! # Ok(()) }
//! ```

mod layer;
mod machine;
mod policy;
#[cfg(test)]
mod tests;

pub use layer::{Throttle, ThrottleFuture, ThrottleLayer};
pub use policy::{ThrottlePass, ThrottlePolicy};
