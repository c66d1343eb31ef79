//! Hedge: a second copy of a call that takes too long, for the slowest calls of a dependency that is well.
//!
//! In every large system a few calls are slow for reasons of their own: a garbage collection, a full queue on one of many
//! replicas. Whoever needs ten answers waits for the slowest of them. [`HedgeLayer`] sends the same request once more when
//! the first copy has taken longer than most calls do, and takes the first *success* of the two; the other copy is
//! dropped. The idea and its price are Dean's and Barroso's ("The Tail at Scale", Communications of the ACM 56(2), 2013):
//! at the 95th percentile it costs at most a twentieth more calls.
//!
//! Hedging helps against slowness that a copy need not share. It does nothing for a dependency that is slow as a whole,
//! and would harm it, so it is off unless asked for, and every copy is paid from a [`RetryBudget`](crate::RetryBudget):
//!
//! * Only requests that may be sent twice are hedged; the request says it: [`Repeat`](crate::Repeat).
//! * The copy leaves once the first has been with the service for a fixed delay, or for the live quantile of what first
//!   attempts take. There is no quantile before 20 calls, and no hedging.
//! * A [`Transient`](crate::Class::Transient) failure does not wait for the delay: the copy leaves at once, unless the
//!   dependency said when to come back.
//! * There is one copy at most, none once the [`Deadline`](crate::Deadline) has passed, and none while the first waits for
//!   a place on this side.
//! * A copy that the budget refuses, that fails, or that this side turns away, leaves the first one running.
//!
//! A success settles the call, and so does a request that was itself at fault. Where both copies fail, the caller gets
//! the later failure, or the dependency's own error where the later one is a refusal of this side.
//!
//! The layer belongs inside a retry. In a golden client it is there already, switched on by
//! [`hedge`](crate::golden::ClientBuilder::hedge); each copy passes the circuit breaker and the bulkhead by itself, takes a
//! place of its own and is counted for itself: of a dependency that hangs, one call is two failures to the breaker.
//!
//! # Defaults
//!
//! | setting | default |
//! |---|---|
//! | when to send the copy | at the live [`quantile`](HedgeLayer::quantile) of 95 %; or after a fixed [`delay`](HedgeLayer::delay) |
//! | [`budget`](HedgeLayer::budget) | the retry's in a golden client; else its own: 20 % of first attempts + 10 a second |
//! | [`classify`](HedgeLayer::classify) | [`ByError`](crate::classify::ByError) |
//!
//! # Telemetry
//!
//! Events `HedgeSent` and `HedgeFinished`; total `resilience.hedge.calls{pipeline, result}`. A copy is an attempt with a number
//! of its own, in `resilience.attempts` one of type `hedge`; the one that is dropped ends as `cancelled`.
//!
//! # Cancellation
//!
//! Dropping the call drops both copies. What the budget has paid stays paid.
//!
//! # Example
//!
//! ```
//! # #[tokio::main(flavor = "current_thread", start_paused = true)] async fn main() {
//! use std::{sync::atomic::{AtomicU32, Ordering}, time::Duration};
//! use moneta_resilience::{BoxError, Repeatable, hedge::HedgeLayer};
//! use tokio::time::{Instant, sleep};
//! use tower::{ServiceBuilder, ServiceExt, service_fn};
//!
//! static CALLS: AtomicU32 = AtomicU32::new(0);
//! let service = ServiceBuilder::new()
//!     .layer(HedgeLayer::new().delay(Duration::from_millis(10)))
//!     .service(service_fn(|Repeatable(pair): Repeatable<&'static str>| async move {
//!         let slow = CALLS.fetch_add(1, Ordering::Relaxed) == 0;
//!         sleep(Duration::from_millis(if slow { 500 } else { 5 })).await;
//!         Ok::<_, BoxError>(format!("{pair} 0.9312"))
//!     }));
//!
//! let start = Instant::now();
//! let quote = service.oneshot(Repeatable("EUR/CHF")).await.expect("the copy answers");
//! assert_eq!(quote, "EUR/CHF 0.9312");
//! assert_eq!(start.elapsed(), Duration::from_millis(15));
//! # }
//! ```

mod config;
mod layer;
mod none;
mod policy;
#[cfg(test)]
mod tests;

pub use config::{HedgeChoice, Hedging, NoHedge};
pub use layer::{Hedge, HedgeFuture, HedgeLayer};
pub use policy::{HedgePass, HedgePolicy};
