//! What must not be told, put wherever a caller, a dependency or the service itself can put it: no span, no metric and no
//! line shows it.

use std::{convert::Infallible, panic::AssertUnwindSafe, time::Duration};

use bytes::Bytes;
use futures::FutureExt;
use http::{Request, Response};
use http_body_util::Full;
use metrics_exporter_prometheus::{PrometheusBuilder, PrometheusRecorder};
use moneta_resilience::{BoxError, Registry, golden, record};
use opentelemetry::global;
use opentelemetry_sdk::metrics::{InMemoryMetricExporter, PeriodicReader, SdkMeterProvider};
use tokio::time::advance;
use tower::{Layer, ServiceExt, service_fn};
use tracing_subscriber::layer::SubscriberExt;

use crate::{SECOND, alone, logs::Page, traces::Traces};

/// What is hidden, and what there is of it that nobody may see.
const CANARIES: [(&str, &str); 7] = [
    ("4111111111111111", "4111111111111111"),
    ("5500 0055 5555 5559", "5555 5559"),
    ("3782-822463-10005", "3782-822463"),
    ("DE89370400440532013000", "370400440532013000"),
    ("ada.lovelace@example.com", "lovelace"),
    ("eyJhbGciOiJIUzI1NiJ9.eyJzdWIiOiIxMjM0NTY3ODkwIn0.dozjgNryP4J3jVmNHl0w5N", "zI1NiJ9"),
    ("Bearer mF_9.B5f-4.1JqM", "1JqM"),
];

/// A dependency that says too much: with its error, or in a panic.
async fn talkative(request: Request<Full<Bytes>>) -> Result<Response<Full<Bytes>>, BoxError> {
    let secret = request.headers()["x-secret"].to_str()?.to_owned();
    assert!(!request.uri().path().starts_with("/panic"), "a bug with {secret}");
    Err(format!("{} was refused for {secret}", request.uri()).into())
}

/// The same with nothing in it that cannot stand in a URL.
fn in_url(secret: &str) -> String {
    secret.replace(' ', "%20").replace('@', "%40")
}

/// The same where not even that can stand.
fn in_word(secret: &str) -> &str {
    if secret.contains(['@', ' ']) { "X" } else { secret }
}

fn request(from: &str, secret: &str) -> Request<Full<Bytes>> {
    let hidden = in_url(secret);
    let method = format!("PAY-{}", in_word(secret));
    Request::builder()
        .method(&*method)
        .uri(format!("{from}/{hidden}/x?secret={hidden}&{hidden}=1&{hidden}"))
        .header("x-secret", secret)
        .header("authorization", secret)
        .header("cookie", format!("session={secret}"))
        .header("user-agent", secret)
        .header("x-request-id", secret)
        .header("x-forwarded-for", secret)
        .header("traceparent", format!("00-{hidden}-nonsense-01"))
        .header("baggage", format!("customer={hidden},{hidden}=1"))
        .body(Full::default())
        .unwrap()
}

fn recorder() -> PrometheusRecorder {
    PrometheusBuilder::new().with_recommended_naming(true).build_recorder()
}

#[tokio::test(start_paused = true)]
async fn nothing_that_is_nobodys_business_leaves_the_process() {
    let _alone = alone().await;
    let traces = Traces::new();
    traces.set();
    let exporter = InMemoryMetricExporter::default();
    let meters =
        SdkMeterProvider::builder().with_reader(PeriodicReader::builder(exporter.clone()).build()).build();
    global::set_meter_provider(meters.clone());
    let (recorder, page) = (recorder(), Page::default());
    let _metrics = metrics::set_default_local_recorder(&recorder);
    let (json, guard) = record::log::JsonLines::new("canaries").write_to(page.clone()).unwrap();
    let _logs = tracing::subscriber::set_default(tracing_subscriber::registry().with(json));
    advance(SECOND).await;

    let ledger = golden::client("canaries-ledger")
        .timeout(SECOND)
        .no_fallback()
        .sink(record::metrics())
        .http(service_fn(talkative));
    let service = golden::server("canaries").timeout(SECOND).sink(record::metrics()).layer().layer(service_fn(
        move |request: Request<Full<Bytes>>| {
            let ledger = ledger.clone();
            async move {
                let secret = request.headers()["x-secret"].to_str().unwrap();
                tracing::info!(secret, uri = %request.uri(), headers = ?request.headers(), "asked by {secret}");
                let kind = if request.uri().path().starts_with("/panic") { "panic" } else { "error" };
                let url = format!("http://ada:{0}@{0}.example.com:8080/{kind}", in_word(secret));
                let error = ledger.send(self::request(&url, secret)).await.unwrap_err();
                tracing::error!(error = &error as &(dyn std::error::Error + 'static), debug = ?error, "failed: {error}");
                Ok::<_, Infallible>(Response::builder().status(502).body(Full::<Bytes>::default()).unwrap())
            }
        },
    ));
    for (secret, _) in CANARIES {
        for path in ["/payments", "/panic"] {
            let call = service.clone().oneshot(request(path, secret));
            let _answer_or_panic = AssertUnwindSafe(call).catch_unwind().await;
        }
    }

    Registry::global().publish();
    meters.force_flush().unwrap();
    assert!(guard.flush(Duration::from_secs(600)));
    let told = [
        ("spans", traces.raw()),
        ("metrics", format!("{:?}", exporter.get_finished_metrics().unwrap())),
        ("scrape", recorder.handle().render()),
        ("log", page.text()),
    ];
    for (what, told) in &told {
        assert!(told.contains("canaries"), "no {what} at all: {told}");
        for (secret, part) in CANARIES {
            for hidden in [secret, &in_url(secret), part] {
                let around =
                    |at: usize| told.chars().skip(told[..at].chars().count().saturating_sub(200)).take(300);
                let shown = told.find(hidden).map(|at| around(at).collect::<String>());
                assert_eq!(shown, None, "{hidden} is in the {what}");
            }
        }
    }
    let [(_, spans), .., (_, log)] = &told;
    assert!(spans.contains("[email]") && spans.contains("[card]"), "the spans have been through it");
    assert!(log.contains(r#""request_id":"[card]""#), "the ids of requests have been through it");
    assert_eq!(log.matches(r#""kind":"server""#).count(), 2 * CANARIES.len());
    assert_eq!(log.matches(r#""kind":"client""#).count(), 2 * CANARIES.len());
}
