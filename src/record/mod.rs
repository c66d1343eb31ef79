//! Who takes what the layers tell, beyond counting it.
//!
//! A process has one metrics backend, which stacks and [`observer`] tell without being asked. With feature `otel` it is
//! `otel`, the sink that records durations in OpenTelemetry, and exports the counts and states of all pipelines. With
//! feature `metrics` it can be `record::metrics`, the sink for the recorder of the `metrics` crate: alone where there is no
//! `otel`, else once it is chosen with `choose`. With feature `logs` they tell the log of the process as well. [`Tape`] keeps
//! events for a test to look at.

#[cfg(any(feature = "otel", feature = "metrics"))]
#[cfg_attr(not(feature = "http"), allow(dead_code, reason = "requests are those of HTTP"))]
mod active;
#[cfg(all(feature = "http", not(any(feature = "otel", feature = "metrics"))))]
#[path = "no_active.rs"]
mod active;
#[cfg(any(feature = "otel", feature = "metrics"))]
mod attempts;
#[cfg(any(feature = "otel", feature = "metrics"))]
mod backend;
#[cfg(any(feature = "otel", feature = "metrics"))]
mod capped;
#[cfg(any(feature = "http", feature = "otel", feature = "metrics"))]
#[cfg_attr(
    not(all(feature = "http", any(feature = "otel", feature = "metrics"))),
    allow(dead_code, reason = "requests are those of HTTP, and a backend shows how many are under way")
)]
mod kinds;
#[cfg(feature = "logs")]
pub mod log;
#[cfg(any(feature = "otel", feature = "metrics"))]
mod messages;
#[cfg(feature = "metrics")]
mod metrics;
#[cfg(feature = "otel")]
mod otel;
#[cfg(any(feature = "otel", feature = "metrics"))]
mod pipelines;
#[cfg(any(feature = "http", feature = "otel", feature = "metrics"))]
#[cfg_attr(
    not(all(feature = "http", feature = "otel")),
    allow(dead_code, reason = "each has places of its own")
)]
mod places;
#[cfg(any(feature = "otel", feature = "metrics"))]
mod requests;
mod tape;
#[cfg(any(feature = "otel", feature = "metrics"))]
mod totals;

#[cfg(feature = "http")]
pub(crate) use active::UnderWay;
#[cfg(any(feature = "otel", feature = "metrics"))]
pub use attempts::attempts;
#[cfg(feature = "setup")]
pub(crate) use backend::tells_otel;
#[cfg(any(feature = "otel", feature = "metrics"))]
pub use backend::{Backend, BackendInUse, choose};
#[cfg(feature = "http")]
pub(crate) use kinds::Kind;
#[cfg(feature = "metrics")]
pub use metrics::metrics;
#[cfg(feature = "otel")]
pub use otel::otel;
#[cfg(feature = "setup")]
pub(crate) use otel::{Binding, OtelSettings, otel_with};
pub use tape::Tape;

#[cfg(feature = "slo")]
use std::sync::Arc;

use crate::{name::Name, observer::Observer, policy::Leaf, registry::Registry, telemetry::TelemetryLayer};

/// The upper bounds of the buckets of all durations, in seconds: those that OpenTelemetry advises for HTTP.
pub const BUCKETS: [f64; 14] =
    [0.005, 0.01, 0.025, 0.05, 0.075, 0.1, 0.25, 0.5, 0.75, 1.0, 2.5, 5.0, 7.5, 10.0];

/// An observer that counts under `name` in the registry of the process and tells the metrics backend of the process, and its
/// log.
///
/// Give it to layers that are used by themselves:
///
/// ```
/// use moneta_resilience::{Name, bulkhead::BulkheadLayer, record};
///
/// let ledger = Name::new("ledger").expect("a good name");
/// let layer = BulkheadLayer::new(16).observer(record::observer(&ledger));
/// ```
pub fn observer(name: &Name) -> Observer {
    to_log(to_backend(Registry::global().observer(name)))
}

/// The same, but that it counts nowhere: for what is told and not counted, by something that is no pipeline.
#[cfg(feature = "slo")]
pub(crate) fn uncounted(name: &Name) -> Observer {
    to_log(to_backend(Observer::new(name.clone(), Arc::default())))
}

/// The same observer, telling the metrics backend of the process as well.
#[cfg(any(feature = "otel", feature = "metrics"))]
fn to_backend(observer: Observer) -> Observer {
    backend::sinks().fold(observer, Observer::sink)
}

/// The same observer: this build has no metrics backend.
#[cfg(not(any(feature = "otel", feature = "metrics")))]
fn to_backend(observer: Observer) -> Observer {
    observer
}

/// The same observer, telling the log of the process as well.
#[cfg(feature = "logs")]
fn to_log(observer: Observer) -> Observer {
    observer.sink(log::calls())
}

/// The same observer: this build has no log.
#[cfg(not(feature = "logs"))]
fn to_log(observer: Observer) -> Observer {
    observer
}

impl TelemetryLayer {
    /// Tells of the calls of the pipeline `name`, through [`observer`].
    ///
    /// # Panics
    ///
    /// When [`Name::new`] refuses `name`.
    #[track_caller]
    pub fn new(name: &str) -> Self {
        Self::with(observer(&Name::literal(name)), Leaf::default())
    }
}
