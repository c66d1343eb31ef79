//! Calls in flight, bounded, so that one slow dependency cannot take every connection, task and byte of a
//! service.
//!
//! By Little's law the calls in flight are their rate times their latency: when a dependency becomes ten
//! times slower, ten times as many calls pile up in front of it, and what they hold is missing everywhere
//! else. A bulkhead gives each dependency a compartment of its own (Nygard, *Release It!*, "Bulkheads"). A
//! call that finds it full waits shortly, in order, or is refused.
//!
//! Nobody knows the right limit for long: it is the number of calls that the dependency works on at once, and changes
//! with every release and every neighbour. [`BulkheadLayer::adaptive`] finds it by itself, by the latency
//! ([`Gradient`]) or by the refusals ([`Aimd`]) of the dependency, and follows it.
//!
//! # Defaults
//!
//! | setting | default | server stack |
//! |---|---|---|
//! | limit | none: it has to be given; a client stack has 256 | 1024 |
//! | bounds of a limit that adapts | 1 to 1000, beginning with 20 | the same |
//! | [`max_queue`](BulkheadLayer::max_queue) | 64 | 0: refused at once |
//! | [`max_wait`](BulkheadLayer::max_wait) | 100 ms, and never past the deadline of the call | – |
//!
//! [`without_refusals`](BulkheadLayer::without_refusals) is what a consumer of messages wants: all wait.
//!
//! The queue is first in, first out: a place that comes free goes to the call that has waited longest, and no
//! newcomer passes it. Queueing happens in the call, not in `poll_ready`, so that a service which was made
//! ready and is never called holds nothing.
//!
//! With [`priorities`](BulkheadLayer::priorities) each [`Priority`](crate::Priority) may fill its share of the limit, so that
//! the important calls find room also when there are too many of the others.
//!
//! # Errors
//!
//! [`Rejected`](crate::Rejected) with reason [`BulkheadFull`](crate::Reason::BulkheadFull) when the queue is
//! full, [`BulkheadWait`](crate::Reason::BulkheadWait) when `max_wait` has passed,
//! [`DeadlineExceeded`](crate::Reason::DeadlineExceeded) when the deadline of the call ended the wait sooner.
//! None of them says anything about the dependency: their class is [`Neutral`](crate::Class::Neutral).
//!
//! # Telemetry
//!
//! Events `BulkheadWaited` and `BulkheadRefused`; limit, calls in flight and calls queued in
//! [`BulkheadHandle::state`].
//!
//! # Shares
//!
//! [`partition_by`](BulkheadLayer::partition_by) divides the limit into equal shares by a key of the request, so that one
//! tenant cannot take everybody's places. The shares are strict: none is lent out, and together they are never more than
//! the limit.
//!
//! # Cost
//!
//! One compare-and-swap to get in and one to get out, without a lock or an allocation, as long as nobody waits. A limit
//! that adapts adds one atomic add for each call that succeeds; the call that completes a round trip (as many calls as
//! were in flight) takes a lock, and so does one that tells of an overload. With
//! shares a call takes a lock for a look-up when it begins and when it ends.
//!
//! # Cancellation
//!
//! A call that is dropped in the queue leaves it at once; one that is dropped inside gives its place to the
//! next, after its work was dropped.
//!
//! # Example
//!
//! ```
//! # #[tokio::main(flavor = "current_thread")] async fn main() -> Result<(), moneta_resilience::BoxError> {
//! use std::time::Duration;
//! use moneta_resilience::bulkhead::BulkheadLayer;
//! use tower::{BoxError, ServiceBuilder, ServiceExt, service_fn};
//!
//! let bulkhead = BulkheadLayer::new(20).max_queue(10).max_wait(Duration::from_millis(50));
//! let handle = bulkhead.handle();
//! let service = ServiceBuilder::new()
//!     .layer(bulkhead)
//!     .service(service_fn(|account: u64| async move { Ok::<_, BoxError>(account) }));
//!
//! assert_eq!(service.oneshot(7).await?, 7);
//! assert_eq!(handle.state().in_use, 0);
//! # Ok(())
//! # }
//! ```

mod adaptive;
mod compartments;
mod config;
mod handle;
mod held;
mod layer;
mod limit;
mod machine;
mod places;
mod policy;
#[cfg(test)]
mod tests;

pub use adaptive::{Aimd, Gradient};
pub use handle::BulkheadHandle;
#[cfg(feature = "http")]
pub(crate) use held::BulkheadPermit;
pub use layer::{Bulkhead, BulkheadFuture, BulkheadLayer};
pub use limit::ConcurrencyLimit;
pub use policy::{BulkheadPass, BulkheadPolicy};

#[cfg(feature = "http")]
pub use crate::key::ByHead;
pub use crate::key::{KeyOf, KeyedBy, Unkeyed};
