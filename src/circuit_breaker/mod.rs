//! Circuit breaker: a dependency that fails is left alone until it has had time to recover.
//!
//! Calling a dependency that is down costs the caller its timeout, once per call, and costs the dependency the quiet that
//! it needs to come back. [`CircuitBreakerLayer`] counts how calls end and, when too many fail, *opens*: calls are refused
//! at once with [`Rejected`](crate::Rejected), reason [`CircuitOpen`](crate::Reason::CircuitOpen), which says how long
//! (Nygard, *Release It!*, "Circuit Breaker").
//!
//! ```text
//!            too many failures                   time is over, a call comes
//!  Closed ───────────────────────▶ Open ──────────────────────────────────────▶ HalfOpen
//!    ▲                             ▲  ▲                                          │   │
//!    │                             │  └──────────────────────────────────────────┘   │
//!    │                             │      probes fail, hang or are abandoned         │
//!    │                             │ too many failures                               │
//!    └───────────────────── Recovering ◀─────────────────────────────────────────────┘
//!      the ramp is over                   probes succeed
//!
//!  by hand, from everywhere: ForcedOpen (refuses), Disabled (counts nothing), reset to Closed
//! ```
//!
//! # When it opens
//!
//! When any of these holds, compared with ≥:
//!
//! * the **failure rate** of the window, once it holds the minimum of calls;
//! * the failure rate of the newest two tenths of the window, for a sudden **outage** after good times;
//! * the rate of **slow** successes, if asked for;
//! * **failures in a row**, while the window holds *fewer* calls than the minimum.
//!
//! It is looked at when a call ends other than well, and once in each tenth of the window.
//!
//! # What counts as what
//!
//! | outcome | closed | as a probe |
//! |---|---|---|
//! | `Success`, `CallerFault` | success; slow if slow | succeeds; fails if slow |
//! | `Transient`, `Fault`, a panic | failure | fails |
//! | `Throttled` | failure in the rates, not in a row | fails |
//! | `Neutral` | not at all | gives its place back |
//! | dropped, or in a golden stack cut by a caller that left it less than half of its limit | [`AbandonedPolicy`] | gives its place back; as many in a row as there are probes fail |
//!
//! The layer judges [by error](crate::classify::ByError) unless [`classify`](CircuitBreakerLayer::classify) says
//! otherwise: an error that it does not know is the caller's fault and opens nothing.
//!
//! Every change of state begins a new *generation* with an empty window. What an earlier one let through decides nothing
//! any more: answers that were on their way during the outage do not speak for the recovery.
//!
//! # Half-open
//!
//! A few probes are let through, other calls are refused. The verdict falls as soon as the probes that are left cannot
//! change it: the breaker opens when those that failed reach the failure rate among all probes, and recovers when they no
//! longer can. A probe that is dropped gives its place to another. A probe that hangs is overtaken: the first call after
//! its `probe_timeout` opens the breaker again.
//!
//! # Recovering
//!
//! A dependency that has just come back, with cold caches and empty pools, is not given the whole load at once. Over
//! `ramp`, the share of calls that pass grows evenly with time, from a tenth at least; the others are refused and told
//! how long the ramp takes. The calls that pass are counted, and the rules above open the breaker again. Only once it
//! is closed does the open time start from the beginning.
//!
//! # Defaults
//!
//! | setting | default |
//! |---|---|
//! | [`window`](CircuitBreakerLayer::window), or [`last_calls`](CircuitBreakerLayer::last_calls) | 10 s |
//! | [`minimum_calls`](CircuitBreakerLayer::minimum_calls) | 20 |
//! | [`failure_rate`](CircuitBreakerLayer::failure_rate) | 50 % |
//! | [`outage`](CircuitBreakerLayer::outage) | 90 % of at least 20 calls in the newest two tenths |
//! | [`consecutive_failures`](CircuitBreakerLayer::consecutive_failures) | 5 |
//! | [`slow_calls`](CircuitBreakerLayer::slow_calls) | off |
//! | [`open_time`](CircuitBreakerLayer::open_time) | 1 s, doubling up to 10 s, half of it at random |
//! | [`probes`](CircuitBreakerLayer::probes) | 3 |
//! | [`probe_timeout`](CircuitBreakerLayer::probe_timeout) | what the call has left, at least 5 s and at most 10 min |
//! | [`ramp`](CircuitBreakerLayer::ramp) | 5 s |
//! | [`abandoned`](CircuitBreakerLayer::abandoned) | [`IfAll`](AbandonedPolicy::IfAll) |
//!
//! # Telemetry
//!
//! Events `BreakerCall` and `BreakerTransition`. The [handle](CircuitBreakerHandle) gives a snapshot, and the changes of
//! state as a stream. `docs/circuit-breaker.md` says how to tune it and what to be woken for.
//!
//! # Cancellation
//!
//! A call that is dropped gives its probe back and is counted by the [`AbandonedPolicy`]. While the breaker is open it is
//! ready even if the service is not, so that callers are refused instead of being kept waiting.
//!
//! # Example
//!
//! ```
//! # #[tokio::main(flavor = "current_thread")] async fn main() {
//! use std::io::{Error, ErrorKind};
//! use moneta_resilience::{Reason, Rejected, circuit_breaker::CircuitBreakerLayer};
//! use tower::{Service, ServiceBuilder, ServiceExt, service_fn};
//!
//! let breaker = CircuitBreakerLayer::new().consecutive_failures(3);
//! let mut service = ServiceBuilder::new()
//!     .layer(&breaker)
//!     .service(service_fn(async |_: ()| Err::<(), _>(Error::from(ErrorKind::ConnectionRefused))));
//!
//! for _ in 0..3 {
//!     let error = service.ready().await.unwrap().call(()).await.expect_err("nobody listens");
//!     assert!(error.is::<Error>());
//! }
//! let error = service.ready().await.unwrap().call(()).await.expect_err("the breaker is open");
//! let rejected = Rejected::find(&*error).expect("it was refused on this side");
//! assert_eq!(rejected.reason(), Reason::CircuitOpen);
//! assert!(rejected.retry_after().is_some());
//!
//! breaker.handle().reset();
//! # }
//! ```

mod config;
mod counting;
mod handle;
#[cfg(feature = "http")]
mod late;
mod layer;
mod machine;
mod mark;
mod per_key;
mod policy;
mod probation;
mod ramp;
mod snapshot;
mod streak;
#[cfg(test)]
mod tests;
mod transitions;
mod word;

pub use config::AbandonedPolicy;
pub use handle::CircuitBreakerHandle;
#[cfg(feature = "http")]
pub(crate) use late::Late;
pub use layer::{CircuitBreaker, CircuitBreakerFuture, CircuitBreakerLayer};
pub use per_key::{PerKey, PerKeyBreaker, PerKeyBreakerFuture, PerKeyHandle, PerKeyLayer};
pub use policy::{CircuitBreakerPass, CircuitBreakerPolicy, OneBreaker};
pub use snapshot::CircuitBreakerSnapshot;
pub use transitions::{CircuitTransition, CircuitTransitions};
