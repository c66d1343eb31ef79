//! Fallback: another answer when there is no good one.
//!
//! A quote that is a minute old is worth more to a caller than an error. [`FallbackLayer`] asks for another answer
//! whenever the call ended in a way that [wants one](crate::Class::wants_fallback): the dependency failed, a limit
//! passed, or this side refused to ask. A success and a request that was itself at fault stay what they are.
//! [`when`](FallbackLayer::when) says otherwise.
//!
//! | who answers | |
//! |---|---|
//! | a closure | [`FallbackLayer::new`] |
//! | a future | [`FallbackLayer::from_async`] |
//! | another service, with a copy of the request | [`FallbackLayer::from_service`] |
//!
//! A closure gets a [`Why`] by value. It answers with `Ok`, or with an error of its own choice;
//! [`Why::into_error`] gives the original one back.
//!
//! What takes time has some of the call's kept for it: the work inside ends a quarter of the time that there is, and at most
//! 100 ms, sooner, and the fallback is cut where the time ends.
//!
//! # Cancellation
//!
//! Whoever answers is dropped with the call. What the call itself held (its permit, its response) is given back before the
//! fallback is asked.
//!
//! # Defaults
//!
//! | setting | default |
//! |---|---|
//! | the fallback | none: it has to be given |
//! | [`when`](FallbackLayer::when) | `Transient`, `Throttled`, `Fault`, `Neutral` |
//! | time kept for a future or a service | min(100 ms, a quarter), where there is a deadline |
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
mod service;
#[cfg(test)]
mod tests;
mod when;
mod why;

pub use closure::Answering;
pub use kind::{Answers, End, Failed, FallbackKind, Join, Kind, Same};
pub use later::{AnsweringAsync, AsyncPass};
pub use layer::{Fallback, FallbackFuture, FallbackLayer};
pub use none::NoFallback;
pub use policy::FallbackPolicy;
pub(crate) use policy::drive;
pub use service::{AnsweringByService, ServicePass};
pub use when::{Judged, When};
pub use why::Why;
