//! Respond: every refusal becomes an HTTP answer.
//!
//! Outermost on a server. [`RespondLayer`] turns errors into `application/problem+json` answers (RFC 9457) with the
//! right status and `Retry-After`, so that the service behind it has the error type `Infallible` that servers ask for.
//! A panic of the handler becomes a 500 as well; it has been reported by the panic hook, and everything the call held is
//! given back before the answer goes out. No error's text leaves the process.
//!
//! | error | status | `Retry-After` |
//! |---|---|---|
//! | [`Rejected`], `Timeout` or `DeadlineExceeded` | 504 | – |
//! | [`Rejected`], `RateLimited` | 429, with `RateLimit` and `RateLimit-Policy` | when there is room again |
//! | [`Rejected`], any other reason | 503 | what the policy knows, else 1 s |
//! | [`InjectedFault`] | as what it stands for: 400, 429, 500, 503 | its hint |
//! | any other error, a panic | 500 | – |
//!
//! The [`Rejected`] itself is kept in the extensions of the answer.
//!
//! # Cancellation
//!
//! The call is dropped with the future.
//!
//! # Example
//!
//! ```
//! # #[tokio::main(flavor = "current_thread")] async fn main() {
//! use std::{convert::Infallible, time::Duration};
//! use http::{Request, Response, StatusCode};
//! use moneta_resilience::{respond::RespondLayer, timeout::TimeoutLayer};
//! use tower::{ServiceBuilder, ServiceExt, service_fn};
//!
//! let service = ServiceBuilder::new()
//!     .layer(RespondLayer::new())
//!     .layer(TimeoutLayer::new(Duration::from_millis(10)))
//!     .service(service_fn(|_: Request<()>| std::future::pending::<Result<Response<String>, Infallible>>()));
//!
//! let Ok(answer) = service.oneshot(Request::new(())).await;
//! assert_eq!(answer.status(), StatusCode::GATEWAY_TIMEOUT);
//! # }
//! ```

mod future;
mod problem;
mod service;
#[cfg(test)]
mod tests;

pub use future::{ReadyOr, RespondFuture};
pub(crate) use problem::status;
pub use service::{Respond, RespondLayer};

/// The body of an answer: the handler's own, or a problem in its place.
pub type RespondBody<B> = http_body_util::Either<B, http_body_util::Full<bytes::Bytes>>;

#[cfg(doc)]
use crate::{InjectedFault, Rejected};
