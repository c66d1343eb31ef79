use std::{collections::BTreeMap, sync::Arc, time::Duration};

use opentelemetry::{KeyValue, Value, metrics::MeterProvider};
use opentelemetry_sdk::metrics::{
    InMemoryMetricExporter, PeriodicReader, SdkMeterProvider,
    data::{AggregatedMetrics, MetricData, ResourceMetrics, ScopeMetrics},
};

use super::{
    OtelSettings,
    meters::Meters,
    requests::{Measured, Requests, register},
};
use crate::{
    event::{End, Ended, Exchange, Outcome, Protocol},
    record::{active::UnderWay, kinds::Kind, places::Known, requests::MOST},
};

/// What an SDK was told.
struct Told {
    provider: SdkMeterProvider,
    exporter: InMemoryMetricExporter,
}

/// Of one series: the count and the sum of a histogram, or 1 and the value of what is no histogram.
type Points = BTreeMap<String, (u64, f64)>;

impl Told {
    fn new() -> Self {
        let exporter = InMemoryMetricExporter::default();
        let reader = PeriodicReader::builder(exporter.clone()).build();
        Self { provider: SdkMeterProvider::builder().with_reader(reader).build(), exporter }
    }

    /// The provider, once as any other and once, where that can be, as one whose series are bound.
    fn providers(&self) -> Vec<Arc<dyn MeterProvider + Send + Sync>> {
        vec![
            Arc::new(self.provider.clone()),
            #[cfg(feature = "setup")]
            Arc::new(super::Binding(self.provider.clone())),
        ]
    }

    fn each(&self, mut see: impl FnMut(&str, &str, &AggregatedMetrics)) {
        self.exporter.reset();
        self.provider.force_flush().expect("it can be read");
        let resources = self.exporter.get_finished_metrics().expect("it was read");
        let scopes = resources.iter().flat_map(ResourceMetrics::scope_metrics);
        for metric in scopes.flat_map(ScopeMetrics::metrics) {
            see(metric.name(), metric.unit(), metric.data());
        }
    }

    fn points(&self, name: &str) -> Points {
        let mut points = Points::new();
        self.each(|known, _, data| match data {
            _ if known != name => {}
            AggregatedMetrics::F64(MetricData::Histogram(histogram)) => {
                points
                    .extend(histogram.data_points().map(|p| (labels(p.attributes()), (p.count(), p.sum()))));
            }
            AggregatedMetrics::U64(MetricData::Histogram(histogram)) => {
                let sum = |sum: u64| f64::from(u32::try_from(sum).expect("it is small"));
                points.extend(
                    histogram.data_points().map(|p| (labels(p.attributes()), (p.count(), sum(p.sum())))),
                );
            }
            AggregatedMetrics::I64(MetricData::Sum(sum)) => {
                assert!(!sum.is_monotonic());
                let value = |value| f64::from(i32::try_from(value).expect("it is small"));
                points.extend(sum.data_points().map(|p| (labels(p.attributes()), (1, value(p.value())))));
            }
            other => panic!("no metric of requests is of this kind: {other:?}"),
        });
        points
    }

    fn units(&self) -> BTreeMap<String, String> {
        let mut units = BTreeMap::new();
        self.each(|name, unit, _| {
            units.insert(name.to_owned(), unit.to_owned());
        });
        units
    }
}

/// The labels, a number among them with its sign.
fn labels<'a>(labels: impl Iterator<Item = &'a KeyValue>) -> String {
    let label = |label: &KeyValue| match &label.value {
        Value::I64(number) => format!("{}={number:+}", label.key),
        other => format!("{}={other}", label.key),
    };
    labels.map(label).collect::<Vec<_>>().join(" ")
}

fn exchange(protocol: Protocol, end: End) -> Exchange {
    Exchange {
        protocol,
        end,
        method: if protocol == Protocol::Http { "GET" } else { "bank.Ledger/Book" },
        scheme: Some("https"),
        route: Some("/payments/{id}"),
        address: Some("ledger"),
        port: Some(8443),
    }
}

const ENDED: Ended = Ended {
    outcome: Outcome::Success,
    synthetic: false,
    injected: false,
    status: Some(5),
    error: None,
    version: Some("2"),
    elapsed: Duration::from_millis(1_500),
    request_size: Some(100),
    response_size: 3_000,
};

#[test]
fn requests_are_measured_by_the_names_and_labels_of_the_conventions() {
    use {End::*, Protocol::*};
    let http = "http.request.method=GET http.response.status_code=+5";
    let rpc = "rpc.method=bank.Ledger/Book rpc.response.status_code=NOT_FOUND rpc.system.name=grpc";
    let server = "server.address=ledger server.port=+8443";
    for (protocol, end, name, expected) in [
        (
            Http,
            Server,
            "http.server.request.duration",
            format!("{http} http.route=/payments/{{id}} network.protocol.version=2 url.scheme=https"),
        ),
        (Http, Client, "http.client.request.duration", format!("{http} network.protocol.version=2 {server}")),
        (Grpc, Server, "rpc.server.call.duration", rpc.to_owned()),
        (Grpc, Client, "rpc.client.call.duration", format!("{rpc} {server}")),
    ] {
        for binding in 0..Told::new().providers().len() {
            let told = Told::new();
            let meters = Meters::of(&told.providers()[binding], OtelSettings::default());
            let (requests, mut known) = (Requests::new(meters), Known::new());
            for _ in 0..3 {
                requests.record(&mut known, &Kind::of(exchange(protocol, end)).exchange, &ENDED);
            }
            assert_eq!(told.points(name), Points::from([(expected.clone(), (3, 4.5))]));
            assert_eq!(
                told.units(),
                BTreeMap::from([(name.to_owned(), "s".to_owned())]),
                "and nothing else is measured"
            );
        }
    }
}

#[test]
fn bodies_are_measured_for_those_who_ask() {
    let told = Told::new();
    for provider in told.providers() {
        let settings = OtelSettings { body_sizes: true, bounds: vec![1.2] };
        let (requests, mut known) = (Requests::new(Meters::of(&provider, settings)), Known::new());
        let request = &Kind::of(exchange(Protocol::Http, End::Client)).exchange;
        requests.record(&mut known, request, &ENDED);
        requests.record(&mut known, request, &Ended { request_size: None, ..ENDED });
        let grpc = Kind::of(exchange(Protocol::Grpc, End::Client));
        requests.record(&mut known, &grpc.exchange, &ENDED);
    }
    let sum = |name| told.points(name).into_values().collect::<Vec<_>>();
    let times = u64::try_from(told.providers().len()).expect("they are few");
    let all = |count: u64, each: f64| {
        vec![(count * times, f64::from(u32::try_from(count * times).expect("it is small")) * each)]
    };
    assert_eq!(sum("http.client.request.body.size"), all(1, 100.0), "one said how big it was");
    assert_eq!(sum("http.client.response.body.size"), all(2, 3_000.0));
    let units = told.units();
    assert_eq!(units["http.client.request.body.size"], "By");
    assert_eq!(units.len(), 4, "there are none for gRPC: {units:?}");
    told.each(|name, _, data| {
        if let AggregatedMetrics::F64(MetricData::Histogram(histogram)) = data {
            let bounds: Vec<_> = histogram.data_points().next().expect("one").bounds().collect();
            assert_eq!(bounds[9..12], [1.0, 1.2, 2.5], "{name}: the threshold is one of them");
        }
    });
}

#[test]
fn there_is_room_for_so_many_series_and_no_request_is_lost() {
    for binding in 0..Told::new().providers().len() {
        let told = Told::new();
        let meters = Meters::of(&told.providers()[binding], OtelSettings::default());
        let (requests, mut known) = (Requests::new(meters), Known::new());
        let base = exchange(Protocol::Http, End::Client);
        let total = 3_000;
        for port in 1..=total {
            let kind = Kind::of(Exchange { port: Some(port), ..base });
            requests.record(&mut known, &kind.exchange, &ENDED);
        }
        let points = told.points("http.client.request.duration");
        assert_eq!(points.len(), MOST + 1);
        assert_eq!(points.values().map(|(count, _)| count).sum::<u64>(), u64::from(total));
        let rest = points["otel.metric.overflow=true"].0;
        assert_eq!(rest, u64::from(total) - MOST as u64);
    }
}

#[test]
fn a_series_that_exists_costs_no_allocation() {
    for provider in Told::new().providers() {
        let settings = OtelSettings { body_sizes: true, ..OtelSettings::default() };
        let (requests, mut known) =
            (Requests::new(Meters::of(&provider, settings)), Known::<Arc<Measured>>::new());
        let mut call = || {
            let request = Kind::of(exchange(Protocol::Http, End::Server));
            drop(UnderWay::begin(request));
            requests.record(&mut known, &request.exchange, &ENDED);
        };
        call();
        assert_eq!(allocation_counter::measure(call).count_total, 0);
    }
}

#[test]
fn requests_under_way_are_shown_also_those_that_began_without_a_provider() {
    // Those of the process are shown, so these differ from all others in it.
    let server = Kind::of(Exchange { method: "SHOWN", ..exchange(Protocol::Http, End::Server) });
    let client = Kind::of(Exchange { address: Some("shown"), ..exchange(Protocol::Http, End::Client) });
    let (of_server, of_client) = ([(); 2].map(|()| UnderWay::begin(server)), UnderWay::begin(client));

    let told = Told::new();
    let meters = Meters::of(&told.providers()[0], OtelSettings::default());
    register(&meters.meter, || true);
    let value = |name, labels| told.points(name).get(labels).map(|&(_, value)| value);
    let at_server = || value("http.server.active_requests", "http.request.method=SHOWN url.scheme=https");
    let at_client = || value("http.client.active_requests", "server.address=shown server.port=+8443");
    assert_eq!((at_server(), at_client()), (Some(2.0), Some(1.0)));
    assert_eq!(told.units()["http.server.active_requests"], "{request}");
    drop((of_server, of_client));
    assert_eq!((at_server(), at_client()), (Some(0.0), Some(0.0)), "back at 0, and still there");
}

#[cfg(feature = "setup")]
#[test]
fn only_the_provider_that_is_known_to_bind_is_bound() {
    struct Around(Arc<dyn MeterProvider + Send + Sync>);
    impl MeterProvider for Around {
        fn meter_with_scope(
            &self,
            scope: opentelemetry::InstrumentationScope,
        ) -> opentelemetry::metrics::Meter {
            self.0.meter_with_scope(scope)
        }
    }
    let binds = |provider| super::binding::meter(provider).1.is_some();
    let told = Told::new();
    let [any, binding] = &told.providers()[..] else { panic!("there are two") };
    let around: Arc<dyn MeterProvider + Send + Sync> = Arc::new(Around(Arc::clone(binding)));
    assert!(!binds(any));
    assert!(binds(binding));
    assert!(!binds(&around), "what it makes of our meters is not known");
    assert!(!binds(any));
}
