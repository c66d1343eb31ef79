//! Providers before it, after it, and requests that are under way while it comes.

use std::convert::Infallible;

use bytes::Bytes;
use http::{Request, Response};
use http_body_util::{BodyExt, Full};
use moneta_resilience::{Telemetry, golden};
use opentelemetry::global;
use opentelemetry_sdk::metrics::{
    InMemoryMetricExporter, PeriodicReader, SdkMeterProvider,
    data::{AggregatedMetrics, HistogramDataPoint, MetricData, ResourceMetrics, ScopeMetrics, SumDataPoint},
};
use tokio::sync::Semaphore;
use tower::{Layer, ServiceExt, service_fn};

use crate::{
    SCRAPED, SECOND, call, process,
    scrape::{is, value},
};

/// A provider that somebody else set, and what it was told.
struct Other {
    provider: SdkMeterProvider,
    exporter: InMemoryMetricExporter,
}

impl Other {
    /// The global one from now on.
    fn set() -> Self {
        let exporter = InMemoryMetricExporter::default();
        let reader = PeriodicReader::builder(exporter.clone()).build();
        let provider = SdkMeterProvider::builder().with_reader(reader).build();
        global::set_meter_provider(provider.clone());
        Self { provider, exporter }
    }

    /// All calls, if their total is told, and how many durations of calls were.
    fn calls(&self) -> (Option<u64>, u64) {
        self.exporter.reset();
        self.provider.force_flush().unwrap();
        let (mut total, mut durations) = (None, 0);
        let resources = self.exporter.get_finished_metrics().unwrap();
        let scopes = resources.iter().flat_map(ResourceMetrics::scope_metrics);
        for metric in scopes.flat_map(ScopeMetrics::metrics) {
            match (metric.name(), metric.data()) {
                ("resilience.calls", AggregatedMetrics::U64(MetricData::Sum(sum))) => {
                    total = Some(sum.data_points().map(SumDataPoint::value).sum());
                }
                ("resilience.call.duration", AggregatedMetrics::F64(MetricData::Histogram(histogram))) => {
                    durations = histogram.data_points().map(HistogramDataPoint::count).sum();
                }
                _ => {}
            }
        }
        (total, durations)
    }
}

fn scraped(telemetry: &Telemetry) -> (Option<f64>, Option<f64>) {
    let text = telemetry.scrape();
    let good = r#"outcome="success""#;
    (
        value(&text, &["resilience_calls_total{", good]),
        value(&text, &["resilience_call_duration_seconds_count{", good]),
    )
}

#[test]
fn providers_before_it_and_after_it_take_nothing_away() {
    process("order::providers_before_it_and_after_it_take_nothing_away", &SCRAPED, || {
        call("ledger");
        let before = Other::set();
        call("ledger");
        assert_eq!(before.calls(), (Some(2), 1));

        let telemetry = Telemetry::init("payments").unwrap();
        call("ledger");
        let (total, durations) = scraped(&telemetry);
        assert!(is(total, 3.0) && is(durations, 1.0), "{total:?} {durations:?}");
        assert_eq!(before.calls(), (None, 1), "it is not told any more");

        let after = Other::set();
        call("ledger");
        assert_eq!(after.calls(), (Some(4), 1), "its series are not bound, and record all the same");
        let (total, durations) = scraped(&telemetry);
        assert!(total.is_none() && is(durations, 1.0), "{total:?} {durations:?}");

        drop(telemetry);
        call("ledger");
        assert_eq!(after.calls(), (Some(5), 2), "what ended was not the global one");
    });
}

#[test]
fn what_is_measured_after_its_end_is_lost_and_hurts_nobody() {
    process("order::what_is_measured_after_its_end_is_lost_and_hurts_nobody", &SCRAPED, || {
        let telemetry = Telemetry::init("payments").unwrap();
        call("ledger");
        drop(telemetry);
        call("ledger");
        let after = Other::set();
        call("ledger");
        assert_eq!(after.calls(), (Some(3), 1), "totals are not lost");
    });
}

#[test]
fn requests_under_way_are_right_whenever_it_comes() {
    process("order::requests_under_way_are_right_whenever_it_comes", &SCRAPED, || {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        runtime.block_on(async {
            let gate = Semaphore::new(0);
            let handler = service_fn(|_: Request<()>| async {
                gate.acquire().await.unwrap().forget();
                Ok::<_, Infallible>(Response::new(Full::new(Bytes::from_static(b"booked"))))
            });
            let app = golden::server("payments").timeout(60 * SECOND).layer().layer(handler);
            let request = || Request::get("http://payments/").body(()).unwrap();
            let mut first = tokio_test::task::spawn(app.clone().oneshot(request()));
            assert!(first.poll().is_pending(), "it waits at the gate");

            let telemetry = Telemetry::init("payments").unwrap();
            let mut second = tokio_test::task::spawn(app.oneshot(request()));
            assert!(second.poll().is_pending());
            let active = || {
                let method = r#"http_request_method="GET""#;
                value(&telemetry.scrape(), &["http_server_active_requests{", method, r#"url_scheme="http""#])
            };
            assert!(is(active(), 2.0), "{:?}", active());

            gate.add_permits(1);
            let answer = first.await.unwrap();
            assert!(is(active(), 2.0), "an answer's body belongs to its request: {:?}", active());
            answer.collect().await.unwrap();
            assert!(is(active(), 1.0), "{:?}", active());
            drop(second);
            assert!(is(active(), 0.0), "{:?}", active());
            let durations = "http_server_request_duration_seconds_count{";
            let answered = value(&telemetry.scrape(), &[durations, r#"http_response_status_code="200""#]);
            assert!(is(answered, 1.0), "it began before there was anybody to tell: {answered:?}");
        });
    });
}
