//! Rate limit: so many calls in a time, and no more.
//!
//! A bulkhead bounds how many calls run at once, a rate limit how many *begin*: what a contract with a supplier says, or
//! what one caller may take of a service that is there for all. The limit is the generic cell rate algorithm (GCRA, ITU-T
//! I.371) of [`governor`]: the [`Quota`] refills evenly, so there is no edge of a window at which twice as many get
//! through.
//!
//! A call beyond the quota is refused with the exact time after which it would not be; or, with
//! [`max_wait`](RateLimitLayer::max_wait), it waits for its turn. Who waits is served first come, first served, and no
//! newcomer passes. Whoever could not be served within `max_wait` and its deadline is refused at once, and not after a wait
//! that was for nothing.
//!
//! # Keys
//!
//! [`key_by`](RateLimitLayer::key_by) gives each caller, tenant or account a quota of its own. Keys come from outside, so
//! they are bounded: [`max_keys`](RateLimitLayer::max_keys) of them are told apart, by a hash whose secret differs in every
//! process. When one more comes, one is forgotten whose quota is whole again, which changes nothing for it; if none is found,
//! the newcomers share one quota until there is one.
//!
//! # Defaults
//!
//! | setting | default |
//! |---|---|
//! | `quota` | none: it has to be given |
//! | [`Quota::burst`](Quota::burst) | as many as in the period |
//! | [`max_wait`](RateLimitLayer::max_wait) | 0: refused at once |
//! | [`key_by`](RateLimitLayer::key_by) | one quota for all calls |
//! | [`max_keys`](RateLimitLayer::max_keys) | 10,000 |
//!
//! # Errors
//!
//! [`Rejected`](crate::Rejected) with reason [`RateLimited`](crate::Reason::RateLimited) and the time after which to ask
//! again; its class is [`Neutral`](crate::Class::Neutral). A server answers 429 with `Retry-After`, `RateLimit` and
//! `RateLimit-Policy`; over gRPC `RESOURCE_EXHAUSTED` with a pushback. A call whose deadline passes while it waits, which
//! happens only when the clock or the quota was wrong about its turn, is refused with
//! [`DeadlineExceeded`](crate::Reason::DeadlineExceeded).
//!
//! # Telemetry
//!
//! Event `RateLimiterCall`; totals `resilience.rate_limiter.requests{pipeline, result}`.
//!
//! # Cancellation
//!
//! A call that is dropped while it waits leaves the line at once. Nothing was reserved for it, so nothing is lost: the next
//! one moves up.
//!
//! # Example
//!
//! ```
//! # #[tokio::main(flavor = "current_thread")] async fn main() -> Result<(), moneta_resilience::BoxError> {
//! use moneta_resilience::{Quota, Reason, Rejected, rate_limit::RateLimitLayer};
//! use tower::{BoxError, Layer, ServiceExt, service_fn};
//!
//! let limit = RateLimitLayer::new(Quota::per_second(1)).key_by(|account: &u64| *account);
//! let service = limit.layer(service_fn(|account: u64| async move { Ok::<_, BoxError>(account) }));
//!
//! assert_eq!(service.clone().oneshot(7).await?, 7);
//! let error = service.clone().oneshot(7).await.expect_err("one a second");
//! assert_eq!(Rejected::find(&*error).map(Rejected::reason), Some(Reason::RateLimited));
//! assert_eq!(service.oneshot(8).await?, 8); // somebody else
//! # Ok(()) }
//! ```

mod bucket;
mod keys;
mod layer;
mod policy;
#[cfg(test)]
mod tests;

pub use layer::{RateLimit, RateLimitFuture, RateLimitHandle, RateLimitLayer};
pub use policy::{RateLimitPass, RateLimitPolicy};

#[cfg(feature = "http")]
pub use crate::key::ByHead;
pub use crate::key::{KeyOf, KeyedBy, Unkeyed};

#[cfg(doc)]
use crate::Quota;
