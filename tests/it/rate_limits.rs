//! Rate limits in golden stacks, in memory and on a paused clock.

use std::{convert::Infallible, time::Duration};

use http::{Request, Response, StatusCode};
use moneta_resilience::{
    Quota, Ratio, Reason, Registry, Repeatable,
    circuit_breaker::CircuitBreakerLayer,
    event::{BreakerResult, RateLimitResult},
    golden,
    rate_limit::RateLimitLayer,
};
use tokio::time::{Instant, advance, sleep};
use tower::{Layer, ServiceExt, service_fn};

const LIMIT: Duration = Duration::from_secs(2);

async fn answer(_: Request<&'static str>) -> Result<Response<String>, Infallible> {
    Ok(Response::new(String::new()))
}

fn of_caller(key: &'static str) -> Request<&'static str> {
    Request::builder().header("x-api-key", key).body("").unwrap()
}

#[tokio::test(start_paused = true)]
async fn a_server_answers_a_greedy_caller_with_429_and_the_others_as_ever() {
    let registry = Registry::new();
    let limit = RateLimitLayer::new(Quota::per(60, Duration::from_secs(60)).burst(2));
    let layer = golden::server("payments")
        .timeout(LIMIT)
        .rate_limit(limit.key_by_head(|head| head.headers.get("x-api-key").cloned()))
        .registry(&registry)
        .layer();
    let handle = layer.handle().clone();
    let service = layer.layer(service_fn(answer));

    let mut statuses = Vec::new();
    for _ in 0..5 {
        let response = service.clone().oneshot(of_caller("greedy")).await.unwrap();
        statuses.push(response.status().as_u16());
        if response.status() == StatusCode::TOO_MANY_REQUESTS {
            assert_eq!(response.headers()["retry-after"], "1");
            assert_eq!(response.headers()["ratelimit"], "\"default\";r=0;t=1");
            assert_eq!(response.headers()["ratelimit-policy"], "\"default\";q=60;w=60");
        }
        let modest = of_caller(["a", "b", "c", "d", "e"][statuses.len() - 1]);
        assert_eq!(service.clone().oneshot(modest).await.unwrap().status(), StatusCode::OK);
    }
    assert_eq!(statuses, [200, 200, 429, 429, 429]);
    assert_eq!(handle.counts().rate_limiter(RateLimitResult::Rejected), 3);
    assert_eq!(handle.counts().bulkhead_refused(), 0);

    advance(Duration::from_secs(1)).await;
    assert_eq!(service.clone().oneshot(of_caller("greedy")).await.unwrap().status(), StatusCode::OK);
    handle.rate_limit().unwrap().set_quota(Quota::per_second(5));
    for _ in 0..5 {
        assert_eq!(service.clone().oneshot(of_caller("greedy")).await.unwrap().status(), StatusCode::OK);
    }
}

#[tokio::test(start_paused = true)]
async fn a_clients_attempts_keep_to_what_the_dependency_grants() {
    let registry = Registry::new();
    let client = golden::client("quotes")
        .timeout(LIMIT)
        .no_fallback()
        .rate_limit(RateLimitLayer::new(Quota::per_second(10).burst(1)).max_wait(LIMIT))
        .registry(&registry)
        .service(service_fn(async |_: Repeatable<()>| Ok::<_, std::io::Error>(Instant::now())));
    let began = Instant::now();
    let calls = futures::future::join_all((0..5).map(|_| client.send(Repeatable(())))).await;
    let after: Vec<_> = calls.into_iter().map(|at| (at.unwrap() - began).as_millis()).collect();
    assert_eq!(after, [0, 100, 200, 300, 400]);
}

#[tokio::test(start_paused = true)]
async fn a_wait_for_the_quota_does_not_make_the_dependency_slow() {
    let registry = Registry::new();
    let slow = Duration::from_millis(60);
    let client = golden::client("quotes")
        .timeout(LIMIT)
        .no_fallback()
        .circuit_breaker(CircuitBreakerLayer::new().slow_calls(slow, Ratio::ONE))
        .rate_limit(RateLimitLayer::new(Quota::per_second(10).burst(1)).max_wait(LIMIT))
        .registry(&registry)
        .service(service_fn(async |takes: Repeatable<Duration>| {
            sleep(takes.into_inner()).await;
            Ok::<_, std::io::Error>(())
        }));
    let calls = (0..3).map(|_| client.send(Repeatable(slow / 2)));
    assert!(futures::future::join_all(calls).await.iter().all(Result::is_ok));
    let counts = client.handle().counts();
    assert_eq!(counts.rate_limiter(RateLimitResult::Waited), 2);
    assert_eq!(counts.breaker(BreakerResult::Slow), 0);
    client.send(Repeatable(slow)).await.unwrap();
    assert_eq!(counts.breaker(BreakerResult::Slow), 1);
}

#[tokio::test(start_paused = true)]
async fn a_refusal_on_this_side_feeds_no_breaker_and_is_not_retried() {
    let registry = Registry::new();
    let client = golden::client("quotes")
        .timeout(LIMIT)
        .no_fallback()
        .rate_limit(RateLimitLayer::new(Quota::per(1, Duration::from_secs(3600))))
        .registry(&registry)
        .service(service_fn(async |_: Repeatable<()>| Ok::<_, std::io::Error>(())));
    client.send(Repeatable(())).await.unwrap();
    for _ in 0..50 {
        let error = client.send(Repeatable(())).await.unwrap_err();
        assert_eq!(error.rejected().unwrap().reason(), Reason::RateLimited);
    }
    let counts = client.handle().counts();
    assert_eq!(counts.rate_limiter(RateLimitResult::Rejected), 50);
    assert_eq!(counts.breaker(BreakerResult::Failure), 0);
    assert_eq!((counts.first_attempts(), counts.retry_attempts()), (1, 0));
}
