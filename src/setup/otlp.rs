use opentelemetry::global;
use opentelemetry_otlp::{ExporterBuildError, LogExporter, MetricExporter, SpanExporter};
use opentelemetry_sdk::{
    Resource, logs::SdkLoggerProvider, metrics::MeterProviderBuilder, trace::SdkTracerProvider,
};

use super::{
    SetupError,
    environment::{Environment, Exporter},
    shutdown::Shutdown,
};

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
    pub(super) fn start(self, resource: &Resource, shutdown: &mut Shutdown) {
        if let Some(exporter) = self.spans {
            let builder = SdkTracerProvider::builder().with_resource(resource.clone());
            let tracers = builder.with_batch_exporter(exporter).build();
            global::set_tracer_provider(tracers.clone());
            shutdown.add(move |within| tracers.shutdown_with_timeout(within).is_ok());
        }
        if let Some(exporter) = self.logs {
            let builder = SdkLoggerProvider::builder().with_resource(resource.clone());
            let loggers = builder.with_batch_exporter(exporter).build();
            shutdown.add(move |within| loggers.shutdown_with_timeout(within).is_ok());
        }
    }
}

fn failed(signal: &'static str) -> impl Fn(ExporterBuildError) -> SetupError {
    move |error| SetupError::Exporter { signal, source: error.into() }
}
