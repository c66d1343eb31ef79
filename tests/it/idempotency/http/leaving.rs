//! Callers who go away, and handlers that take long, panic, or were refused.

use std::{sync::Arc, time::Duration};

use axum::{Router, body::Body, response::IntoResponse};
use http::{Request, StatusCode};
use http_body_util::StreamBody;
use moneta_resilience::{
    Deadline, Priority, Reason, Rejected,
    idempotency::{MemoryStore, Store, http::IdempotencyLayer},
    respond::RespondLayer,
    timeout::TimeoutLayer,
};
use tokio::{
    sync::Notify,
    time::{advance, sleep, timeout},
};
use tower::{Layer, ServiceExt};

use super::{Runs, app, pay, send, settle};

fn layer() -> IdempotencyLayer<MemoryStore> {
    IdempotencyLayer::new(MemoryStore::new())
}

/// A handler that takes so long.
fn slow(layer: IdempotencyLayer<MemoryStore>, runs: &Runs, takes: Duration) -> Router {
    let runs = runs.clone();
    app(layer, move || {
        let run = runs.run();
        async move {
            sleep(takes).await;
            format!("payment {run}")
        }
    })
}

#[tokio::test(start_paused = true)]
async fn the_handler_runs_on_when_its_caller_goes_away() {
    let (layer, runs) = (layer(), Runs::default());
    let handle = layer.handle();
    let app = slow(layer, &runs, Duration::from_secs(5));
    let gone = timeout(Duration::from_secs(1), send(&app, pay("k1"))).await;
    assert!(gone.is_err());
    assert_eq!((handle.running(), runs.count()), (1, 1));
    send(&app, pay("k1")).await.is_problem(409, "idempotency-in-progress");
    handle.drain().await;
    assert_eq!(handle.running(), 0);
    send(&app, pay("k1")).await.replays(200, "payment 1");
}

#[tokio::test(start_paused = true)]
async fn the_callers_timeout_answers_and_the_handler_runs_on() {
    let (layer, runs) = (layer(), Runs::default());
    let handle = layer.handle();
    let inner = slow(layer, &runs, Duration::from_secs(5));
    let limited = Router::new().fallback_service(inner).layer(
        tower::ServiceBuilder::new()
            .layer(RespondLayer::new())
            .layer(TimeoutLayer::new(Duration::from_secs(1))),
    );
    assert_eq!(send(&limited, pay("k1")).await.status, StatusCode::GATEWAY_TIMEOUT);
    handle.drain().await;
    send(&limited, pay("k1")).await.replays(200, "payment 1");
    assert_eq!(runs.count(), 1);
}

#[tokio::test(start_paused = true)]
async fn a_caller_that_leaves_before_its_body_is_read_leaves_nothing_behind() {
    let (layer, runs) = (layer(), Runs::default());
    let handle = layer.handle();
    let app = slow(layer, &runs, Duration::ZERO);
    let mut stalled = pay("k1");
    let frames = futures::stream::pending::<Result<http_body::Frame<bytes::Bytes>, std::io::Error>>();
    *stalled.body_mut() = Body::new(StreamBody::new(frames));
    assert!(timeout(Duration::from_secs(1), send(&app, stalled)).await.is_err());
    assert_eq!(handle.running(), 0);
    send(&app, pay("k1")).await.is(200, "payment 1");
}

#[tokio::test(start_paused = true)]
async fn a_call_that_is_made_and_never_polled_has_no_effect() {
    let (layer, runs) = (layer(), Runs::default());
    let handle = layer.handle();
    let app = slow(layer, &runs, Duration::ZERO);
    drop(app.clone().oneshot(pay("k1")));
    settle().await;
    assert_eq!((handle.running(), runs.count()), (0, 0));
}

#[tokio::test(start_paused = true)]
async fn one_that_may_wait_gets_the_answer_of_the_call_before_it() {
    let runs = Runs::default();
    let layer = layer().max_wait(Duration::from_secs(10));
    let app = slow(layer, &runs, Duration::from_secs(5));
    let (first, second) = tokio::join!(send(&app, pay("k1")), send(&app, pay("k1")));
    let (ran, replayed) = if first.is_replay() { (second, first) } else { (first, second) };
    ran.is(200, "payment 1");
    replayed.replays(200, "payment 1");
}

#[tokio::test(start_paused = true)]
async fn who_waited_in_vain_is_told_to_come_again() {
    let runs = Runs::default();
    let app = slow(layer().max_wait(Duration::from_secs(2)), &runs, Duration::from_secs(5));
    let (first, second) = tokio::join!(send(&app, pay("k1")), send(&app, pay("k1")));
    let busy = if first.status == 409 { first } else { second };
    busy.is_problem(409, "idempotency-in-progress");
    assert_eq!(busy.headers["retry-after"], "1");
}

#[tokio::test(start_paused = true)]
async fn a_mismatch_is_told_also_while_the_first_call_runs() {
    let app = slow(layer(), &Runs::default(), Duration::from_secs(5));
    let other = async {
        settle().await;
        send(&app, super::with_body("k1", "900 CHF")).await
    };
    let (first, other) = tokio::join!(send(&app, pay("k1")), other);
    first.is(200, "payment 1");
    other.is_problem(422, "idempotency-key-reused");
}

#[tokio::test(start_paused = true)]
async fn the_run_limit_ends_a_handler_and_leaves_its_key_in_doubt() {
    let (store, runs) = (MemoryStore::new(), Runs::default());
    let layer = IdempotencyLayer::new(store.clone()).run_limit(Duration::from_secs(30));
    let app = slow(layer, &runs, Duration::from_secs(31));
    assert_eq!(send(&app, pay("k1")).await.status, StatusCode::GATEWAY_TIMEOUT);
    send(&app, pay("k1")).await.is_problem(409, "outcome-unknown");
    send(&app, super::with_body("k1", "900 CHF")).await.is_problem(422, "idempotency-key-reused");
    advance(Duration::from_secs(3600)).await;
    send(&app, pay("k1")).await.is_problem(409, "outcome-unknown");
    assert_eq!((runs.count(), store.oldest_in_doubt().await.unwrap().unwrap().as_secs()), (1, 3600));
}

#[tokio::test(start_paused = true)]
async fn a_handler_that_takes_longer_than_the_lease_keeps_its_claim() {
    let runs = Runs::default();
    let layer = layer().lease(Duration::from_secs(3)).run_limit(Duration::from_secs(60));
    let app = slow(layer, &runs, Duration::from_secs(40));
    let asking = async {
        for _ in 0..7 {
            sleep(Duration::from_secs(5)).await;
            send(&app, pay("k1")).await.is_problem(409, "idempotency-in-progress");
        }
    };
    let (first, ()) = tokio::join!(send(&app, pay("k1")), asking);
    first.is(200, "payment 1");
    assert_eq!(runs.count(), 1);
}

#[tokio::test(start_paused = true)]
async fn a_panic_leaves_the_key_in_doubt() {
    let runs = Runs::default();
    let ran = runs.clone();
    let app = app(layer(), move || {
        let run = ran.run();
        async move { assert!(run > 1, "a bug in the handler") }
    });
    assert_eq!(send(&app, pay("k1")).await.status, StatusCode::INTERNAL_SERVER_ERROR);
    send(&app, pay("k1")).await.is_problem(409, "outcome-unknown");
    assert_eq!(runs.count(), 1);
}

#[tokio::test(start_paused = true)]
async fn an_error_passes_unchanged_and_leaves_the_key_in_doubt() {
    // A refusal that comes out of the handler proves nothing: it may have acted before.
    let inner = tower::service_fn(|_: Request<_>| async {
        TimeoutLayer::new(Duration::from_millis(1))
            .layer(tower::service_fn(|()| std::future::pending::<Result<(), std::io::Error>>()))
            .oneshot(())
            .await
            .map(|()| http::Response::new(Body::empty()))
    });
    let service = layer().layer(inner);
    let error = service.clone().oneshot(pay("k1")).await.unwrap_err();
    assert_eq!(Rejected::find(&*error).map(Rejected::reason), Some(Reason::Timeout));
    let again = service.oneshot(pay("k1")).await.unwrap();
    assert_eq!(again.status(), StatusCode::CONFLICT);
}

#[tokio::test(start_paused = true)]
async fn the_handler_is_told_the_deadline_and_the_priority_and_is_not_cut_by_them() {
    let seen = Arc::new(Notify::new());
    let told = seen.clone();
    let (layer, limit) = (layer(), Duration::from_secs(2));
    let handle = layer.handle();
    let app = app(layer, move || {
        let told = told.clone();
        async move {
            assert_eq!(Deadline::current().map(Deadline::remaining), Some(limit));
            assert_eq!(Priority::current(), Priority::Sheddable);
            sleep(limit * 3).await;
            assert_eq!(Deadline::current().map(Deadline::remaining), Some(Duration::ZERO));
            told.notify_one();
            "paid".into_response()
        }
    });
    let call = Priority::Sheddable.scope(timeout(limit, send(&app, pay("k1"))));
    assert!(Deadline::after(limit).scope(call).await.is_err());
    seen.notified().await;
    handle.drain().await;
    send(&app, pay("k1")).await.replays(200, "paid");
}
