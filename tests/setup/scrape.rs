use std::time::Duration;

use moneta_resilience::{Telemetry, setup::SetupError};
use opentelemetry::{Context, KeyValue, baggage::BaggageExt, global};

use crate::{SCRAPED, SECOND, call, process};

/// The value of the series whose line has all of `words` in it.
#[track_caller]
pub(crate) fn value(text: &str, words: &[&str]) -> Option<f64> {
    let mut lines = text.lines().filter(|line| !line.starts_with('#'));
    let line = lines.find(|line| words.iter().all(|word| line.contains(word)))?;
    Some(line.rsplit(' ').next().unwrap().parse().unwrap())
}

pub(crate) fn is(value: Option<f64>, expected: f64) -> bool {
    value.is_some_and(|value| (value - expected).abs() < 1e-9)
}

#[test]
fn what_is_scraped_has_the_names_of_prometheus() {
    process("scrape::what_is_scraped_has_the_names_of_prometheus", &SCRAPED, || {
        call("ledger");
        let telemetry = Telemetry::builder("payments")
            .version("1.2.3")
            .latency_thresholds([3 * SECOND, SECOND, Duration::from_millis(1118)])
            .init()
            .unwrap();
        call("ledger");
        let text = telemetry.scrape();
        let pipeline = r#"pipeline="ledger""#;
        let calls = value(&text, &["resilience_calls_total{", pipeline, r#"outcome="success""#]);
        assert!(is(calls, 2.0), "those before it are counted, too: {calls:?}");
        let histogram = "resilience_call_duration_seconds";
        let count = value(&text, &[&format!("{histogram}_count"), pipeline, r#"outcome="success""#]);
        assert!(is(count, 1.0), "durations are from then on: {count:?}");
        let bounds = text.lines().filter(|line| line.starts_with(&format!("{histogram}_bucket")));
        let bounds: Vec<_> = bounds.map(|line| line.split("le=\"").nth(1).unwrap()).collect();
        let bounds: Vec<_> = bounds.iter().map(|rest| rest.split('"').next().unwrap()).collect();
        let expected = [
            "0.005", "0.01", "0.025", "0.05", "0.075", "0.1", "0.25", "0.5", "0.75", "1", "1.118", "2.5",
            "3", "5", "7.5", "10", "+Inf",
        ];
        assert_eq!(bounds, expected, "the thresholds that are new are there as well, as they are written");
        let target = [r#"service_name="payments""#, r#"service_version="1.2.3""#, "service_instance_id="];
        assert!(value(&text, &[&["target_info"], &target[..]].concat()).is_some(), "{text}");
        assert_eq!(telemetry.scraper().scrape().lines().count(), text.lines().count());
        assert!(telemetry.shutdown() && telemetry.shutdown());
        assert_eq!(telemetry.scrape(), "", "nobody reads any more");
    });
}

#[test]
fn the_environment_goes_before_the_code() {
    let environment = [
        ("OTEL_METRICS_EXPORTER", "prometheus"),
        ("OTEL_TRACES_EXPORTER", "none"),
        ("OTEL_SERVICE_NAME", "ledger"),
        (
            "OTEL_RESOURCE_ATTRIBUTES",
            "service.version=7,service.instance.id=blue,deployment.environment.name=test",
        ),
    ];
    process("scrape::the_environment_goes_before_the_code", &environment, || {
        let telemetry = Telemetry::builder("payments").version("1.2.3").init().unwrap();
        let target = [
            r#"service_name="ledger""#,
            r#"service_version="7""#,
            r#"service_instance_id="blue""#,
            r#"deployment_environment_name="test""#,
        ];
        assert!(value(&telemetry.scrape(), &[&["target_info"], &target[..]].concat()).is_some());
    });
}

#[test]
fn attributes_are_decoded_and_what_is_empty_says_nothing() {
    let environment = [
        ("OTEL_METRICS_EXPORTER", "prometheus"),
        ("OTEL_TRACES_EXPORTER", "none"),
        ("OTEL_LOGS_EXPORTER", "none"),
        (
            "OTEL_RESOURCE_ATTRIBUTES",
            "=nobody,bank.team=core%20banking%2C%20Z%C3%BCrich, share = 50%,service.name=",
        ),
    ];
    process("scrape::attributes_are_decoded_and_what_is_empty_says_nothing", &environment, || {
        let text = Telemetry::init("payments").unwrap().scrape();
        let info = text.lines().find(|line| line.starts_with("target_info{")).unwrap();
        for label in [r#"service_name="payments""#, r#"bank_team="core banking, Zürich""#, r#"share="50%""#]
        {
            assert!(info.contains(label), "no {label} in {info}");
        }
        assert!(!info.contains("nobody"), "a label without a name spoils the whole page: {info}");
    });
}

#[test]
fn disabled_telemetry_exports_nothing_and_still_propagates() {
    let environment = [("OTEL_SDK_DISABLED", "true"), ("OTEL_PROPAGATORS", "baggage")];
    process("scrape::disabled_telemetry_exports_nothing_and_still_propagates", &environment, || {
        let telemetry = Telemetry::init("payments").unwrap();
        call("ledger");
        assert_eq!(telemetry.scrape(), "");
        let context = Context::new().with_baggage([KeyValue::new("tenant", "blue")]);
        let mut headers = std::collections::HashMap::new();
        global::get_text_map_propagator(|propagator| propagator.inject_context(&context, &mut headers));
        assert_eq!(
            headers.into_iter().collect::<Vec<_>>(),
            [("baggage".to_owned(), "tenant=blue".to_owned())]
        );
    });
}

#[test]
fn every_pipeline_of_many_has_its_totals() {
    process("scrape::every_pipeline_of_many_has_its_totals", &SCRAPED, || {
        let telemetry = Telemetry::init("payments").unwrap();
        (0..300).for_each(|n| call(&format!("bank-{n}")));
        let text = telemetry.scrape();
        for name in ["resilience_calls_total{", "resilience_call_duration_seconds_count{"] {
            let told = text.lines().filter(|line| line.starts_with(name) && line.ends_with("} 1"));
            assert_eq!(told.filter(|line| line.contains("bank-")).count(), 300, "{name}");
        }
        assert!(!text.contains("otel_metric_overflow"));
    });
}

#[test]
fn it_ends_while_it_is_scraped_and_while_others_end_it() {
    process("scrape::it_ends_while_it_is_scraped_and_while_others_end_it", &SCRAPED, || {
        let telemetry = Telemetry::init("payments").unwrap();
        call("ledger");
        let (begun, wait) = std::sync::mpsc::channel();
        std::thread::scope(|scope| {
            for _ in 0..3 {
                let (scraper, begun) = (telemetry.scraper(), begun.clone());
                scope.spawn(move || {
                    assert!(scraper.scrape().contains("ledger"));
                    begun.send(()).unwrap();
                    while !scraper.scrape().is_empty() {}
                });
            }
            (0..3).for_each(|_| wait.recv().unwrap());
            for _ in 0..2 {
                scope.spawn(|| assert!(telemetry.shutdown()));
            }
        });
    });
}

#[cfg(feature = "metrics")]
#[test]
fn what_another_backend_is_told_is_not_told_by_halves() {
    use moneta_resilience::record::{Backend, choose};

    process("scrape::what_another_backend_is_told_is_not_told_by_halves", &SCRAPED, || {
        choose(Backend::Metrics).unwrap();
        let telemetry = Telemetry::init("payments").unwrap();
        call("ledger");
        global::meter("of the service").u64_counter("bookings").build().add(1, &[]);
        let text = telemetry.scrape();
        assert!(!text.contains("resilience_"), "totals without durations: {text}");
        assert!(text.contains("bookings_total"), "what the service measures itself is there");
    });
}

#[test]
fn there_is_one_at_a_time() {
    process("scrape::there_is_one_at_a_time", &SCRAPED, || {
        let first = Telemetry::init("payments").unwrap();
        assert!(matches!(Telemetry::init("payments"), Err(SetupError::AlreadySetUp)));
        call("ledger");
        assert!(first.scrape().contains("ledger"), "a refused one takes nothing away");
        drop(first);
        let second = Telemetry::init("payments").unwrap();
        call("ledger");
        let calls = value(&second.scrape(), &["resilience_calls_total{", "ledger", r#"outcome="success""#]);
        assert!(is(calls, 2.0), "{calls:?}");
    });
}
