//! What the variables say that OpenTelemetry's specification lists.
//!
//! The SDK reads some of them by itself and takes them at their word, whatever that is: a ratio that is none samples
//! everything, an interval of 0 exports without a pause. So all that can be wrong is read here.

#[cfg(feature = "otlp")]
pub(super) mod collector;
#[cfg(test)]
mod tests;
mod variables;

use std::fmt;

use opentelemetry::KeyValue;
use opentelemetry::propagation::{TextMapCompositePropagator, TextMapPropagator};
use opentelemetry_sdk::propagation::{BaggagePropagator, TraceContextPropagator};

pub(super) use self::variables::Variables;
use crate::redact::decode;

#[derive(Debug, PartialEq, Eq)]
pub(super) struct Environment {
    /// Nothing is to be exported.
    pub(super) disabled: bool,
    /// Who the process is.
    pub(super) attributes: Vec<(String, String)>,
    pub(super) traces: Vec<Exporter>,
    pub(super) metrics: Vec<Exporter>,
    pub(super) logs: Vec<Exporter>,
    pub(super) propagators: Vec<Propagator>,
}

/// Where a signal can go.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Exporter {
    Otlp,
    Prometheus,
}

/// How a trace goes on in the next service.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Propagator {
    TraceContext,
    Baggage,
}

impl Environment {
    pub(super) fn read(variables: &mut Variables<'_>) -> Self {
        let otlp: &[_] = if cfg!(feature = "otlp") { &[Exporter::Otlp] } else { &[] };
        let scrape: &[_] = if cfg!(feature = "prometheus") { &[Exporter::Prometheus] } else { &[] };
        Self {
            disabled: variables.word("OTEL_SDK_DISABLED", &["true", "false"]) == Some("true"),
            attributes: attributes(variables),
            traces: variables.list("OTEL_TRACES_EXPORTER", otlp),
            metrics: variables.list("OTEL_METRICS_EXPORTER", &[otlp, scrape].concat()),
            logs: variables.list("OTEL_LOGS_EXPORTER", otlp),
            propagators: variables.list("OTEL_PROPAGATORS", &[Propagator::TraceContext, Propagator::Baggage]),
        }
    }

    /// The attributes, as the SDK has them.
    pub(super) fn resource(&self) -> impl Iterator<Item = KeyValue> {
        self.attributes.iter().map(|(key, value)| KeyValue::new(key.clone(), value.clone()))
    }

    pub(super) fn propagator(&self) -> TextMapCompositePropagator {
        let each = self.propagators.iter().map(|propagator| match propagator {
            Propagator::TraceContext => Box::new(TraceContextPropagator::new()) as Box<Each>,
            Propagator::Baggage => Box::new(BaggagePropagator::new()),
        });
        TextMapCompositePropagator::new(each.collect())
    }
}

type Each = dyn TextMapPropagator + Send + Sync;

/// `key=value,key=value`, percent-encoded, and the name of the service, which has a variable of its own. What is empty says
/// nothing: neither the SDK nor the code is to give way to it, and a label without a name would spoil a whole scrape.
fn attributes(variables: &mut Variables<'_>) -> Vec<(String, String)> {
    let pairs = variables.pairs("OTEL_RESOURCE_ATTRIBUTES");
    let pairs = pairs.into_iter().map(|(key, value)| (decode(&key), decode(&value)));
    let name = variables.value("OTEL_SERVICE_NAME").map(|name| ("service.name".to_owned(), name));
    pairs.chain(name).collect()
}

impl fmt::Display for Exporter {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Otlp => "otlp",
            Self::Prometheus => "prometheus",
        })
    }
}

impl fmt::Display for Propagator {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::TraceContext => "tracecontext",
            Self::Baggage => "baggage",
        })
    }
}
