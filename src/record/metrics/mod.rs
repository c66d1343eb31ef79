//! Metrics through the recorder of the `metrics` crate.
//!
//! Each duration asks the recorder for its histogram anew, by a key that is made once: a handle that was kept would write
//! into nothing where it was made before there was a recorder, and into what nobody reads any more where an exporter
//! drops series that were idle.

mod messages;
mod publish;
mod requests;

use std::{
    sync::{Arc, OnceLock},
    time::Duration,
};

use ::metrics::{Key, Label, Level, Metadata, with_recorder};

use self::{messages::Messages, requests::Requests};
use super::{capped::Capped, requests::Series};
use crate::{
    event::{Event, Outcome, StoreOperation, StoreResult},
    name::Name,
    observer::{Interest, Sink},
    registry::Registry,
    telemetry::names,
};

/// Where the series come from, for recorders that filter by it.
const METADATA: Metadata<'static> = Metadata::new(env!("CARGO_PKG_NAME"), Level::INFO, None);

/// The sink that records durations with the recorder of the `metrics` crate, one in the process.
///
/// It uses whichever recorder there is at the time. One that comes late shows the totals from the first call on, durations
/// from then on. The totals and states are written by [`Registry::publish`], which is to be called before each scrape, or
/// at an interval.
///
/// Golden stacks and [`record::observer`](super::observer) tell it once it is [the backend of the process](super::choose).
/// Names, units and descriptions are those of `docs/telemetry.md`; an exporter makes of the names what its system asks for.
/// The sizes of bodies are told to OpenTelemetry alone.
///
/// ```
/// use std::time::Duration;
/// use metrics_exporter_prometheus::PrometheusBuilder;
/// use moneta_resilience::{Registry, golden, record};
/// # #[tokio::main(flavor = "current_thread")] async fn main() -> anyhow::Result<()> {
///
/// let builder = PrometheusBuilder::new().with_recommended_naming(true).set_buckets(&record::BUCKETS)?;
/// let prometheus = builder.install_recorder()?;
/// record::choose(record::Backend::Metrics)?;
///
/// let ledger = golden::client("ledger").timeout(Duration::from_secs(1)).no_fallback().calls();
/// ledger.run(|| async { Ok::<_, std::io::Error>(42) }).await?;
///
/// // On a scrape:
/// Registry::global().publish();
/// let page = prometheus.render();
/// assert!(page.contains(r#"resilience_calls_total{pipeline="ledger",outcome="success"} 1"#), "{page}");
/// assert!(page.contains(r#"resilience_call_duration_seconds_bucket{pipeline="ledger",outcome="success",le="0.005"}"#));
/// # Ok(()) }
/// ```
pub fn metrics() -> Arc<dyn Sink> {
    Arc::clone(METRICS.get_or_init(Arc::default)) as Arc<dyn Sink>
}

static METRICS: OnceLock<Arc<Metrics>> = OnceLock::new();

struct Metrics {
    pipelines: Capped<Name, Durations>,
    requests: Requests,
    messages: Messages,
}

/// The histograms of a pipeline.
struct Durations {
    calls: [Key; Outcome::ALL.len()],
    attempts: [Key; Outcome::ALL.len()],
    waits: Key,
    pipeline: String,
    /// Made when a store is first asked: most pipelines have none.
    stores: OnceLock<Stores>,
}

type Stores = Box<[[Key; StoreResult::ALL.len()]; StoreOperation::ALL.len()]>;

impl Durations {
    fn new(pipeline: &str) -> Self {
        let by_outcome = |name| {
            Outcome::ALL
                .map(|outcome| key(name, pipeline, &[(names::OUTCOME, outcome.as_str())]).to_retained())
        };
        Self {
            calls: by_outcome(names::CALL_DURATION),
            attempts: by_outcome(names::ATTEMPT_DURATION),
            waits: key(names::BULKHEAD_WAIT_DURATION, pipeline, &[]).to_retained(),
            pipeline: pipeline.to_owned(),
            stores: OnceLock::new(),
        }
    }

    fn stores(&self) -> &Stores {
        let series = |operation: StoreOperation, result: StoreResult| {
            let labels = [(names::OPERATION, operation.as_str()), (names::RESULT, result.as_str())];
            key(names::IDEMPOTENCY_STORE_DURATION, &self.pipeline, &labels).to_retained()
        };
        self.stores.get_or_init(|| {
            Box::new(
                StoreOperation::ALL.map(|operation| StoreResult::ALL.map(|result| series(operation, result))),
            )
        })
    }
}

/// The key of a pipeline's series.
fn key(name: &'static str, pipeline: &str, labels: &[(&'static str, &'static str)]) -> Key {
    let pipeline = Label::new(names::PIPELINE, pipeline.to_owned());
    let labels = labels.iter().map(|&(key, value)| Label::from_static_parts(key, value));
    Key::from_parts(name, [pipeline].into_iter().chain(labels).collect::<Vec<_>>())
}

impl Default for Metrics {
    fn default() -> Self {
        Self {
            pipelines: Capped::new(Registry::MAX_NAMES, Durations::new(Registry::OVERFLOW)),
            requests: Requests::default(),
            messages: Messages::default(),
        }
    }
}

impl Metrics {
    fn record(&self, pipeline: &Name, elapsed: Duration, of: impl FnOnce(&Durations) -> &Key) {
        let make = || Durations::new(pipeline.as_str());
        let histogram = |durations: &Durations| {
            with_recorder(|recorder| recorder.register_histogram(of(durations), &METADATA))
        };
        self.pipelines.with(pipeline, make, histogram).record(elapsed.as_secs_f64());
    }
}

impl Sink for Metrics {
    fn interest(&self) -> Interest {
        Interest::CALLS | Interest::WAITS | Interest::REQUESTS | Interest::STORES | Interest::UNDER_WAY
    }

    fn record(&self, pipeline: &Name, event: &Event) {
        match *event {
            Event::CallFinished { outcome, elapsed, .. } => {
                self.record(pipeline, elapsed, |durations| &durations.calls[outcome as usize]);
            }
            Event::AttemptFinished { outcome, elapsed, .. } => {
                self.record(pipeline, elapsed, |durations| &durations.attempts[outcome as usize]);
            }
            Event::BulkheadWaited { elapsed } => self.record(pipeline, elapsed, |durations| &durations.waits),
            Event::MessageProcessed { source, error, elapsed } => {
                self.messages.record(source, error, elapsed);
            }
            Event::StoreAsked { operation, result, elapsed } => self.record(pipeline, elapsed, |durations| {
                &durations.stores()[operation as usize][result as usize]
            }),
            Event::RequestFinished { exchange, ref ended } => {
                self.requests.measure(&Series::finished(exchange, ended), ended.elapsed);
            }
            _ => {}
        }
    }
}
