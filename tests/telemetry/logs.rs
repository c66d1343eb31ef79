//! The lines of a log, and what they are found by.

use std::{
    convert::Infallible,
    io,
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use http::{Request, Response};
use http_body_util::Full;
use moneta_resilience::{golden, messaging::Delivery, record::log::JsonLines, telemetry::TelemetryLayer};
use opentelemetry::trace::SpanId;
use opentelemetry_sdk::trace::{InMemorySpanExporter, Sampler, SdkTracerProvider};
use tokio::time::advance;
use tower::{BoxError, Layer, ServiceExt, service_fn};
use tracing_subscriber::layer::SubscriberExt;

use crate::{SECOND, alone, seen::Seen};

/// What was written.
#[derive(Clone, Default)]
pub(crate) struct Page(Arc<Mutex<Vec<u8>>>);

impl Page {
    pub(crate) fn text(&self) -> String {
        String::from_utf8(self.0.lock().unwrap_or_else(PoisonError::into_inner).clone()).unwrap()
    }
}

impl io::Write for Page {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// One request, as its server, its client and the service itself log it.
#[tokio::test(start_paused = true)]
async fn all_lines_of_a_request_are_found_by_its_trace_and_by_its_id_sampled_or_not() {
    let _alone = alone().await;
    for (sampler, flags) in [(Sampler::AlwaysOn, "01"), (Sampler::AlwaysOff, "00")] {
        let spans = InMemorySpanExporter::default();
        let provider = SdkTracerProvider::builder().with_sampler(sampler).with_simple_exporter(spans.clone());
        opentelemetry::global::set_tracer_provider(provider.build());
        advance(SECOND).await;
        let page = Page::default();
        let (json, guard) = JsonLines::new("payments").write_to(page.clone()).unwrap();
        let _logs = tracing::subscriber::set_default(tracing_subscriber::registry().with(json));

        let ledger = golden::client("logs-ledger").timeout(SECOND).no_fallback().http(service_fn(
            |_: Request<Full<bytes::Bytes>>| async {
                Err::<Response<Full<bytes::Bytes>>, _>(BoxError::from("no"))
            },
        ));
        let server =
            golden::server("logs").timeout(SECOND).layer().layer(service_fn(|_: Request<()>| async {
                tracing::info!("of the service itself");
                ledger.send(Request::new(Full::default())).await.unwrap_err();
                Ok::<_, Infallible>(Response::new(Full::<bytes::Bytes>::default()))
            }));
        let request = Request::get("/payments").header("x-request-id", "req-7f9c").body(()).unwrap();
        server.oneshot(request).await.unwrap();

        assert!(guard.flush(Duration::from_secs(600)));
        let lines = page.text();
        let lines = lines.lines().map(|line| serde_json::from_str(line).unwrap());
        // OpenTelemetry's own have nothing to do with it.
        let ours = |line: &serde_json::Value| !line["target"].as_str().unwrap().starts_with("opentelemetry");
        let lines: Vec<serde_json::Value> = lines.filter(ours).collect();
        let kinds: Vec<_> = lines.iter().map(|line| line["kind"].as_str()).collect();
        assert_eq!(kinds, [None, Some("client"), Some("server")]);
        let [service, client, server] = &lines[..] else { panic!("{lines:?}") };
        for line in &lines {
            assert_eq!(
                (&line["request_id"], &line["trace_flags"]),
                (&"req-7f9c".into(), &flags.into()),
                "{line}"
            );
            assert_eq!(line["trace_id"], server["trace_id"]);
        }
        assert!(server["trace_id"].is_string());
        assert_eq!(service["span_id"], server["span_id"], "the service works in its server's span");
        assert_ne!(client["span_id"], server["span_id"], "a call of a client has one of its own");
    }
}

/// The lines that are written of what `work` does, without those of OpenTelemetry itself.
async fn logged(work: impl Future<Output = ()>) -> Vec<serde_json::Value> {
    let page = Page::default();
    let (json, guard) = JsonLines::new("payments").write_to(page.clone()).unwrap();
    let _logs = tracing::subscriber::set_default(tracing_subscriber::registry().with(json));
    work.await;
    assert!(guard.flush(Duration::from_secs(600)));
    let lines = page.text();
    let lines = lines.lines().map(|line| serde_json::from_str::<serde_json::Value>(line).unwrap());
    lines.filter(|line| line["pipeline"].is_string()).collect()
}

#[tokio::test(start_paused = true)]
async fn a_call_that_failed_is_found_by_its_span_whatever_its_stack_is_made_for() {
    async fn fails() -> Result<(), BoxError> {
        Err(io::Error::other("no").into())
    }

    let seen = Seen::new("logs").await;
    let lines = logged(async {
        TelemetryLayer::new("logs").layer(service_fn(|()| fails())).oneshot(()).await.unwrap_err();
        let client = golden::client("logs").timeout(SECOND).no_fallback().calls();
        client.run(fails).await.unwrap_err();
        let consumer =
            golden::consumer("logs").timeout(SECOND).dead_letter(|(), _| async { Ok::<_, BoxError>(()) });
        let delivery = consumer.service(service_fn(|()| fails())).deliver(()).await;
        assert_ne!(delivery, Delivery::Ack);
    })
    .await;
    let own = seen.spans().into_iter().filter(|span| span.parent_span_id == SpanId::INVALID);
    let own: Vec<_> = own.map(|span| span.span_context.span_id().to_string()).collect();
    let found: Vec<_> = lines.iter().map(|line| line["span_id"].as_str().unwrap_or("none")).collect();
    assert_eq!((found.len(), found), (3, own.iter().map(String::as_str).collect()));
}

#[cfg(feature = "grpc")]
#[tokio::test(start_paused = true)]
async fn a_call_over_grpc_that_failed_is_found_by_the_span_of_its_request() {
    use http_body_util::BodyExt;
    use tonic::{Status, body::Body};

    let seen = Seen::new("logs").await;
    let channel = |status: fn() -> Response<Body>| {
        service_fn(move |_: Request<Body>| async move { Ok::<_, BoxError>(status()) })
    };
    let answers: [fn() -> Response<Body>; 2] = [
        || Status::unavailable("gone").into_http(),
        // It breaks when its caller has it.
        || Response::new(Body::new(Full::new(bytes::Bytes::from_static(b"\0\0\0\0\x049311")))),
    ];
    for (at, answer) in answers.into_iter().enumerate() {
        let lines = logged(async {
            let client = golden::client("logs").timeout(SECOND).no_fallback().grpc(channel(answer));
            let request = Request::post("/bank.Quotes/Get").body(Body::empty()).unwrap();
            let _ = client.oneshot(request).await.unwrap().into_body().collect().await;
        })
        .await;
        let span = seen.spans()[at].span_context.span_id().to_string();
        let found: Vec<_> = lines.iter().map(|line| line["span_id"].as_str().unwrap_or("none")).collect();
        assert_eq!(found, vec![span; 1 + at], "an answer that broke has a line of its own");
    }
}
