//! What a call between a real client and a real server leaves with a real meter provider.

use std::{
    collections::BTreeMap,
    convert::Infallible,
    future::{Ready, ready},
    task::{Context, Poll},
};

use futures::stream;
use http_body::Frame;
use moneta_resilience::{golden, record::BUCKETS};
use opentelemetry_sdk::metrics::data::{
    AggregatedMetrics, Metric, MetricData, ResourceMetrics, ScopeMetrics,
};
use tonic::{Code, Request, body::Body, server::NamedService};
use tower::Service;

use super::wire::{QuotesClient, answered, framed, over_loopback, trailers};
use crate::{SECOND, alone, metrics::Meters};

const GET: &str = "/bank.Quotes/Get";
const BREAK: &str = "/bank.Quotes/Break";

/// Sends a message, and then says how it went: well, unless it was asked to break.
#[derive(Clone)]
struct Quotes;

impl NamedService for Quotes {
    const NAME: &'static str = "bank.Quotes";
}

impl Service<http::Request<Body>> for Quotes {
    type Response = http::Response<Body>;
    type Error = Infallible;
    type Future = Ready<Result<Self::Response, Infallible>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: http::Request<Body>) -> Self::Future {
        let code = if request.uri().path() == GET { Code::Ok } else { Code::Internal };
        ready(Ok(answered(stream::iter([Frame::data(framed("9311")), trailers(code)]))))
    }
}

/// Values by attributes.
type Counts = BTreeMap<String, u64>;

/// How many durations a histogram has, with which attributes. It has the unit and the buckets that the conventions ask for.
fn durations(metric: &Metric) -> Counts {
    assert_eq!(metric.unit(), "s");
    let AggregatedMetrics::F64(MetricData::Histogram(histogram)) = metric.data() else {
        panic!("{metric:?}")
    };
    let points = histogram.data_points().map(|point| {
        assert_eq!(point.bounds().collect::<Vec<_>>(), BUCKETS);
        assert_eq!(point.bucket_counts().sum::<u64>(), point.count());
        assert!(point.sum() > 0.0);
        let mut attributes: Vec<_> =
            point.attributes().map(|attribute| format!("{}={}", attribute.key, attribute.value)).collect();
        attributes.sort();
        (attributes.join(" "), point.count())
    });
    points.collect()
}

/// The clock goes as it likes; nothing is said about time.
#[tokio::test]
async fn calls_over_the_loopback_are_measured_at_both_ends_by_the_conventions() {
    let _alone = alone().await;
    let meters = Meters::new();
    meters.set();
    let server = golden::server("measured").timeout(60 * SECOND).grpc_layer();
    let channel = over_loopback(Quotes, server).await;
    let client = golden::client("measured-quotes").timeout(60 * SECOND).no_fallback().grpc(channel);
    let mut quotes = QuotesClient::new(client.origin("http://quotes.internal:50051".parse().unwrap()));
    for (path, told) in
        [(GET, Ok("9311".to_owned())), (GET, Ok("9311".to_owned())), (BREAK, Err(Code::Internal))]
    {
        let answer = quotes.call(path, Request::new("CHF".to_owned())).await;
        assert_eq!(answer.map_err(|status| status.code()), told);
    }

    meters.provider.force_flush().unwrap();
    let exported = meters.exporter.get_finished_metrics().unwrap();
    let scopes = exported.iter().flat_map(ResourceMetrics::scope_metrics);
    let scopes = scopes.filter(|scope| scope.scope().name() == "moneta-resilience");
    let metrics = scopes.flat_map(ScopeMetrics::metrics).filter(|metric| metric.name().starts_with("rpc."));
    let told: BTreeMap<_, _> = metrics.map(|metric| (metric.name(), durations(metric))).collect();
    let counts = |ok: &str, broken: &str| Counts::from([(ok.to_owned(), 2), (broken.to_owned(), 1)]);
    let server = counts(
        "rpc.method=bank.Quotes/Get rpc.response.status_code=OK rpc.system.name=grpc",
        "error.type=INTERNAL rpc.method=bank.Quotes/Break rpc.response.status_code=INTERNAL rpc.system.name=grpc",
    );
    let at = "server.address=quotes.internal server.port=50051";
    let client = server.iter().map(|(attributes, count)| (format!("{attributes} {at}"), *count)).collect();
    let expected = [("rpc.client.call.duration", client), ("rpc.server.call.duration", server)];
    assert_eq!(told, BTreeMap::from(expected));
}
