use opentelemetry::global;
use opentelemetry_otlp::{ExporterBuildError, LogExporter, MetricExporter, SpanExporter};
use opentelemetry_sdk::{
    Resource, logs::SdkLoggerProvider, metrics::MeterProviderBuilder, trace::SdkTracerProvider,
};

#[cfg(feature = "logs")]
use super::Telemetry;
use super::{
    SetupError,
    environment::{Environment, Exporter},
    shutdown::Shutdown,
    watched::Watched,
};
#[cfg(feature = "logs")]
use crate::record::log::LogRecords;

/// What goes to a collector. The exporters read `OTEL_EXPORTER_OTLP_*` by themselves.
pub(super) struct Otlp {
    spans: Option<SpanExporter>,
    metrics: Option<MetricExporter>,
    logs: Option<LogExporter>,
}

impl Otlp {
    pub(super) fn new(environment: &Environment) -> Result<Self, SetupError> {
        if let Some((variable, protocol)) = &environment.foreign {
            return Err(SetupError::Protocol { variable, protocol: protocol.clone() });
        }
        let wanted = |exporters: &[Exporter]| exporters.contains(&Exporter::Otlp).then_some(());
        let otlp = Self {
            spans: wanted(&environment.traces)
                .map(|()| SpanExporter::builder().with_http().build().map_err(failed("spans")))
                .transpose()?,
            metrics: wanted(&environment.metrics)
                .map(|()| MetricExporter::builder().with_http().build().map_err(failed("metrics")))
                .transpose()?,
            logs: wanted(&environment.logs)
                .map(|()| LogExporter::builder().with_http().build().map_err(failed("logs")))
                .transpose()?,
        };
        Ok(otlp)
    }

    /// Has the metrics read, if that is wanted.
    pub(super) fn read(&mut self, meters: MeterProviderBuilder) -> MeterProviderBuilder {
        match self.metrics.take() {
            Some(exporter) => meters.with_periodic_exporter(exporter),
            None => meters,
        }
    }

    /// Starts what exports the spans and the logs. It comes after the metrics, which count what is dropped of them.
    pub(super) fn start(self, resource: &Resource, shutdown: &mut Shutdown) -> Logs {
        if let Some(exporter) = self.spans {
            let builder = SdkTracerProvider::builder().with_resource(resource.clone());
            let (exporter, failures) = Watched::new(exporter);
            let tracers = builder.with_batch_exporter(exporter).build();
            global::set_tracer_provider(tracers.clone());
            shutdown.add(move |within| failures.none_during(|| tracers.shutdown_with_timeout(within)));
        }
        let logs = self.logs.map(|exporter| {
            let builder = SdkLoggerProvider::builder().with_resource(resource.clone());
            let (exporter, failures) = Watched::new(exporter);
            let loggers = builder.with_batch_exporter(exporter).build();
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
