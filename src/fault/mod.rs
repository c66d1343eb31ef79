//! Fault hooks: what a dependency does on its worst day, on demand.
//!
//! Timeouts, retries and breakers that never met a fault are a hope. A [`FaultLayer`] next to the service
//! lets somebody arm one through a [`Faults`] handle while the process runs, for all calls or a share of
//! them, and end it at once. The layers outside cannot tell it from the dependency's own failure, and count
//! it as what it stands for.
//!
//! Put it innermost, so that every other pattern has to cope with it.
//!
//! # What a fault can do
//!
//! | fault | the call |
//! |---|---|
//! | [`Fault::latency`] | waits: a fixed time, a uniform or a log-normal one ([`Delay`]) |
//! | [`Fault::error`] | is answered with an error that stands for a [`Class`](crate::Class) |
//! | [`Fault::refused`] | is answered as by a connection that is refused, at once |
//! | [`Fault::hang`] | waits until a limit further out cuts it |
//! | [`Fault::lost_answer`] | is handled, and its answer is lost |
//! | `Fault::status`, `Fault::body` | is handled, and its answer gets another status, another content (HTTP) |
//! | `Fault::code`, `Fault::code_at_end` | is handled, and its answer is a status, or ends with it (gRPC) |
//! | `Fault::slow_body`, `Fault::body_rate` | is handled, and the body of its answer drips (HTTP, gRPC) |
//! | `Fault::broken_body`, `Fault::short_body` | is handled, and the body of its answer breaks, or ends too soon (HTTP, gRPC) |
//! | [`Fault::duplicate`], [`Fault::duplicate_at_once`] | is delivered twice (the ingress of consumers, and of servers with idempotency keys) |
//! | [`Fault::hook`] | does whatever a function of yours does first |
//!
//! Answers are altered in golden servers and in golden clients of HTTP and gRPC. Of the answers of other services nothing is known:
//! such a fault hits no call of theirs. What stands for an answer of theirs is [`Fault::error`].
//!
//! Several may be armed at once. Each is decided on its own: whether it is [meant](Target) for the call, and whether the call is
//! in its share, by chance or by what the call [belongs to](Unit).
//!
//! # Safety
//!
//! * A fault ends by itself after [`Fault::lasting`], and [`Fault::lease`] after its last renewal. The calls look at the clock
//!   themselves: no task has to live for a fault to end.
//! * [`Armed::disarm`], [`Faults::disarm`] and the [`KillSwitch`] of the process end injections at once and wake the calls that are
//!   delayed or hang, which then go on to the service.
//! * Calls that may have effects which nothing keeps from happening twice are left alone, unless the fault says
//!   [otherwise](Fault::on_delicate_calls); of HTTP and gRPC, those with a method that is not safe and without an idempotency key.
//! * Under a kill switch no more is armed at once than its [limits](FaultLimits) say, over all hooks; and in a hook no two
//!   [experiments](Fault::experiment) whose targets may match the same calls. [`Faults::try_arm`] says why.
//! * What is [denied](Faults::deny) is hit by no fault.
//! * Disarmed, a hook costs a call one relaxed load.
//!
//! # Errors
//!
//! [`InjectedFault`](crate::InjectedFault). It is no [`Rejected`](crate::Rejected), because it stands for an error of the
//! dependency. And whatever error a [`Fault::hook`] gives.
//!
//! # Telemetry
//!
//! Event `FaultInjected`, told before the call feels it, with its experiment; [`Armed::hit`], [`Armed::control`], and what became of
//! the calls of an [experiment](Fault::experiment): [`Armed::hit_outcomes`], [`Armed::control_outcomes`].
//!
//! # Cancellation
//!
//! A call that is dropped while a fault holds it never reached the service.
//!
//! # Example
//!
//! ```
//! # #[tokio::main(flavor = "current_thread")] async fn main() -> Result<(), moneta_resilience::BoxError> {
//! use moneta_resilience::{Class, InjectedFault, fault::{Fault, FaultLayer, Faults}};
//! use tower::{BoxError, ServiceBuilder, ServiceExt, service_fn};
//!
//! let faults = Faults::new();
//! let service = ServiceBuilder::new()
//!     .layer(FaultLayer::new(faults.clone()))
//!     .service(service_fn(|account: u64| async move { Ok::<_, BoxError>(account) }));
//!
//! faults.arm(Fault::error(Class::TRANSIENT));
//! let error = service.clone().oneshot(7).await.expect_err("it is hit");
//! assert!(error.is::<InjectedFault>());
//!
//! faults.disarm();
//! assert_eq!(service.oneshot(7).await?, 7);
//! # Ok(())
//! # }
//! ```

#[cfg(feature = "http")]
mod alter;
#[cfg(not(feature = "http"))]
#[path = "no_alter.rs"]
mod alter;
mod answer;
mod arming;
#[cfg(feature = "http")]
mod body;
#[cfg(feature = "grpc")]
mod code;
mod delay;
mod duplicate;
mod enrol;
#[expect(clippy::module_inception, reason = "the value that the module is about")]
mod fault;
mod faults;
#[cfg(feature = "http")]
mod heads;
mod injected;
mod kill;
mod layer;
mod limits;
mod policy;
mod sample;
mod subject;
mod target;
#[cfg(test)]
mod tests;
mod wait;
#[cfg(feature = "fault-file")]
mod words;
#[cfg(feature = "fault-file")]
mod written;

pub use answer::Alter;
pub use arming::Armed;
#[cfg(feature = "http")]
pub use body::FaultBody;
pub use delay::Delay;
pub use duplicate::{ByClone, Duplicate, DuplicatePass, DuplicatePolicy, Receive};
pub use enrol::EnrolPolicy;
pub use fault::{Fault, Unit};
pub use faults::Faults;
#[cfg(feature = "http")]
pub use heads::Heads;
pub use kill::KillSwitch;
pub use layer::{FaultFuture, FaultHook, FaultLayer};
pub use limits::{ArmError, FaultLimits};
pub use policy::{FaultPass, FaultPolicy};
pub use sample::{BUCKETS, bucket};
pub use subject::{Caller, Look, Subject, Tenant, Unseen, name_instance};
pub use target::Target;
#[cfg(feature = "chaos")]
pub(crate) use words::length;
#[cfg(feature = "chaos")]
pub(crate) use written::Injects;
#[cfg(feature = "fault-file")]
pub(crate) use written::{Place, Written};

pub use crate::trial::Outcomes;
