//! Where the metrics go: to Prometheus, when it asks.
//!
//! The golden path tells the global meter provider, whoever set it. This is the set-up by hand, so that the quickstart runs
//! with the default features alone; with feature `prometheus` it is one line, `Telemetry::init("portfolio")?`.

use anyhow::Result;
use opentelemetry::global;
use opentelemetry_sdk::metrics::SdkMeterProvider;
use prometheus::{Registry, TextEncoder};

/// All metrics of the process. Clones give the same.
#[derive(Clone)]
pub(crate) struct Metrics(Registry);

impl Metrics {
    pub(crate) const CONTENT_TYPE: &str = prometheus::TEXT_FORMAT;

    /// Has the process's metrics kept, for all that are scraped from now on.
    pub(crate) fn install() -> Result<Self> {
        let registry = Registry::new();
        let reader = opentelemetry_prometheus::exporter().with_registry(registry.clone()).build()?;
        global::set_meter_provider(SdkMeterProvider::builder().with_reader(reader).build());
        Ok(Self(registry))
    }

    /// What Prometheus is answered.
    pub(crate) fn scrape(&self) -> String {
        TextEncoder::new().encode_to_string(&self.0.gather()).unwrap_or_else(|error| format!("# {error}\n"))
    }
}
