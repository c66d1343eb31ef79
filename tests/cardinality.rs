//! Ten thousand paths, methods and hosts that somebody made up. A binary of its own, because the words that are kept are the
//! process's.
#![cfg(all(feature = "http", feature = "metrics", feature = "otel"))]
#![expect(clippy::unwrap_used, reason = "a test may panic")]

use std::{collections::BTreeMap, convert::Infallible, time::Duration};

use bytes::Bytes;
use http::{Request, Response};
use http_body_util::Empty;
use metrics_exporter_prometheus::PrometheusBuilder;
use moneta_resilience::{Registry, golden, record};
use opentelemetry::global;
use opentelemetry_sdk::metrics::{
    InMemoryMetricExporter, PeriodicReader, SdkMeterProvider,
    data::{AggregatedMetrics, HistogramDataPoint, MetricData, ResourceMetrics, ScopeMetrics},
};
use tower::{Layer, ServiceExt, service_fn};

const CALLS: u16 = 10_000;
/// Room for so many series of each metric, and one for what comes after.
const MOST: usize = 2_000 + 1;

/// How many series each metric has, and how often something was recorded in them.
type Sizes = BTreeMap<String, (usize, u64)>;

/// What the handler and the transport answer.
async fn answer(request: Request<()>) -> Result<Response<Empty<Bytes>>, Infallible> {
    let status = request.headers()["x-status"].to_str().unwrap().parse::<u16>().unwrap();
    Ok(Response::builder().status(status).body(Empty::new()).unwrap())
}

fn request(n: u16, uri: String) -> Request<()> {
    let request = Request::builder().method(&*format!("M{n}")).header("x-status", 200 + n % 300);
    request.uri(uri).body(()).unwrap()
}

fn exported(metrics: &[ResourceMetrics]) -> Sizes {
    let metrics = metrics.iter().flat_map(ResourceMetrics::scope_metrics).flat_map(ScopeMetrics::metrics);
    let size = |data: &AggregatedMetrics| match data {
        AggregatedMetrics::F64(MetricData::Histogram(it)) => {
            (it.data_points().count(), it.data_points().map(HistogramDataPoint::count).sum())
        }
        AggregatedMetrics::U64(MetricData::Sum(it)) => (it.data_points().count(), 0),
        AggregatedMetrics::I64(MetricData::Sum(it)) => (it.data_points().count(), 0),
        other => panic!("no metric of the crate is of this kind: {other:?}"),
    };
    metrics.map(|metric| (metric.name().to_owned(), size(metric.data()))).collect()
}

fn scraped(page: &str) -> Sizes {
    let mut sizes = Sizes::new();
    for line in page.lines().filter(|line| !line.starts_with('#') && !line.contains("le=\"")) {
        if let Some((series, value)) = line.rsplit_once(' ') {
            let size = sizes.entry(series.split('{').next().unwrap().to_owned()).or_default();
            *size = (size.0 + 1, size.1 + value.split('.').next().unwrap().parse().unwrap_or(0));
        }
    }
    sizes
}

#[tokio::test(start_paused = true)]
async fn ten_thousand_words_that_somebody_made_up_make_no_more_series_than_there_is_room_for() {
    let exporter = InMemoryMetricExporter::default();
    let reader = PeriodicReader::builder(exporter.clone()).build();
    let meters = SdkMeterProvider::builder().with_reader(reader).build();
    global::set_meter_provider(meters.clone());
    let builder = PrometheusBuilder::new().with_recommended_naming(true);
    let recorder = builder.set_buckets(&record::BUCKETS).unwrap().build_recorder();
    let _local = metrics::set_default_local_recorder(&recorder);

    let limit = Duration::from_secs(1);
    let server = golden::server("attacked").timeout(limit).sink(record::metrics()).layer();
    let server = server.layer(service_fn(answer));
    let client = golden::client("proxy").timeout(limit).no_fallback().sink(record::metrics());
    let client = client.without_retry().without_circuit_breaker().http(service_fn(answer));
    for n in 0..CALLS {
        server.clone().oneshot(request(n, format!("/payments/{n}?of={n}"))).await.unwrap();
        client.send(request(n, format!("http://host-{n}:{}/{n}", 1_000 + n))).await.unwrap();
    }

    meters.force_flush().unwrap();
    let told = exported(&exporter.get_finished_metrics().unwrap());
    Registry::global().publish();
    let scraped = scraped(&recorder.handle().render());
    for (name, (series, _)) in told.iter().chain(&scraped) {
        assert!(*series <= MOST, "{series} series of {name}");
    }
    for end in ["server", "client"] {
        let (series, counted) = told[&format!("http.{end}.request.duration")];
        assert_eq!(counted, u64::from(CALLS), "{end}: nothing is lost in {series} series");
        let (series, counted) = scraped[&format!("http_{end}_request_duration_seconds_count")];
        assert_eq!(counted, u64::from(CALLS), "{end}: nothing is lost in {series} series");
    }
    // A server's series are those of its statuses; a client's, of as many hosts as keep their names.
    assert_eq!(told["http.server.request.duration"].0, 300);
    assert_eq!(told["http.client.request.duration"].0, MOST);
    assert_eq!(told["http.server.active_requests"].0, 1);
}
