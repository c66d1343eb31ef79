//! How long the caller will wait, in memory and on a paused clock.

use std::{
    future::pending,
    sync::atomic::{AtomicBool, Ordering},
    time::Duration,
};

use axum::extract::State;
use moneta_resilience::{
    CallError, Deadline, Reason, Registry, Rejected,
    event::Outcome,
    golden::{self, Calls, Handle},
};
use tokio::time::Instant;
use tower::ServiceExt;

use super::*;

const LIMIT: Duration = Duration::from_secs(2);

/// An app whose one route hangs behind a server stack, the stack's handle, and whether the route was entered.
fn hangs(registry: &Registry) -> (Router, Handle, Arc<AtomicBool>) {
    let entered = Arc::new(AtomicBool::new(false));
    let enter = Arc::clone(&entered);
    let handler = get(move || {
        enter.store(true, Ordering::Relaxed);
        pending::<()>()
    });
    let layer = golden::server("payments").timeout(LIMIT).registry(registry).layer();
    let handle = layer.handle().clone();
    (Router::new().route("/", handler).layer(layer), handle, entered)
}

fn patient(headers: &[(&str, &str)]) -> Request<Body> {
    let request =
        headers.iter().fold(Request::builder(), |request, (name, value)| request.header(*name, *value));
    request.body(Body::empty()).unwrap()
}

async fn timed(app: Router, request: Request<Body>) -> (Response<Body>, Duration) {
    let start = Instant::now();
    let Ok::<_, Infallible>(answer) = app.oneshot(request).await;
    (answer, start.elapsed())
}

#[tokio::test(start_paused = true)]
async fn a_caller_shortens_the_limit_and_never_lengthens_it() {
    for (headers, limit) in [
        (&[][..], LIMIT),
        (&[("x-request-timeout-ms", "300")], Duration::from_millis(300)),
        (&[("x-envoy-expected-rq-timeout-ms", "400")], Duration::from_millis(400)),
        (&[("x-request-timeout-ms", "300"), ("x-request-timeout-ms", "200")], Duration::from_millis(200)),
        (&[("x-request-timeout-ms", "60000")], LIMIT),
        (&[("x-request-timeout-ms", "18446744073709551615")], LIMIT),
    ] {
        let (app, handle, entered) = hangs(&Registry::new());
        let (answer, elapsed) = timed(app, patient(headers)).await;
        assert_eq!(answer.status(), StatusCode::GATEWAY_TIMEOUT, "{headers:?}");
        assert_eq!(header(&answer, "content-type"), Some("application/problem+json"));
        assert_eq!(
            answer.extensions().get::<Rejected>().map(Rejected::reason),
            Some(Reason::DeadlineExceeded)
        );
        assert!(text(answer).await.contains(r#""status":504,"reason":"deadline_exceeded""#));
        assert_eq!(elapsed, limit, "{headers:?}");
        assert!(entered.load(Ordering::Relaxed));
        assert_eq!(handle.counts().deadlines_exceeded(), 1);
        assert_eq!(handle.counts().deadlines_malformed(), 0);
    }
}

#[tokio::test(start_paused = true)]
async fn each_route_has_the_limit_that_the_function_says_and_callers_shorten_that() {
    let registry = Registry::new();
    let layer = golden::server("payments")
        .timeout_by(|head| match head.uri.path() {
            "/report" => 10 * LIMIT,
            "/never" => Duration::ZERO,
            "/bug" => panic!("a bug in the function"),
            _ => LIMIT,
        })
        .registry(&registry)
        .layer();
    let counts = layer.handle().clone();
    let app = Router::new().fallback(pending::<()>).layer(layer);
    let asked = |path: &str, patience: Option<&str>| {
        let request = Request::get(path);
        let request = patience.into_iter().fold(request, |it, left| it.header("x-request-timeout-ms", left));
        timed(app.clone(), request.body(Body::empty()).unwrap())
    };
    for (path, patience, status, expected) in [
        ("/payments", None, 504, LIMIT),
        ("/report", None, 504, 10 * LIMIT),
        ("/report", Some("300"), 504, Duration::from_millis(300)),
        ("/report", Some("60000"), 504, 10 * LIMIT),
        ("/never", None, 504, Duration::ZERO),
        ("/bug", None, 500, Duration::ZERO),
    ] {
        let (answer, elapsed) = asked(path, patience).await;
        assert_eq!((answer.status().as_u16(), elapsed), (status, expected), "{path}");
    }
    let counts = counts.counts();
    assert_eq!((counts.calls(Outcome::Timeout), counts.calls(Outcome::Panicked)), (5, 1));
    assert_eq!((counts.deadlines_exceeded(), counts.deadlines_expired()), (4, 1));
}

#[tokio::test(start_paused = true)]
async fn garbage_is_ignored_and_counted() {
    for garbage in ["", "soon", "-1", "1.5", "0x10", "99999999999999999999999999"] {
        let (app, handle, _) = hangs(&Registry::new());
        let (answer, elapsed) = timed(app, patient(&[("x-request-timeout-ms", garbage)])).await;
        assert_eq!((answer.status(), elapsed), (StatusCode::GATEWAY_TIMEOUT, LIMIT), "{garbage:?}");
        assert_eq!(handle.counts().deadlines_malformed(), 1, "{garbage:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_call_without_time_left_does_not_reach_the_handler() {
    let (app, handle, entered) = hangs(&Registry::new());
    let (answer, elapsed) = timed(app, patient(&[("x-request-timeout-ms", "0")])).await;
    assert_eq!((answer.status(), elapsed), (StatusCode::GATEWAY_TIMEOUT, Duration::ZERO));
    assert!(!entered.load(Ordering::Relaxed));
    assert_eq!(handle.counts().deadlines_expired(), 1);
}

#[tokio::test(start_paused = true)]
async fn a_client_in_the_handler_works_within_what_the_caller_left() {
    async fn handler(State(ledger): State<Calls>) -> Result<String, StatusCode> {
        let hangs = || async {
            assert_eq!(Deadline::current().map(Deadline::remaining), Some(Duration::from_millis(300)));
            pending::<Result<String, CallError>>().await
        };
        ledger.run(hangs).await.map_err(|_error| StatusCode::BAD_GATEWAY)
    }
    let registry = Registry::new();
    let ledger = golden::client("ledger").timeout(LIMIT * 5).no_fallback().registry(&registry).calls();
    let layer = golden::server("payments").timeout(LIMIT).registry(&registry).layer();
    let app = Router::new().route("/", get(handler)).layer(layer).with_state(ledger);

    let (answer, elapsed) = timed(app, patient(&[("x-request-timeout-ms", "300")])).await;
    assert_eq!(elapsed, Duration::from_millis(300));
    // The client is the first to see it, so the handler still has its say.
    assert_eq!(answer.status(), StatusCode::BAD_GATEWAY);
    let ledger = Handle::find(&registry, "ledger").pop();
    assert!(ledger.is_none(), "the app is gone, and its client with it");
    let cells = registry.cells_by_name();
    let (_, ledger) = cells.iter().find(|(name, _)| name.as_str() == "ledger").unwrap();
    assert_eq!((ledger.calls(Outcome::Timeout), ledger.calls(Outcome::Cancelled)), (1, 0));
}
