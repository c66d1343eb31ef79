//! What it costs that an HTTP server tells of its calls, beside others who do:
//! `OTEL_TRACES_EXPORTER=none OTEL_LOGS_EXPORTER=none OTEL_METRICS_EXPORTER=prometheus cargo bench --all-features --bench telemetry`.
//! Without the variables `Telemetry::init` would export spans from the start, where the build can.
//!
//! Each call is answered at once, and its body read to the end. What is told goes nowhere: the span processor drops it, and
//! nobody scrapes. So what is measured is what a call pays, in one process and one run.
//!
//! `what it records` is the bound: what a call of the layer leaves behind, put there by hand and with nothing round it. It is
//! to be held against `metrics/ours` less `bare`.

use std::{
    convert::Infallible,
    future::{Ready, ready},
    hint::black_box,
    pin::pin,
    sync::atomic::{AtomicU64, Ordering},
    task::{Context, Poll, Waker},
    time::Duration,
};

use bytes::Bytes;
use criterion::Criterion;
use http::{Request, Response};
use http_body::Body;
use http_body_util::Full;
use moneta_resilience::{Telemetry, golden, http::ServerTelemetryLayer, record::BUCKETS};
use opentelemetry::{KeyValue, global, metrics::Histogram};
use opentelemetry_instrumentation_tower::http::server::LayerBuilder;
use opentelemetry_sdk::{
    error::OTelSdkResult,
    trace::{Sampler, SdkTracerProvider, Span, SpanData, SpanProcessor},
};
use tokio::{runtime, time::Instant};
use tower::{Layer, Service, service_fn};
use tower_http::trace::TraceLayer;
use tracing_subscriber::layer::SubscriberExt;

type Sent = http_body_util::Empty<Bytes>;

const ROUTE: &str = "/accounts/{id}";

type Handler = tower::util::ServiceFn<fn(Request<Sent>) -> Ready<Result<Response<Full<Bytes>>, Infallible>>>;

fn handler() -> Handler {
    service_fn(|_| ready(Ok(Response::new(Full::from(Bytes::from_static(b"an answer"))))))
}

fn main() {
    let runtime = runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
    let _inside = runtime.enter();
    let mut criterion = Criterion::default()
        .warm_up_time(Duration::from_millis(500))
        .measurement_time(Duration::from_secs(2))
        .configure_from_args();

    measure(&mut criterion, "bare", handler());
    measure(&mut criterion, "nobody listens/ours", ours());
    measure(&mut criterion, "nobody listens/tower-http", TraceLayer::new_for_http().layer(handler()));
    measure(&mut criterion, "nobody listens/golden server", golden());

    // The metrics go to Prometheus, as they would in a service.
    let telemetry = Telemetry::init("bench").expect("nobody else set it up");
    records(&mut criterion);
    measure(&mut criterion, "metrics/ours", ours());
    measure(&mut criterion, "metrics/opentelemetry-instrumentation-tower", theirs(false));
    measure(&mut criterion, "metrics/golden server", golden());

    for (name, sampler) in [("unsampled", Sampler::AlwaysOff), ("sampled", Sampler::AlwaysOn)] {
        let traces = SdkTracerProvider::builder().with_sampler(sampler).with_span_processor(Nowhere).build();
        global::set_tracer_provider(traces);
        // Within a second the change is noticed.
        runtime.block_on(tokio::time::sleep(Duration::from_millis(1_100)));
        measure(&mut criterion, &format!("{name}/ours"), ours());
        measure(&mut criterion, &format!("{name}/opentelemetry-instrumentation-tower"), theirs(true));
        measure(&mut criterion, &format!("{name}/golden server"), golden());
    }
    drop(telemetry);

    let subscriber = tracing_subscriber::registry().with(Everything);
    tracing::subscriber::with_default(subscriber, || {
        measure(&mut criterion, "spans of tracing/tower-http", TraceLayer::new_for_http().layer(handler()));
    });
    criterion.final_summary();
}

fn ours() -> impl Service<Request<Sent>, Response = Response<impl Body + Unpin>> {
    ServerTelemetryLayer::new("accounts").route_of(|_| Some(ROUTE)).layer(handler())
}

fn theirs(traces: bool) -> impl Service<Request<Sent>, Response = Response<impl Body + Unpin>> {
    let layer = LayerBuilder::builder()
        .with_tracing(traces)
        .with_route_extractor_fn(|_: &Request<Sent>| Some(ROUTE.to_owned()));
    layer.build().expect("it is complete").layer(handler())
}

/// Everything that a golden server does, telemetry among it.
fn golden() -> impl Service<Request<Sent>, Response = Response<impl Body + Unpin>> {
    let server = golden::server("accounts").timeout(Duration::from_secs(30)).route_of(|_| Some(ROUTE));
    server.layer().layer(handler())
}

/// What a call leaves behind: two durations in histograms whose series are at hand, a count, and a gauge that went up and came
/// down. Counts and gauges are atomics, which are only read by an export. Last the same where every record has to look for its
/// series, and counts are records, too.
fn records(criterion: &mut Criterion) {
    let request = [
        KeyValue::new("http.request.method", "GET"),
        KeyValue::new("http.response.status_code", 200),
        KeyValue::new("http.route", ROUTE),
        KeyValue::new("network.protocol.version", "1.1"),
        KeyValue::new("url.scheme", "http"),
    ];
    let under_way = [request[0].clone(), request[4].clone()];
    let call = [KeyValue::new("outcome", "success"), KeyValue::new("pipeline", "accounts")];
    let meter = global::meter("bench");
    let histogram = |name: &'static str| -> Histogram<f64> {
        meter.f64_histogram(name).with_unit("s").with_boundaries(BUCKETS.to_vec()).build()
    };
    let (requests, calls) = (histogram("bench.request.duration"), histogram("bench.call.duration"));
    let (bound_request, bound_call) = (requests.bind(&request), calls.bind(&call));
    let [count, gauge] = [const { AtomicU64::new(0) }; 2];
    let durations = |elapsed: Duration| {
        bound_request.record(elapsed.as_secs_f64());
        bound_call.record(elapsed.as_secs_f64());
    };
    let up = || gauge.fetch_add(1, Ordering::Relaxed);
    let down = || {
        gauge.fetch_sub(1, Ordering::Relaxed);
        count.fetch_add(1, Ordering::Relaxed);
    };
    let name = |what| format!("what it records/{what}");
    criterion.bench_function(&name("the clock at both ends"), |bencher| {
        bencher.iter(|| Instant::now().saturating_duration_since(black_box(Instant::now())));
    });
    criterion.bench_function(&name("two histograms"), |bencher| {
        bencher.iter(|| durations(black_box(Duration::from_micros(7))));
    });
    criterion.bench_function(&name("a gauge up and down, a count"), |bencher| {
        bencher.iter(|| {
            up();
            down();
        });
    });
    criterion.bench_function(&name("all of it"), |bencher| {
        bencher.iter(|| {
            let start = Instant::now();
            up();
            durations(black_box(start).elapsed());
            down();
        });
    });

    let counter = meter.u64_counter("bench.calls").build();
    let up_down = meter.i64_up_down_counter("bench.active").build();
    criterion.bench_function(&name("all of it, looked up"), |bencher| {
        bencher.iter(|| {
            let start = Instant::now();
            up_down.add(1, &under_way);
            let elapsed = black_box(start).elapsed().as_secs_f64();
            requests.record(elapsed, &request);
            calls.record(elapsed, &call);
            counter.add(1, &call);
            up_down.add(-1, &under_way);
        });
    });
}

fn measure<S, B>(criterion: &mut Criterion, name: &str, mut server: S)
where
    S: Service<Request<Sent>, Response = Response<B>>,
    B: Body + Unpin,
{
    criterion.bench_function(name, |bencher| {
        bencher.iter_custom(|calls| {
            let start = Instant::now();
            for _ in 0..calls {
                call(&mut server);
            }
            start.elapsed()
        });
    });
}

fn call<S, B>(server: &mut S)
where
    S: Service<Request<Sent>, Response = Response<B>>,
    B: Body + Unpin,
{
    let cx = &mut Context::from_waker(Waker::noop());
    let mut request = Request::new(Sent::new());
    *request.uri_mut() = http::Uri::from_static("/accounts/7?page=2");
    assert!(server.poll_ready(cx).is_ready());
    let mut answer = pin!(server.call(black_box(request)));
    let Poll::Ready(Ok(answer)) = answer.as_mut().poll(cx) else { unreachable!("it answers at once") };
    let mut body = answer.into_body();
    while let Poll::Ready(Some(frame)) = std::pin::Pin::new(&mut body).poll_frame(cx) {
        black_box(frame.is_ok());
    }
}

/// Takes the spans that ended, and lets them go.
#[derive(Debug)]
struct Nowhere;

impl SpanProcessor for Nowhere {
    fn on_start(&self, _: &mut Span, _: &opentelemetry::Context) {}

    fn on_end(&self, _: SpanData) {}

    fn force_flush(&self) -> OTelSdkResult {
        Ok(())
    }

    fn shutdown_with_timeout(&self, _: Duration) -> OTelSdkResult {
        Ok(())
    }
}

/// Has every span of `tracing` made, and does nothing with it.
struct Everything;

impl<S: tracing::Subscriber> tracing_subscriber::Layer<S> for Everything {}
