//! Which requests are the same one.

use axum::{Router, body::Body, routing::post_service};
use http::{HeaderMap, Method, Request};
use http_body_util::{BodyExt, StreamBody};
use moneta_resilience::idempotency::{
    MemoryStore,
    http::{IdempotencyLayer, Need},
};

use super::{Runs, app, counting, pay, send, with_body};

fn layer() -> IdempotencyLayer<MemoryStore> {
    IdempotencyLayer::new(MemoryStore::new())
}

#[tokio::test(start_paused = true)]
async fn a_key_runs_the_handler_once() {
    let runs = Runs::default();
    let app = app(layer(), counting(&runs));
    send(&app, pay("k1")).await.is(200, "payment 1");
    send(&app, pay("k1")).await.replays(200, "payment 1");
    // The same key, as the draft writes it.
    send(&app, pay("\"k1\"")).await.replays(200, "payment 1");
    send(&app, pay("k2")).await.is(200, "payment 2");
    assert_eq!(runs.count(), 2);
}

#[tokio::test(start_paused = true)]
async fn without_a_key_nothing_is_different() {
    let runs = Runs::default();
    let app = app(layer(), counting(&runs));
    for run in 1..=2 {
        let request = Request::post("/payments").body(Body::from("100 CHF")).unwrap();
        send(&app, request).await.is(200, &format!("payment {run}"));
    }
}

#[tokio::test(start_paused = true)]
async fn methods_that_may_be_repeated_anyway_have_no_use_for_a_key() {
    let runs = Runs::default();
    let app = app(layer(), counting(&runs));
    for (run, method) in [Method::GET, Method::PUT, Method::DELETE, Method::GET].into_iter().enumerate() {
        let mut request = pay("k1");
        *request.method_mut() = method;
        send(&app, request).await.is(200, &format!("payment {}", run + 1));
    }
    let patch = || {
        let mut request = pay("k2");
        *request.method_mut() = Method::PATCH;
        request
    };
    send(&app, patch()).await.is(200, "payment 5");
    send(&app, patch()).await.replays(200, "payment 5");
}

#[tokio::test(start_paused = true)]
async fn methods_can_be_chosen() {
    let runs = Runs::default();
    let app = app(layer().methods([Method::PUT]), counting(&runs));
    let put = || {
        let mut request = pay("k1");
        *request.method_mut() = Method::PUT;
        request
    };
    send(&app, put()).await.is(200, "payment 1");
    send(&app, put()).await.replays(200, "payment 1");
    send(&app, pay("k1")).await.is(200, "payment 2");
    send(&app, pay("k1")).await.is(200, "payment 3");
}

#[tokio::test(start_paused = true)]
async fn a_required_key_that_is_missing_is_told_where_it_is_explained() {
    let runs = Runs::default();
    let app = app(layer().required("https://example.com/keys"), counting(&runs));
    let without = send(&app, Request::post("/payments").body(Body::empty()).unwrap()).await;
    without.is_problem(400, "idempotency-key-missing");
    assert_eq!(without.headers["link"], "<https://example.com/keys>; rel=\"describedby\"");
    assert_eq!(runs.count(), 0);
    send(&app, Request::get("/payments").body(Body::empty()).unwrap()).await.is(200, "payment 1");
    send(&app, pay("k1")).await.is(200, "payment 2");
}

#[tokio::test(start_paused = true)]
async fn each_route_can_say_what_it_needs() {
    let runs = Runs::default();
    let need = |head: moneta_resilience::Head<'_>| match head.uri.path() {
        "/payments" => Need::Required,
        _ => Need::Ignored,
    };
    let app = app(layer().need(need), counting(&runs));
    let post = |path: &str| Request::post(path).body(Body::empty()).unwrap();
    send(&app, post("/payments")).await.is_problem(400, "idempotency-key-missing");
    send(&app, post("/search")).await.is(200, "payment 1");
}

#[tokio::test(start_paused = true)]
async fn what_is_not_one_key_is_refused() {
    let runs = Runs::default();
    let lenient = app(layer(), counting(&runs));
    for key in ["", "\"k1", "k1\"", "k1, k2", "a b", "\"\""] {
        send(&lenient, pay(key)).await.is_problem(400, "idempotency-key-invalid");
    }
    let mut twice = pay("k1");
    twice.headers_mut().append("idempotency-key", "k1".parse().unwrap());
    send(&lenient, twice).await.is_problem(400, "idempotency-key-invalid");

    let strict = app(layer().strict(), counting(&runs));
    send(&strict, pay("k1")).await.is_problem(400, "idempotency-key-invalid");
    assert_eq!(runs.count(), 0);
    send(&strict, pay("\"k1\"")).await.is(200, "payment 1");
}

#[tokio::test(start_paused = true)]
async fn a_key_of_another_request_is_a_mismatch() {
    let runs = Runs::default();
    let app = app(layer(), counting(&runs));
    send(&app, pay("k1")).await.is(200, "payment 1");
    send(&app, with_body("k1", "900 CHF")).await.is_problem(422, "idempotency-key-reused");
    let mut query = pay("k1");
    *query.uri_mut() = "/payments?dry-run=true".parse().unwrap();
    send(&app, query).await.is_problem(422, "idempotency-key-reused");
    let mut content_type = pay("k1");
    content_type.headers_mut().insert("content-type", "text/plain".parse().unwrap());
    send(&app, content_type).await.is_problem(422, "idempotency-key-reused");
    // Other headers change from try to try.
    let mut traced = pay("k1");
    traced.headers_mut().insert("traceparent", "00-1-2-01".parse().unwrap());
    send(&app, traced).await.replays(200, "payment 1");
    assert_eq!(runs.count(), 1);
}

#[tokio::test(start_paused = true)]
async fn what_a_request_means_can_be_said() {
    let runs = Runs::default();
    let meaning = |_: moneta_resilience::Head<'_>, body: &[u8]| body.to_ascii_lowercase();
    let app = app(layer().meaning(meaning), counting(&runs));
    send(&app, with_body("k1", "100 chf")).await.is(200, "payment 1");
    send(&app, with_body("k1", "100 CHF")).await.replays(200, "payment 1");
    send(&app, with_body("k1", "101 CHF")).await.is_problem(422, "idempotency-key-reused");
}

#[tokio::test(start_paused = true)]
async fn one_caller_never_gets_the_answer_of_another() {
    let runs = Runs::default();
    let app = app(layer(), counting(&runs));
    let of = |tokens: &[&str]| {
        let mut request = pay("k1");
        for token in tokens {
            request.headers_mut().append("authorization", token.parse().unwrap());
        }
        request
    };
    send(&app, of(&["Bearer a"])).await.is(200, "payment 1");
    send(&app, of(&["Bearer b"])).await.is(200, "payment 2");
    send(&app, of(&[])).await.is(200, "payment 3");
    send(&app, of(&["Bearer a", "Bearer b"])).await.is(200, "payment 4");
    send(&app, of(&["Bearer a"])).await.replays(200, "payment 1");
    send(&app, of(&["Bearer b"])).await.replays(200, "payment 2");
}

#[tokio::test(start_paused = true)]
async fn whose_key_it_is_and_what_for_can_be_said() {
    let runs = Runs::default();
    let tenant = |head: moneta_resilience::Head<'_>| head.headers.get("x-tenant").cloned().unwrap();
    let route = |_: moneta_resilience::Head<'_>| "/payments/{id}/capture";
    let app = app(layer().scope(tenant).operation(route), counting(&runs));
    let of = |tenant: &str, token: &str, payment: u32| {
        let mut request = pay("k1");
        *request.uri_mut() = format!("/payments/{payment}/capture").parse().unwrap();
        request.headers_mut().insert("x-tenant", tenant.parse().unwrap());
        request.headers_mut().insert("authorization", token.parse().unwrap());
        request
    };
    send(&app, of("a", "first", 7)).await.is(200, "payment 1");
    send(&app, of("a", "renewed", 7)).await.replays(200, "payment 1");
    send(&app, of("b", "first", 7)).await.is(200, "payment 2");
    // The same route: a key that is used for two payments is a mistake.
    send(&app, of("a", "first", 8)).await.is_problem(422, "idempotency-key-reused");
}

#[tokio::test(start_paused = true)]
async fn a_path_is_an_operation_of_its_own() {
    let runs = Runs::default();
    let app = app(layer(), counting(&runs));
    let of = |path: &str| {
        let mut request = pay("k1");
        *request.uri_mut() = path.parse().unwrap();
        request
    };
    send(&app, of("/reserve")).await.is(200, "payment 1");
    send(&app, of("/capture")).await.is(200, "payment 2");
    send(&app, of("/reserve")).await.replays(200, "payment 1");
}

/// A payment, refund or whatever stands under this path, with one key and one body.
fn to(path: &str) -> Request<Body> {
    let mut request = pay("k1");
    *request.uri_mut() = path.parse().unwrap();
    request
}

#[tokio::test(start_paused = true)]
async fn two_resources_of_a_route_never_answer_for_each_other() {
    let runs = Runs::default();
    let close = post_service(app(layer(), counting(&runs)));
    let app = Router::new().route("/accounts/{id}/close", close);
    send(&app, to("/accounts/1/close")).await.is(200, "payment 1");
    send(&app, to("/accounts/2/close")).await.is(200, "payment 2");
    send(&app, to("/accounts/1/close")).await.replays(200, "payment 1");
    send(&app, to("/accounts/2/close")).await.replays(200, "payment 2");
}

#[tokio::test(start_paused = true)]
async fn a_route_can_be_renamed_while_answers_are_kept() {
    let (runs, layer) = (Runs::default(), layer());
    for route in ["/accounts/{id}/close", "/accounts/{account}/close", "/{*rest}"] {
        let service = post_service(app(layer.clone(), counting(&runs)));
        let app = Router::new().route(route, service);
        assert_eq!(send(&app, to("/accounts/1/close")).await.body, "payment 1");
    }
    assert_eq!(runs.count(), 1);
}

#[cfg(feature = "axum")]
#[tokio::test(start_paused = true)]
async fn two_services_nested_in_a_router_never_answer_for_each_other() {
    let (runs, layer) = (Runs::default(), layer());
    let nested = || app(layer.clone(), counting(&runs));
    let app = Router::new().nest_service("/payments", nested()).nest_service("/refunds", nested());
    send(&app, to("/payments/create")).await.is(200, "payment 1");
    send(&app, to("/refunds/create")).await.is(200, "payment 2");
    send(&app, to("/payments/create")).await.replays(200, "payment 1");
    send(&app, to("/refunds/create")).await.replays(200, "payment 2");
}

#[tokio::test(start_paused = true)]
async fn a_body_that_is_too_long_leaves_no_record() {
    let runs = Runs::default();
    let app = app(layer().max_request(10), counting(&runs));
    send(&app, with_body("k1", "eleven byte")).await.is_problem(413, "idempotency-body-too-large");
    // Also one that does not say how long it is.
    let chunks =
        ["eleven", " byte"].map(|chunk| Ok::<_, std::io::Error>(http_body::Frame::data(chunk.into())));
    let body = Body::new(StreamBody::new(futures::stream::iter(chunks)));
    let mut streamed = pay("k1");
    *streamed.body_mut() = body;
    send(&app, streamed).await.is_problem(413, "idempotency-body-too-large");
    assert_eq!(runs.count(), 0);
    send(&app, with_body("k1", "ten  bytes")).await.is(200, "payment 1");
}

#[tokio::test(start_paused = true)]
async fn a_body_that_breaks_off_leaves_no_record() {
    let runs = Runs::default();
    let app = app(layer(), counting(&runs));
    let frames = [Ok(http_body::Frame::data("100".into())), Err(std::io::Error::other("reset"))];
    let mut broken = pay("k1");
    *broken.body_mut() = Body::new(StreamBody::new(futures::stream::iter(frames)));
    send(&app, broken).await.is_problem(400, "idempotency-body-unreadable");
    assert_eq!(runs.count(), 0);
    send(&app, pay("k1")).await.is(200, "payment 1");
}

#[tokio::test(start_paused = true)]
async fn the_handler_gets_the_request_whole() {
    let handler = |request: Request<Body>| async {
        let collected = request.into_body().collect().await.unwrap();
        let sum = collected.trailers().map(|trailers: &HeaderMap| trailers["sum"].clone()).unwrap();
        format!("{} {sum:?}", String::from_utf8(collected.to_bytes().into()).unwrap())
    };
    let app = app(layer(), handler);
    let mut trailers = HeaderMap::new();
    trailers.insert("sum", "7".parse().unwrap());
    let frames = [
        Ok::<_, std::io::Error>(http_body::Frame::data("100 ".into())),
        Ok(http_body::Frame::data("CHF".into())),
        Ok(http_body::Frame::trailers(trailers)),
    ];
    let mut request = pay("k1");
    *request.body_mut() = Body::new(StreamBody::new(futures::stream::iter(frames)));
    send(&app, request).await.is(200, "100 CHF \"7\"");
}
