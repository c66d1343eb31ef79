//! Variables that are wrong, empty or of another kind: nobody watches when they are set.

use moneta_resilience::{Telemetry, setup::SetupError};
use opentelemetry_proto::tonic::collector::trace::v1::ExportTraceServiceRequest;
use prost::Message;

use crate::{call, collector::Collector, process};

const ENDPOINT: &str = "OTEL_EXPORTER_OTLP_ENDPOINT";
const NO_TRACES: (&str, &str) = ("OTEL_TRACES_EXPORTER", "none");
const NO_METRICS: (&str, &str) = ("OTEL_METRICS_EXPORTER", "none");
const NO_LOGS: (&str, &str) = ("OTEL_LOGS_EXPORTER", "none");

/// Calls so often in a process with these variables, and gives how many spans arrived.
fn spans(name: &str, variables: &[(&str, &str)], calls: usize) -> Option<usize> {
    let collector = Collector::new();
    let variables = [&[(ENDPOINT, collector.endpoint()), NO_METRICS, NO_LOGS], variables].concat();
    let asked = process(name, &variables, || {
        let telemetry = Telemetry::init("payments").unwrap();
        for _ in 0..calls {
            call("ledger");
        }
        assert!(telemetry.shutdown());
    });
    asked.then(|| {
        let exports = collector.take("/v1/traces").into_iter();
        let requests = exports.map(|export| ExportTraceServiceRequest::decode(&*export.body).unwrap());
        let scopes = requests.flat_map(|request| request.resource_spans).flat_map(|of| of.scope_spans);
        scopes.map(|scope| scope.spans.len()).sum()
    })
}

#[test]
fn a_sampler_is_known_however_it_is_written() {
    let name = "environment::a_sampler_is_known_however_it_is_written";
    let sampled = spans(name, &[("OTEL_TRACES_SAMPLER", " Always_OFF ")], 10);
    assert!(sampled.is_none_or(|spans| spans == 0), "{sampled:?}");
}

#[test]
fn queues_of_no_size_at_all_are_as_large_as_without_a_word() {
    let name = "environment::queues_of_no_size_at_all_are_as_large_as_without_a_word";
    let most = usize::MAX.to_string();
    let variables = [
        ("OTEL_BSP_MAX_QUEUE_SIZE", most.as_str()),
        ("OTEL_BSP_SCHEDULE_DELAY", "0"),
        ("OTEL_BSP_MAX_EXPORT_BATCH_SIZE", "0"),
    ];
    let arrived = spans(name, &variables, 1_000);
    assert!(arrived.is_none_or(|spans| spans == 1_000), "{arrived:?}");
}

#[test]
fn an_interval_of_nothing_exports_no_more_often() {
    let collector = Collector::new();
    let variables =
        [(ENDPOINT, collector.endpoint()), NO_TRACES, NO_LOGS, ("OTEL_METRIC_EXPORT_INTERVAL", "0")];
    let asked = process("environment::an_interval_of_nothing_exports_no_more_often", &variables, || {
        let telemetry = Telemetry::init("payments").unwrap();
        // With no pause at all there are hundreds of exports meanwhile.
        for _ in 0..100_000 {
            call("ledger");
        }
        assert!(telemetry.shutdown());
    });
    if asked {
        assert_eq!(collector.take("/v1/metrics").len(), 1, "the one at the end");
    }
}

#[test]
fn an_empty_variable_of_a_signal_leaves_it_what_is_said_of_all() {
    let collector = Collector::new();
    let variables = [
        (ENDPOINT, collector.endpoint()),
        ("OTEL_EXPORTER_OTLP_HEADERS", "authorization=Bearer%20abc, team=core"),
        ("OTEL_EXPORTER_OTLP_TRACES_HEADERS", ""),
        ("OTEL_EXPORTER_OTLP_TRACES_ENDPOINT", ""),
        NO_METRICS,
        NO_LOGS,
    ];
    let name = "environment::an_empty_variable_of_a_signal_leaves_it_what_is_said_of_all";
    let asked = process(name, &variables, || {
        let telemetry = Telemetry::init("payments").unwrap();
        call("ledger");
        assert!(telemetry.shutdown());
    });
    if asked {
        let exports = collector.take("/v1/traces");
        let headers = &exports[0].headers;
        for header in ["authorization: bearer abc", "team: core"] {
            assert!(headers.iter().any(|known| known == header), "no {header} in {headers:?}");
        }
    }
}

#[test]
fn an_endpoint_that_nothing_can_be_sent_to_is_refused_and_not_shown() {
    let name = "environment::an_endpoint_that_nothing_can_be_sent_to_is_refused_and_not_shown";
    let variables = [("OTEL_EXPORTER_OTLP_TRACES_ENDPOINT", "user:secret@collector:4318"), NO_METRICS];
    process(name, &variables, || {
        let refused = Telemetry::init("payments").unwrap_err();
        assert!(matches!(refused, SetupError::Endpoint { .. }), "{refused:?}");
        let told = format!("{refused} {refused:?}");
        assert!(told.contains("OTEL_EXPORTER_OTLP_TRACES_ENDPOINT") && !told.contains("secret"), "{told}");
    });
}

#[test]
fn a_protocol_is_known_however_it_is_written() {
    let variables = [("OTEL_EXPORTER_OTLP_PROTOCOL", "HTTP/Protobuf "), NO_METRICS, NO_LOGS];
    process("environment::a_protocol_is_known_however_it_is_written", &variables, || {
        let telemetry = Telemetry::init("payments").unwrap();
        assert!(telemetry.shutdown() && telemetry.ignored().is_empty());
    });
}

#[test]
fn what_was_ignored_can_be_logged_once_there_is_a_log() {
    let variables = [("OTEL_PROPAGATORS", "b3,baggage"), NO_TRACES, NO_METRICS, NO_LOGS];
    process("environment::what_was_ignored_can_be_logged_once_there_is_a_log", &variables, || {
        let telemetry = Telemetry::init("payments").unwrap();
        let ignored: Vec<_> = telemetry.ignored().iter().map(ToString::to_string).collect();
        let expected = "OTEL_PROPAGATORS is ignored: `b3` is unknown, or this build has no code for it";
        assert_eq!(ignored, [expected]);
    });
}
