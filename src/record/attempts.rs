use std::sync::{Arc, LazyLock};

use super::backend;
use crate::{
    event::Event,
    name::Name,
    observer::{Interest, Sink},
};

/// The sink that records how long single attempts took, as `resilience.attempt.duration`, with the metrics backend of the
/// process.
///
/// No stack tells it unless it is given to it: most calls take one attempt, whose duration is that of the call, and a second
/// histogram of each pipeline costs every call about what the first one does, and a scrape as many series. It is worth that
/// where calls wait, retry or hedge often enough to hide how the dependency does.
///
/// ```
/// use std::time::Duration;
/// use moneta_resilience::{golden, record};
///
/// let ledger = golden::client("ledger")
///     .timeout(Duration::from_secs(1))
///     .no_fallback()
///     .sink(record::attempts())
///     .calls();
/// # drop(ledger);
/// ```
pub fn attempts() -> Arc<dyn Sink> {
    static SINK: LazyLock<Arc<Attempts>> = LazyLock::new(|| Arc::new(Attempts(backend::sinks().collect())));
    Arc::clone(&SINK) as Arc<dyn Sink>
}

/// Those that record for the process.
struct Attempts(Vec<Arc<dyn Sink>>);

impl Sink for Attempts {
    fn interest(&self) -> Interest {
        Interest::ATTEMPTS
    }

    fn record(&self, pipeline: &Name, event: &Event) {
        self.0.iter().for_each(|sink| sink.record(pipeline, event));
    }
}
