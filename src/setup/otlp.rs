use std::time::Duration;

use opentelemetry::global;
use opentelemetry_otlp::{ExporterBuildError, LogExporter, MetricExporter, SpanExporter};
use opentelemetry_sdk::{
    Resource,
    logs::{self, BatchLogProcessor, SdkLoggerProvider},
    metrics::{MeterProviderBuilder, PeriodicReader},
    trace::{self, BatchSpanProcessor, Sampler, SdkTracerProvider},
};

#[cfg(feature = "logs")]
use super::Telemetry;
use super::{
    SetupError,
    environment::{
        Environment, Exporter, Variables,
        collector::{Queue, Way, interval, sampler, temporality},
    },
    shutdown::Shutdown,
    watched::Watched,
};
#[cfg(feature = "logs")]
use crate::record::log::LogRecords;

/// What goes to a collector.
pub(super) struct Otlp {
    spans: Option<Spans>,
    metrics: Option<(MetricExporter, Duration)>,
    logs: Option<(LogExporter, Queue)>,
}

struct Spans {
    exporter: SpanExporter,
    queue: Queue,
    sampler: Sampler,
}

impl Otlp {
    pub(super) fn new(environment: &Environment, variables: &mut Variables<'_>) -> Result<Self, SetupError> {
        let wanted = |exporters: &[Exporter]| exporters.contains(&Exporter::Otlp);
        let mut otlp = Self { spans: None, metrics: None, logs: None };
        if wanted(&environment.traces) {
            let way = Way::read(variables, "TRACES")?;
            let exporter = way.of(SpanExporter::builder().with_http()).build().map_err(failed("spans"))?;
            let (queue, sampler) = (Queue::of_spans(variables), sampler(variables));
            otlp.spans = Some(Spans { exporter, queue, sampler });
        }
        if wanted(&environment.metrics) {
            let way = Way::read(variables, "METRICS")?;
            let exporter = MetricExporter::builder().with_temporality(temporality(variables)).with_http();
            let exporter = way.of(exporter).build().map_err(failed("metrics"))?;
            otlp.metrics = Some((exporter, interval(variables)));
        }
        if wanted(&environment.logs) {
            let way = Way::read(variables, "LOGS")?;
            let exporter = way.of(LogExporter::builder().with_http()).build().map_err(failed("logs"))?;
            otlp.logs = Some((exporter, Queue::of_logs(variables)));
        }
        Ok(otlp)
    }

    /// Has the metrics read, if that is wanted.
    pub(super) fn read(&mut self, meters: MeterProviderBuilder) -> MeterProviderBuilder {
        match self.metrics.take() {
            Some((exporter, interval)) => {
                meters.with_reader(PeriodicReader::builder(exporter).with_interval(interval).build())
            }
            None => meters,
        }
    }

    /// Starts what exports the spans and the logs. It comes after the metrics, which count what is dropped of them.
    pub(super) fn start(self, resource: &Resource, shutdown: &mut Shutdown) -> Logs {
        if let Some(Spans { exporter, queue: Queue { room, batch, delay }, sampler }) = self.spans {
            let (exporter, failures) = Watched::new(exporter);
            let queue = trace::BatchConfigBuilder::default().with_max_queue_size(room);
            let queue = queue.with_max_export_batch_size(batch).with_scheduled_delay(delay).build();
            let spans = BatchSpanProcessor::builder(exporter).with_batch_config(queue).build();
            let tracers = SdkTracerProvider::builder().with_resource(resource.clone());
            let tracers = tracers.with_sampler(sampler).with_span_processor(spans).build();
            global::set_tracer_provider(tracers.clone());
            shutdown.add(move |within| failures.none_during(|| tracers.shutdown_with_timeout(within)));
        }
        let logs = self.logs.map(|(exporter, Queue { room, batch, delay })| {
            let (exporter, failures) = Watched::new(exporter);
            let queue = logs::BatchConfigBuilder::default().with_max_queue_size(room);
            let queue = queue.with_max_export_batch_size(batch).with_scheduled_delay(delay).build();
            let records = BatchLogProcessor::builder(exporter).with_batch_config(queue).build();
            let loggers = SdkLoggerProvider::builder().with_resource(resource.clone());
            let loggers = loggers.with_log_processor(records).build();
            let ending = loggers.clone();
            shutdown.add(move |within| failures.none_during(|| ending.shutdown_with_timeout(within)));
            loggers
        });
        Logs(logs)
    }
}

/// Where logs go, if they are wanted.
#[cfg_attr(not(feature = "logs"), expect(dead_code, reason = "there are none"))]
pub(super) struct Logs(Option<SdkLoggerProvider>);

impl Logs {
    pub(super) const fn none() -> Self {
        Self(None)
    }
}

#[cfg(feature = "logs")]
impl Telemetry {
    /// The layer of a `tracing` subscriber that gives the log to the collector, redacted; `None` where it is not wanted there.
    ///
    /// ```no_run
    /// # fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// use moneta_resilience::{Telemetry, record::log::JsonLines};
    /// use tracing_subscriber::{Registry, filter::LevelFilter, layer::SubscriberExt, util::SubscriberInitExt};
    ///
    /// let telemetry = Telemetry::init("payments")?;
    /// let (lines, _guard) = JsonLines::new("payments").write_to(std::io::stdout())?;
    /// Registry::default().with(LevelFilter::INFO).with(lines).with(telemetry.log_records()).init();
    /// # Ok(()) }
    /// ```
    pub fn log_records(&self) -> Option<LogRecords> {
        self.logs.0.as_ref().map(LogRecords::new)
    }
}

fn failed(signal: &'static str) -> impl Fn(ExporterBuildError) -> SetupError {
    move |error| SetupError::Exporter { signal, source: error.into() }
}
