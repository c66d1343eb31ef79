//! What arrived at a tracer provider.

use opentelemetry::{Value, global, propagation::TextMapCompositePropagator};
use opentelemetry_sdk::{
    propagation::{BaggagePropagator, TraceContextPropagator},
    trace::{InMemorySpanExporter, SdkTracerProvider, SpanData},
};

/// A tracer provider and its spans.
pub(crate) struct Traces {
    pub(crate) provider: SdkTracerProvider,
    exporter: InMemorySpanExporter,
}

impl Traces {
    pub(crate) fn new() -> Self {
        let exporter = InMemorySpanExporter::default();
        Self {
            provider: SdkTracerProvider::builder().with_simple_exporter(exporter.clone()).build(),
            exporter,
        }
    }

    pub(crate) fn set(&self) {
        global::set_tracer_provider(self.provider.clone());
        global::set_text_map_propagator(TextMapCompositePropagator::new(vec![
            Box::new(TraceContextPropagator::new()),
            Box::new(BaggagePropagator::new()),
        ]));
    }

    /// Everything that was exported, in no particular form.
    #[cfg(all(feature = "http", feature = "logs", feature = "metrics"))]
    pub(crate) fn raw(&self) -> String {
        format!("{:?}", self.exporter.get_finished_spans().unwrap())
    }

    /// How many spans have finished.
    #[cfg(feature = "grpc")]
    pub(crate) fn all(&self) -> usize {
        self.exporter.get_finished_spans().unwrap().len()
    }

    /// The finished spans of a pipeline, in the order of their ends.
    pub(crate) fn spans(&self, pipeline: &str) -> Vec<SpanData> {
        let spans = self.exporter.get_finished_spans().unwrap();
        spans.into_iter().filter(|span| text(span, "pipeline").as_deref() == Some(pipeline)).collect()
    }
}

pub(crate) fn attribute(span: &SpanData, key: &str) -> Option<Value> {
    let mut values = span.attributes.iter().filter(|attribute| attribute.key.as_str() == key);
    let value = values.next().map(|attribute| attribute.value.clone());
    assert!(values.next().is_none(), "{key} is written twice");
    value
}

pub(crate) fn text(span: &SpanData, key: &str) -> Option<String> {
    attribute(span, key).map(|value| value.to_string())
}

/// What a span says, but for when and for whom: its name, kind and status, then its attributes by name.
#[cfg(feature = "http")]
pub(crate) fn words(span: &SpanData) -> Vec<String> {
    use opentelemetry::trace::{SpanKind, Status};

    let kind = match span.span_kind {
        SpanKind::Server => "SERVER",
        SpanKind::Client => "CLIENT",
        SpanKind::Consumer => "CONSUMER",
        _ => "INTERNAL",
    };
    let status = match &span.status {
        Status::Unset => "unset".to_owned(),
        Status::Error { description } => format!("error{description}"),
        Status::Ok => "ok".to_owned(),
    };
    let mut attributes: Vec<_> =
        span.attributes.iter().map(|pair| format!("{}={}", pair.key, pair.value)).collect();
    attributes.sort();
    let mut words = vec![format!("{} {kind} {status}", span.name)];
    words.extend(attributes);
    words
}
