//! Timeout: an answer in time, or none.
//!
//! A dependency that hangs is worse than one that fails: every caller that waits for it holds memory, a connection and
//! its own caller. [`TimeoutLayer`] drops the work once its limit has passed and answers with
//! [`Rejected`](crate::Rejected), reason [`Timeout`](crate::Reason::Timeout).
//!
//! The limit covers getting the service ready as well as the call, so the layer itself is always ready: what sheds load by
//! readiness belongs inside it. The limit is the shorter of the layer's own and what the
//! [`Deadline`](crate::Deadline) of the work in hand leaves, and the work inside sees it as its own deadline. A call whose
//! deadline has passed already is refused before the work begins, reason
//! [`DeadlineExceeded`](crate::Reason::DeadlineExceeded). So is one called that is cut because its caller had left it less
//! than half of the layer's limit: that says more about the caller than about the dependency, and must not open a circuit
//! breaker.
//!
//! # Defaults
//!
//! | setting | default |
//! |---|---|
//! | `limit` | none: it has to be given, because no number is right for every call; [`per_request`](TimeoutLayer::per_request) gives each route its own |
//! | reason | `Timeout`; [`whole_call`](TimeoutLayer::whole_call) makes it `DeadlineExceeded` |
//!
//! # Telemetry
//!
//! Events `TimedOut` and `DeadlineExpired`; totals `resilience.timeouts{pipeline, reason}` and
//! `resilience.deadlines.expired{pipeline}`.
//!
//! # Cancellation
//!
//! Work that takes too long is dropped, not detached. The inner service is polled before the timer, so an answer that is
//! there in time is never thrown away.
//!
//! # Example
//!
//! ```
//! # #[tokio::main(flavor = "current_thread")] async fn main() {
//! use std::time::Duration;
//! use moneta_resilience::{Reason, Rejected, timeout::TimeoutLayer};
//! use tower::{BoxError, ServiceBuilder, ServiceExt, service_fn};
//!
//! let service = ServiceBuilder::new()
//!     .layer(TimeoutLayer::new(Duration::from_millis(10)))
//!     .service(service_fn(|_: ()| std::future::pending::<Result<(), BoxError>>()));
//!
//! let error = service.oneshot(()).await.expect_err("it never answers");
//! assert_eq!(Rejected::find(&*error).map(Rejected::reason), Some(Reason::Timeout));
//! # }
//! ```

#[cfg(feature = "http")]
mod by_head;
mod deadline;
mod layer;
mod limit;
mod policy;
#[cfg(test)]
mod tests;

#[cfg(feature = "http")]
pub use by_head::{LimitByHead, LimitByHeadPolicy};
pub use deadline::DeadlinePolicy;
pub use layer::{Timeout, TimeoutFuture, TimeoutLayer};
pub use limit::{LimitOf, PerRequest};
pub use policy::{TimeoutPass, TimeoutPolicy};
