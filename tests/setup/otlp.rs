use std::{env, io::Read};

use moneta_resilience::{Telemetry, setup::SetupError};
#[cfg(feature = "logs")]
use opentelemetry_proto::tonic::{
    collector::logs::v1::ExportLogsServiceRequest, common::v1::AnyValue, logs::v1::LogRecord,
};
use opentelemetry_proto::tonic::{
    collector::{metrics::v1::ExportMetricsServiceRequest, trace::v1::ExportTraceServiceRequest},
    common::v1::any_value::Value,
    resource::v1::Resource,
};
use prost::Message;

use crate::{
    call,
    collector::{Collector, wait_for_an_export},
    process,
};

const ENDPOINT: &str = "OTEL_EXPORTER_OTLP_ENDPOINT";
const ONLY_TRACES: [(&str, &str); 2] = [("OTEL_METRICS_EXPORTER", "none"), ("OTEL_LOGS_EXPORTER", "none")];

/// The names of the spans that arrived, and who told of them.
fn spans(collector: &Collector) -> (Vec<String>, Vec<Resource>) {
    let (mut names, mut resources) = (Vec::new(), Vec::new());
    for export in collector.take("/v1/traces") {
        for of_resource in ExportTraceServiceRequest::decode(&*export.body).unwrap().resource_spans {
            resources.extend(of_resource.resource);
            for span in of_resource.scope_spans.into_iter().flat_map(|scope| scope.spans) {
                names.push(span.name);
            }
        }
    }
    (names, resources)
}

/// A text in the attributes of who told.
fn attribute(resource: &Resource, name: &str) -> Option<String> {
    let attribute = resource.attributes.iter().find(|attribute| attribute.key == name)?;
    match attribute.value.clone()?.value? {
        Value::StringValue(text) => Some(text),
        _ => None,
    }
}

#[test]
fn a_thousand_spans_arrive_before_it_ends() {
    let collector = Collector::new();
    let variables = [&[(ENDPOINT, collector.endpoint())], &ONLY_TRACES[..]].concat();
    let asked = process("otlp::a_thousand_spans_arrive_before_it_ends", &variables, || {
        let telemetry = Telemetry::init("payments").unwrap();
        for _ in 0..1_000 {
            call("ledger");
        }
        drop(telemetry);
    });
    if asked {
        let (names, resources) = spans(&collector);
        assert_eq!(names.len(), 1_000);
        assert!(resources.iter().all(|resource| attribute(resource, "service.name").unwrap() == "payments"));
    }
}

#[test]
fn a_collector_that_never_answers_holds_up_neither_a_call_nor_the_end() {
    let hole = Collector::black_hole();
    // With the exporter's own limit the test would tell nothing: it would all end some time.
    let patient = [(ENDPOINT, hole.endpoint()), ("OTEL_EXPORTER_OTLP_TIMEOUT", "3600000")];
    process("otlp::a_collector_that_never_answers_holds_up_neither_a_call_nor_the_end", &patient, || {
        let endpoint = env::var(ENDPOINT).unwrap();
        let deadline = std::time::Duration::from_millis(50);
        let telemetry = Telemetry::builder("payments").shutdown_deadline(deadline).init().unwrap();
        for _ in 0..512 {
            call("ledger");
        }
        wait_for_an_export(&endpoint);
        // The exporter hangs now. Four times as many calls as its queue has room for:
        for _ in 0..8_192 {
            call("ledger");
        }
        assert!(!telemetry.shutdown(), "it says that not all was handed over");
    });
}

#[test]
fn a_collector_that_is_not_there_holds_up_neither_a_call_nor_the_end() {
    let nobody = [(ENDPOINT, "http://127.0.0.1:9")];
    process("otlp::a_collector_that_is_not_there_holds_up_neither_a_call_nor_the_end", &nobody, || {
        let deadline = std::time::Duration::from_millis(50);
        let telemetry = Telemetry::builder("payments").shutdown_deadline(deadline).init().unwrap();
        for _ in 0..8_192 {
            call("ledger");
        }
        assert!(!telemetry.shutdown());
    });
}

#[test]
fn the_end_says_that_the_collector_did_not_take_the_spans() {
    let collector = Collector::refusing();
    let variables = [&[(ENDPOINT, collector.endpoint())], &ONLY_TRACES[..]].concat();
    process("otlp::the_end_says_that_the_collector_did_not_take_the_spans", &variables, || {
        let telemetry = Telemetry::init("payments").unwrap();
        call("ledger");
        assert!(!telemetry.shutdown(), "they arrived, and were refused");
    });
}

#[cfg(feature = "logs")]
#[test]
fn the_end_says_that_the_collector_did_not_take_the_log() {
    use tracing_subscriber::{Registry, filter::LevelFilter, layer::SubscriberExt};

    let collector = Collector::refusing();
    let variables = [
        (ENDPOINT, collector.endpoint()),
        ("OTEL_METRICS_EXPORTER", "none"),
        ("OTEL_TRACES_EXPORTER", "none"),
    ];
    process("otlp::the_end_says_that_the_collector_did_not_take_the_log", &variables, || {
        let telemetry = Telemetry::init("payments").unwrap();
        let subscriber = Registry::default().with(LevelFilter::INFO).with(telemetry.log_records());
        tracing::subscriber::with_default(subscriber, || tracing::info!("booked"));
        assert!(!telemetry.shutdown(), "it arrived, and was refused");
    });
}

#[test]
fn metrics_arrive_with_the_names_of_opentelemetry() {
    let collector = Collector::new();
    let variables = [(ENDPOINT, collector.endpoint()), ("OTEL_TRACES_EXPORTER", "none")];
    let asked = process("otlp::metrics_arrive_with_the_names_of_opentelemetry", &variables, || {
        let telemetry = Telemetry::init("payments").unwrap();
        call("ledger");
        assert!(telemetry.shutdown());
    });
    if asked {
        let mut names = Vec::new();
        for export in collector.take("/v1/metrics") {
            for of_resource in ExportMetricsServiceRequest::decode(&*export.body).unwrap().resource_metrics {
                let metrics = of_resource.scope_metrics.into_iter().flat_map(|scope| scope.metrics);
                names.extend(metrics.map(|metric| (metric.name, metric.unit)));
            }
        }
        for (name, unit) in [("resilience.calls", "{call}"), ("resilience.call.duration", "s")] {
            assert!(names.contains(&(name.to_owned(), unit.to_owned())), "{name}: {names:?}");
        }
    }
}

/// What exports blocks, which may not be done on, and is not to be dropped on, the thread of a runtime. That it needs none is
/// shown by the other tests here.
#[test]
fn it_begins_and_ends_inside_a_runtime() {
    let collector = Collector::new();
    let variables = [(ENDPOINT, collector.endpoint())];
    let asked = process("otlp::it_begins_and_ends_inside_a_runtime", &variables, || {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        runtime.block_on(async {
            let telemetry = Telemetry::init("payments").unwrap();
            call("ledger");
            drop(telemetry);
        });
    });
    if asked {
        assert_eq!(spans(&collector).0, ["ledger"]);
    }
}

#[test]
fn the_environment_says_how_and_how_much() {
    let collector = Collector::new();
    let variables = [
        (ENDPOINT, collector.endpoint()),
        ("OTEL_EXPORTER_OTLP_HEADERS", "api-key=abc"),
        ("OTEL_EXPORTER_OTLP_TRACES_COMPRESSION", "gzip"),
        ("OTEL_TRACES_SAMPLER", "traceidratio"),
        ("OTEL_TRACES_SAMPLER_ARG", "0.5"),
        ONLY_TRACES[0],
        ONLY_TRACES[1],
    ];
    let asked = process("otlp::the_environment_says_how_and_how_much", &variables, || {
        let telemetry = Telemetry::init("payments").unwrap();
        for _ in 0..1_000 {
            call("ledger");
        }
        assert!(telemetry.shutdown());
    });
    if asked {
        let mut count = 0;
        for export in collector.take("/v1/traces") {
            assert!(export.headers.contains(&"api-key: abc".to_owned()), "{:?}", export.headers);
            assert!(export.headers.contains(&"content-encoding: gzip".to_owned()), "{:?}", export.headers);
            let mut body = Vec::new();
            flate2::read::GzDecoder::new(&*export.body).read_to_end(&mut body).unwrap();
            let request = ExportTraceServiceRequest::decode(&*body).unwrap();
            let scopes = request.resource_spans.into_iter().flat_map(|resource| resource.scope_spans);
            count += scopes.map(|scope| scope.spans.len()).sum::<usize>();
        }
        // Beyond these bounds a fair coin falls once in more than 10^20 runs.
        assert!((350..=650).contains(&count), "{count} of 1000 at a ratio of a half");
    }
}

#[test]
fn a_protocol_that_it_does_not_speak_is_refused_and_changes_nothing() {
    let variables = [("OTEL_EXPORTER_OTLP_PROTOCOL", "grpc")];
    process("otlp::a_protocol_that_it_does_not_speak_is_refused_and_changes_nothing", &variables, || {
        for _ in 0..2 {
            let refused = Telemetry::init("payments").unwrap_err();
            assert!(matches!(refused, SetupError::Protocol { .. }), "{refused}");
        }
    });
}

#[cfg(feature = "logs")]
fn records(exports: &[crate::collector::Export]) -> Vec<LogRecord> {
    let requests = exports.iter().map(|export| ExportLogsServiceRequest::decode(&*export.body).unwrap());
    let scopes = requests.flat_map(|request| request.resource_logs).flat_map(|resource| resource.scope_logs);
    scopes.flat_map(|scope| scope.log_records).collect()
}

#[cfg(feature = "logs")]
fn text(value: Option<&AnyValue>) -> String {
    match value.and_then(|any| any.value.as_ref()) {
        Some(Value::StringValue(text)) => text.clone(),
        other => format!("{other:?}"),
    }
}

/// What an attribute of a record says.
#[cfg(feature = "logs")]
fn said(record: &LogRecord, name: &str) -> String {
    let found = record.attributes.iter().find(|attribute| attribute.key == name);
    text(found.unwrap_or_else(|| panic!("no {name}: {record:?}")).value.as_ref())
}

#[cfg(all(feature = "http", feature = "logs"))]
#[test]
fn logs_belong_to_their_request_where_there_are_no_spans() {
    use http::{Request, Response};
    use tower::{Layer, ServiceExt, service_fn};
    use tracing_subscriber::{Registry, filter::LevelFilter, layer::SubscriberExt};

    let collector = Collector::new();
    let variables = [
        (ENDPOINT, collector.endpoint()),
        ("OTEL_METRICS_EXPORTER", "none"),
        ("OTEL_TRACES_EXPORTER", "none"),
    ];
    let asked = process("otlp::logs_belong_to_their_request_where_there_are_no_spans", &variables, || {
        let telemetry = Telemetry::init("payments").unwrap();
        let subscriber = Registry::default().with(LevelFilter::INFO).with(telemetry.log_records());
        let _logs = tracing::subscriber::set_default(subscriber);
        let server = moneta_resilience::http::ServerTelemetryLayer::new("payments").layer(service_fn(
            async |_: Request<()>| {
                tracing::info!("at it");
                Ok::<_, std::convert::Infallible>(Response::new(String::new()))
            },
        ));
        let request = Request::get("/payments")
            .header("x-request-id", "req-7f9c")
            .header("traceparent", "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01");
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        runtime.block_on(server.oneshot(request.body(()).unwrap())).unwrap();
        assert!(telemetry.shutdown());
    });
    if asked {
        let records = records(&collector.take("/v1/logs"));
        let mut bodies: Vec<_> = records.iter().map(|record| text(record.body.as_ref())).collect();
        bodies.sort();
        assert_eq!(bodies, ["GET 200", "at it"]);
        for record in records {
            assert_eq!(said(&record, "request_id"), "req-7f9c");
            assert_eq!(record.attributes.iter().filter(|attribute| attribute.key == "request_id").count(), 1);
            assert_eq!(
                u128::from_str_radix("0af7651916cd43dd8448eb211c80319c", 16).unwrap().to_be_bytes()[..],
                record.trace_id
            );
            assert_eq!(0xb7ad_6b71_6920_3331_u64.to_be_bytes()[..], record.span_id);
            assert_eq!(record.flags, 1);
        }
    }
}

/// At the level of TRACE the HTTP client that exports tells of each frame, in a thread that knows nothing of the SDK.
#[cfg(feature = "logs")]
#[test]
fn what_exports_does_not_export_what_it_tells_of_that() {
    use tracing_subscriber::{Registry, layer::SubscriberExt, util::SubscriberInitExt};

    let collector = Collector::new();
    let variables = [
        (ENDPOINT, collector.endpoint()),
        ("OTEL_METRICS_EXPORTER", "none"),
        ("OTEL_BLRP_SCHEDULE_DELAY", "1"),
    ];
    let asked = process("otlp::what_exports_does_not_export_what_it_tells_of_that", &variables, || {
        let endpoint = env::var(ENDPOINT).unwrap();
        let telemetry = Telemetry::init("payments").unwrap();
        Registry::default().with(telemetry.log_records()).init();
        for _ in 0..10 {
            tracing::info!("at it");
            call("ledger");
            wait_for_an_export(&endpoint);
        }
        assert!(telemetry.shutdown());
    });
    if asked {
        let records = records(&collector.take("/v1/logs"));
        let bodies: Vec<_> = records.iter().map(|record| text(record.body.as_ref())).collect();
        assert_eq!(bodies.iter().filter(|body| *body == "at it").count(), 10, "{bodies:?}");
        assert!(!bodies.iter().any(|body| body.contains("connection")), "{bodies:?}");
    }
}

#[cfg(feature = "logs")]
#[test]
fn logs_arrive_redacted_and_belong_to_their_spans() {
    use opentelemetry::trace::Tracer;
    use tracing_subscriber::{Registry, layer::SubscriberExt};

    let collector = Collector::new();
    let variables = [(ENDPOINT, collector.endpoint()), ("OTEL_METRICS_EXPORTER", "none")];
    let asked = process("otlp::logs_arrive_redacted_and_belong_to_their_spans", &variables, || {
        let telemetry = Telemetry::init("payments").unwrap();
        let subscriber = Registry::default().with(telemetry.log_records());
        tracing::subscriber::with_default(subscriber, || {
            opentelemetry::global::tracer("test").in_span("work", |_| {
                let card = 4_111_111_111_111_111_u64;
                tracing::warn!(card, password = "hunter2", left = 3, "refused for {}", "ada@example.com");
            });
        });
        assert!(telemetry.shutdown());
    });
    if asked {
        let exports = collector.take("/v1/logs");
        let bytes: Vec<u8> = exports.iter().flat_map(|export| export.body.clone()).collect();
        for secret in ["ada@example.com", "4111111111111111", "hunter2"] {
            assert!(!bytes.windows(secret.len()).any(|part| part == secret.as_bytes()), "{secret} got out");
        }
        let records = records(&exports);
        let [record] = &records[..] else { panic!("one was told: {records:?}") };
        assert_eq!(
            (record.severity_text.as_str(), text(record.body.as_ref()).as_str()),
            ("WARN", "refused for [email]")
        );
        assert_eq!(said(record, "password"), "[redacted]");
        assert_eq!(said(record, "left"), "Some(IntValue(3))");
        let traces = collector.take("/v1/traces");
        let request = ExportTraceServiceRequest::decode(&*traces[0].body).unwrap();
        let span = &request.resource_spans[0].scope_spans[0].spans[0];
        assert_eq!((&record.trace_id, &record.span_id), (&span.trace_id, &span.span_id));
    }
}
