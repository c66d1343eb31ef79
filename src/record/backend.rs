use std::sync::{Arc, OnceLock};

use crate::observer::Sink;

/// A metrics backend that this build has.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Backend {
    /// OpenTelemetry, through the global meter provider. The default, where the build has it.
    #[cfg(feature = "otel")]
    Otel,
    /// The recorder of the `metrics` crate. Totals and states reach it by [`Registry::publish`].
    ///
    /// [`Registry::publish`]: crate::Registry::publish
    #[cfg(feature = "metrics")]
    Metrics,
    /// Both of them: each duration is recorded twice, and costs that much.
    #[cfg(all(feature = "otel", feature = "metrics"))]
    Both,
}

#[cfg(feature = "otel")]
const DEFAULT: Backend = Backend::Otel;
#[cfg(not(feature = "otel"))]
const DEFAULT: Backend = Backend::Metrics;

static CHOSEN: OnceLock<Backend> = OnceLock::new();

/// Chooses the metrics backend of the process, before the first stack is built.
///
/// ```
/// use moneta_resilience::record::{self, Backend};
///
/// # #[cfg(feature = "metrics")]
/// record::choose(Backend::Metrics)?;
/// # Ok::<(), record::BackendInUse>(())
/// ```
///
/// # Errors
///
/// [`BackendInUse`] when it is another already, because it was chosen, or because a stack was built and told the default:
/// series of one process must not be torn apart. To choose the same again is no error.
pub fn choose(backend: Backend) -> Result<(), BackendInUse> {
    let chosen = *CHOSEN.get_or_init(|| backend);
    if chosen == backend { Ok(()) } else { Err(BackendInUse(chosen)) }
}

/// Whether OpenTelemetry is told, as far as that was chosen.
#[cfg(feature = "setup")]
pub(crate) fn tells_otel() -> bool {
    match CHOSEN.get().copied().unwrap_or(DEFAULT) {
        Backend::Otel => true,
        #[cfg(feature = "metrics")]
        Backend::Metrics => false,
        #[cfg(feature = "metrics")]
        Backend::Both => true,
    }
}

/// The error of [`choose`]: the process tells this backend already.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the metrics backend of the process is {0:?} already: choose it before the first stack is built")]
pub struct BackendInUse(pub Backend);

/// The sinks of the backend of the process.
pub(super) fn sinks() -> impl Iterator<Item = Arc<dyn Sink>> {
    let backend = *CHOSEN.get_or_init(|| DEFAULT);
    let sinks: [Option<Arc<dyn Sink>>; 2] = match backend {
        #[cfg(feature = "otel")]
        Backend::Otel => [Some(super::otel()), None],
        #[cfg(feature = "metrics")]
        Backend::Metrics => [Some(super::metrics()), None],
        #[cfg(all(feature = "otel", feature = "metrics"))]
        Backend::Both => [Some(super::otel()), Some(super::metrics())],
    };
    sinks.into_iter().flatten()
}
