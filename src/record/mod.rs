//! Who takes what the layers tell, beyond counting it.
//!
//! With feature `otel`, [`otel`] is the sink that records durations in OpenTelemetry, and exports the counts and states
//! of all pipelines. It is the metrics backend of the process: stacks and [`observer`] tell it without being asked.
//! [`Tape`] keeps events for a test to look at.

#[cfg(feature = "otel")]
mod otel;
mod tape;
#[cfg(feature = "otel")]
mod totals;

#[cfg(feature = "otel")]
pub use otel::otel;
pub use tape::Tape;

use crate::{name::Name, observer::Observer, policy::Leaf, registry::Registry, telemetry::TelemetryLayer};

/// An observer that counts under `name` in the registry of the process and tells the metrics backend of the process.
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
    to_backend(Registry::global().observer(name))
}

/// The same observer, telling the metrics backend of the process as well.
#[cfg(feature = "otel")]
fn to_backend(observer: Observer) -> Observer {
    observer.sink(otel())
}

/// The same observer: this build has no metrics backend.
#[cfg(not(feature = "otel"))]
fn to_backend(observer: Observer) -> Observer {
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
