//! `golden::server` that runs each key once.

use std::time::Duration;

use axum::routing::post;
use futures::FutureExt;
use http::Method;
use moneta_resilience::{
    Registry,
    event::{IdempotencyResult, Outcome},
    fault::Fault,
    golden::{self, Handle},
    idempotency::{MemoryStore, http::IdempotencyLayer},
};
use tokio::{io::AsyncWriteExt, net::TcpStream};
use tower::ServiceExt;

use super::*;

const LIMIT: Duration = Duration::from_secs(2);

/// The gate's route is a GET, so keys are looked at there, too.
fn gated(registry: &Registry) -> (Gate, Router, Handle) {
    let (gate, slow) = Gate::new();
    let keys = IdempotencyLayer::new(MemoryStore::default()).methods([Method::GET]);
    let layer = golden::server("payments")
        .registry(registry)
        .timeout(LIMIT)
        .bulkhead(1)
        .idempotency_layer(keys)
        .layer();
    let handle = layer.handle().clone();
    (gate, Router::new().route("/slow", slow).layer(layer), handle)
}

fn keyed(key: &str) -> Request<Body> {
    Request::get("/slow").header("idempotency-key", key).body(Body::empty()).unwrap()
}

async fn answer(app: &Router, request: Request<Body>) -> Response<Body> {
    app.clone().oneshot(request).await.unwrap()
}

#[tokio::test]
async fn a_handler_under_a_key_runs_on_when_its_caller_disconnects_and_holds_its_place() {
    let registry = Registry::new();
    let (mut gate, app, handle) = gated(&registry);
    let address = serve(app.clone()).await;

    let mut caller = TcpStream::connect(address).await.unwrap();
    caller.write_all(b"GET /slow HTTP/1.1\r\nhost: payments\r\nidempotency-key: k1\r\n\r\n").await.unwrap();
    gate.entered().await;
    drop(caller);
    while handle.counts().calls(Outcome::Cancelled) == 0 {
        tokio::task::yield_now().await;
    }
    assert_eq!(handle.state().bulkhead.unwrap().in_use, 1);

    gate.let_go();
    handle.drain().await;
    assert_eq!(handle.state().bulkhead.unwrap().in_use, 0);
    let again = answer(&app, keyed("k1")).await;
    assert_eq!(header(&again, "idempotent-replayed"), Some("true"));
    assert_eq!(text(again).await, "waited");
    assert_eq!(handle.counts().idempotency(IdempotencyResult::Executed), 1);
}

#[tokio::test(start_paused = true)]
async fn the_timeout_answers_the_caller_and_drops_only_what_has_no_key() {
    let registry = Registry::new();
    let (mut gate, app, handle) = gated(&registry);
    let without = Request::get("/slow").body(Body::empty()).unwrap();
    assert_eq!(answer(&app, without).await.status(), StatusCode::GATEWAY_TIMEOUT);
    gate.left().await;

    assert_eq!(answer(&app, keyed("k1")).await.status(), StatusCode::GATEWAY_TIMEOUT);
    assert_eq!(handle.state().bulkhead.unwrap().in_use, 1);
    assert_eq!(answer(&app, keyed("k1")).await.status(), StatusCode::CONFLICT);
    gate.let_go();
    handle.drain().await;
    assert_eq!(text(answer(&app, keyed("k1")).await).await, "waited");
}

#[tokio::test(start_paused = true)]
async fn a_key_that_the_bulkhead_refused_is_free() {
    let registry = Registry::new();
    let (mut gate, app, handle) = gated(&registry);
    let (first, ()) = tokio::join!(answer(&app, keyed("k1")), async {
        gate.entered().await;
        for _ in 0..2 {
            let refused = answer(&app, keyed("k2")).await;
            assert_eq!(refused.status(), StatusCode::SERVICE_UNAVAILABLE);
            assert!(text(refused).await.contains("bulkhead_full"));
        }
        gate.let_go();
    });
    assert_eq!(text(first).await, "waited");
    gate.let_go();
    let second = answer(&app, keyed("k2")).await;
    assert_eq!((second.status(), header(&second, "idempotent-replayed")), (StatusCode::OK, None));
    assert_eq!(handle.counts().idempotency(IdempotencyResult::Rejected), 2);
}

#[tokio::test(start_paused = true)]
async fn a_stack_that_is_watched_shows_its_oldest_doubt_and_one_without_keys_has_none() {
    let registry = Registry::new();
    let (_, _, handle) = gated(&registry);
    assert_eq!(handle.state().oldest_in_doubt, None);
    let watched = handle.watch_doubts(LIMIT).now_or_never();
    assert_eq!((watched, handle.state().oldest_in_doubt), (None, Some(Duration::ZERO)));

    let without = golden::server("accounts").registry(&registry).timeout(LIMIT).layer();
    assert_eq!(without.handle().watch_doubts(LIMIT).now_or_never(), Some(()), "there is nothing to watch");
    assert_eq!(without.handle().state().oldest_in_doubt, None);
}

#[tokio::test(start_paused = true)]
async fn a_caller_that_stored_its_key_gets_after_a_crash_what_its_first_call_did() {
    let registry = Registry::new();
    let (mut gate, app, service) = gated(&registry);
    // Each process has a client of its own, and the one key that was stored.
    let ask = async || {
        let client = golden::client("payments-api")
            .registry(&registry)
            .timeout(LIMIT / 2)
            .no_fallback()
            .without_retry()
            .idempotency_keys()
            .http(app.clone().map_request(|request: Request<Full<Bytes>>| request.map(Body::new)));
        let answer = client.send(keyed("stored-with-the-order").map(|_| Full::default())).await?;
        Ok::<_, moneta_resilience::CallError>((
            answer.status(),
            header(&answer, "idempotent-replayed").is_some(),
        ))
    };
    assert_eq!(ask().await.unwrap(), (StatusCode::GATEWAY_TIMEOUT, false), "nobody knows what came of it");
    gate.entered().await;
    gate.let_go();
    service.drain().await;
    assert_eq!(ask().await.unwrap(), (StatusCode::OK, true));
    assert_eq!(service.counts().idempotency(IdempotencyResult::Executed), 1);
}

#[tokio::test]
async fn an_answer_that_is_lost_on_its_way_out_is_kept_for_whoever_comes_again() {
    let layer = golden::server("payments")
        .registry(&Registry::new())
        .timeout(LIMIT)
        .idempotency(MemoryStore::default())
        .layer();
    let handle = layer.handle().clone();
    let app = Router::new().route("/payments", post(async || "paid")).layer(layer);
    let pay =
        |key: &str| Request::post("/payments").header("idempotency-key", key).body(Body::empty()).unwrap();

    let lost = handle.ingress_faults().unwrap().arm(Fault::lost_answer());
    assert_eq!(answer(&app, pay("k1")).await.status(), StatusCode::SERVICE_UNAVAILABLE);
    let without = Request::post("/payments").body(Body::empty()).unwrap();
    assert_eq!(text(answer(&app, without).await).await, "paid", "nothing keeps it from being paid twice");
    assert_eq!(lost.hit(), 1);
    lost.disarm();

    let again = answer(&app, pay("k1")).await;
    assert_eq!(header(&again, "idempotent-replayed"), Some("true"));
    assert_eq!(text(again).await, "paid");
    assert_eq!(handle.counts().idempotency(IdempotencyResult::Executed), 1);
}
