//! Retry: another attempt where one can help, and no storm where it cannot.
//!
//! Most failures of a network pass within milliseconds, and a second attempt hides them. But retries are load, and
//! they come when a dependency can bear it least: three attempts at each of three tiers are 27 calls at the bottom. So
//! after a failed attempt [`RetryLayer`] asks these questions, in this order, and the first "no" returns the attempt's
//! own error at once:
//!
//! 1. Can asking again help? The [`Class`](crate::Class) says it: `Transient` and `Throttled`, unless
//!    the dependency forbids it ([`Class::NEVER`](crate::Class::NEVER)).
//! 2. May the request be sent twice? The request says it: [`Repeat`](crate::Repeat). After a failure that shows that the
//!    service has not even begun, a refused connection or HTTP/2 stream, any request may be, once.
//! 3. Is there an attempt left?
//! 4. Do the wait and a useful attempt fit into what the [`Deadline`](crate::Deadline) leaves?
//! 5. Does the [`RetryBudget`](crate::RetryBudget) grant it? Only this charges it.
//!
//! An error comes back as the service made it, never wrapped. Where a later attempt was refused on this side (an open
//! circuit, a full bulkhead), the caller gets the last error of the dependency, which says why the call failed; if the
//! attempts before gave failed *responses*, those are dropped already, and the caller gets the refusal.
//!
//! Each attempt gets a fresh clone of the service, made ready inside the call. What the failed attempt held (response,
//! connection, permit) is given back before the wait begins.
//!
//! # Defaults
//!
//! | setting | default |
//! |---|---|
//! | [`attempts`](RetryLayer::attempts) | 3 in all |
//! | [`backoff`](RetryLayer::backoff) | full jitter, base 50 ms, cap 20 s |
//! | [`throttled_backoff`](RetryLayer::throttled_backoff) | full jitter, base 1 s, cap 20 s |
//! | [`budget`](RetryLayer::budget) | its own: 20 % of first attempts + 10 a second |
//! | [`min_useful_attempt`](RetryLayer::min_useful_attempt) | the live median of the attempts that succeed, of calls with a deadline; 1 ms until it is known |
//! | [`never_processed`](RetryLayer::never_processed) | [`classify::never_processed`](crate::classify::never_processed) |
//! | [`trust_hints`](RetryLayer::trust_hints) | no: a hint adds at most 5 s to the backoff |
//! | [`classify`](RetryLayer::classify) | [`ByError`](crate::classify::ByError) |
//!
//! # Telemetry
//!
//! Events `RetryScheduled` and `RetryFinished`, which says why there was no further attempt; totals
//! `resilience.retry.calls{pipeline, result}` and `resilience.retry.gave_up{pipeline, reason}`.
//!
//! # Cancellation
//!
//! Dropping the call drops the attempt in hand, or ends the wait; nothing more is sent. What the budget has paid stays
//! paid.
//!
//! # Example
//!
//! ```
//! # #[tokio::main(flavor = "current_thread")] async fn main() {
//! use std::{io, sync::atomic::{AtomicU32, Ordering}};
//! use moneta_resilience::{Repeatable, retry::RetryLayer};
//! use tower::{ServiceBuilder, ServiceExt, service_fn};
//!
//! static CALLS: AtomicU32 = AtomicU32::new(0);
//! let service = ServiceBuilder::new().layer(RetryLayer::new()).service(service_fn(
//!     |Repeatable(pair): Repeatable<&'static str>| async move {
//!         match CALLS.fetch_add(1, Ordering::Relaxed) {
//!             0 => Err(io::Error::from(io::ErrorKind::ConnectionReset)),
//!             _ => Ok(format!("{pair} 0.9312")),
//!         }
//!     },
//! ));
//!
//! let quote = service.oneshot(Repeatable("EUR/CHF")).await.expect("the second attempt answers");
//! assert_eq!(quote, "EUR/CHF 0.9312");
//! # }
//! ```

mod backoff;
mod config;
mod layer;
mod policy;
#[cfg(test)]
mod tests;

pub use backoff::Backoff;
pub use layer::{Retry, RetryFuture, RetryLayer};
pub use policy::{RetryPass, RetryPolicy};
