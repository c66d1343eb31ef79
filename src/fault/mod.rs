//! Fault hooks: what a dependency does on its worst day, on demand.
//!
//! Timeouts, retries and breakers that never met a fault are a hope. A [`FaultLayer`] next to the service
//! lets somebody arm one through a [`Faults`] handle while the process runs, for all calls or a share of
//! them, and end it at once. The layers outside cannot tell it from the dependency's own failure, and count
//! it as what it stands for.
//!
//! Put it innermost, so that every other pattern has to cope with it.
//!
//! # Defaults
//!
//! | setting | default |
//! |---|---|
//! | armed | nothing: a call then costs one relaxed load |
//! | [`Fault::on`] | all calls |
//!
//! One fault is armed at a time. [`Faults::disarm`] is the kill switch: it ends new injections at once and
//! wakes the calls that are delayed or hanging, which then go on to the service.
//!
//! # Errors
//!
//! [`InjectedFault`](crate::InjectedFault) for [`Fault::error`]. It is no [`Rejected`](crate::Rejected),
//! because it stands for an error of the dependency.
//!
//! # Telemetry
//!
//! Event `FaultInjected`, told before the call feels it; [`Faults::armed`].
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

mod faults;
mod layer;
mod policy;
#[cfg(test)]
mod tests;

pub use faults::{Fault, Faults};
pub use layer::{FaultFuture, FaultHook, FaultLayer};
pub use policy::{FaultPass, FaultPolicy};
