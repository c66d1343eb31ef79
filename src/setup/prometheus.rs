use std::fmt;

use opentelemetry_sdk::metrics::MeterProviderBuilder;
use prometheus::{Registry, TextEncoder};

use super::{
    SetupError, Telemetry,
    environment::{Environment, Exporter},
};

/// Gives the metrics of the process as Prometheus scrapes them. Clones give the same.
///
/// ```no_run
/// # async fn example() -> Result<(), Box<dyn std::error::Error>> {
/// use axum::{Router, http::header::CONTENT_TYPE, routing::get};
/// use moneta_resilience::{Telemetry, setup::Scraper};
///
/// let telemetry = Telemetry::init("payments")?;
/// let scraper = telemetry.scraper();
/// let app: Router = Router::new().route("/metrics", get(async move || {
///     ([(CONTENT_TYPE, Scraper::CONTENT_TYPE)], scraper.scrape())
/// }));
/// # Ok(()) }
/// ```
#[derive(Clone)]
pub struct Scraper {
    registry: Option<Registry>,
}

impl Scraper {
    /// The format, as the header `content-type` has it.
    pub const CONTENT_TYPE: &'static str = "text/plain; version=0.0.4; charset=utf-8";

    /// One that has nothing to give.
    pub(super) const fn none() -> Self {
        Self { registry: None }
    }

    /// All metrics of the process as they are now, in Prometheus's text format. Empty when telemetry is disabled, its
    /// metrics are exported elsewhere, or it was shut down.
    pub fn scrape(&self) -> String {
        let mut text = String::new();
        if let Some(registry) = &self.registry {
            // What would be refused is a family without a name or a metric, and there is none: the SDK makes no such instrument,
            // and the registry leaves out what has no metric.
            let _ = TextEncoder::new().encode_utf8(&registry.gather(), &mut text);
        }
        text
    }
}

impl fmt::Debug for Scraper {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Scraper").field("exports", &self.registry.is_some()).finish()
    }
}

pub(super) type Prometheus = Scraper;

/// Has the metrics read, if that is wanted.
pub(super) fn read(
    meters: MeterProviderBuilder,
    environment: &Environment,
) -> Result<(MeterProviderBuilder, Prometheus), SetupError> {
    if !environment.metrics.contains(&Exporter::Prometheus) {
        return Ok((meters, Scraper::none()));
    }
    let registry = Registry::new();
    let exporter = opentelemetry_prometheus::exporter()
        .with_registry(registry.clone())
        .build()
        .map_err(|error| SetupError::Exporter { signal: "metrics", source: error.into() })?;
    Ok((meters.with_reader(exporter), Scraper { registry: Some(registry) }))
}

impl Telemetry {
    /// What a handler needs to answer Prometheus.
    pub fn scraper(&self) -> Scraper {
        self.prometheus.clone()
    }

    /// All metrics of the process as they are now: see [`Scraper::scrape`].
    pub fn scrape(&self) -> String {
        self.prometheus.scrape()
    }
}
