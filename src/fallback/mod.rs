//! Fallback: another answer when there is no good one.
//!
//! A quote that is a minute old is worth more to a caller than an error. [`FallbackLayer`] asks a closure for an answer
//! whenever the call ended in a way that [wants one](crate::Class::wants_fallback): the dependency failed, a limit
//! passed, or this side refused to ask. A success and a request that was itself at fault stay what they are.
//!
//! A golden client has an asynchronous one as well, [`fallback_async`](crate::golden::ClientBuilder::fallback_async), for
//! an answer that has to be fetched from a cache or a replica. Its time is kept free inside the whole call's: the
//! attempts end a quarter of the timeout, and at most 100 ms, before it, and the fallback is cut where the timeout ends.
//!
//! The closure gets a [`Why`] by value. It answers with `Ok`, or with an error of its own choice;
//! [`Why::into_error`] gives the original one back.
//!
//! # Defaults
//!
//! | setting | default |
//! |---|---|
//! | the fallback | none: it has to be given |
//! | when | `Transient`, `Throttled`, `Fault`, `Neutral` |
//!
//! # Telemetry
//!
//! Event `Fallback`; total `resilience.fallback.calls{pipeline, result}`. The call's outcome becomes `degraded`.
//!
//! # Example
//!
//! ```
//! # #[tokio::main(flavor = "current_thread")] async fn main() {
//! use moneta_resilience::fallback::FallbackLayer;
//! use tower::{BoxError, ServiceBuilder, ServiceExt, service_fn};
//!
//! let quotes = ServiceBuilder::new()
//!     .layer(FallbackLayer::new(|_why| Ok("100.00 (yesterday)")))
//!     .service(service_fn(|_: &'static str| async {
//!         Err::<&'static str, BoxError>(std::io::Error::other("connection reset").into())
//!     }));
//!
//! assert_eq!(quotes.oneshot("EURUSD").await.expect("the fallback answers"), "100.00 (yesterday)");
//! # }
//! ```

mod closure;
mod kind;
mod later;
mod layer;
mod none;
mod policy;
#[cfg(test)]
mod tests;
mod why;

pub use closure::Answering;
pub use kind::{Answers, Failed, FallbackKind, Join, Kind, Same};
pub use later::{AnsweringAsync, AsyncPass};
pub use layer::{Fallback, FallbackFuture, FallbackLayer};
pub use none::NoFallback;
pub use policy::FallbackPolicy;
pub(crate) use policy::drive;
pub use why::Why;
