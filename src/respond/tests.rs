use std::{convert::Infallible, time::Duration};

use http::{Request, Response, StatusCode};

use http_body_util::{BodyExt, Full};
use tower::{BoxError, Service, ServiceExt, layer::Layer, service_fn};

use super::{RespondBody, RespondLayer};
use crate::{Class, InjectedFault, Name, Reason, Rejected};

async fn answer_to(error: impl Into<BoxError>) -> Response<RespondBody<Full<bytes::Bytes>>> {
    let mut error = Some(error.into());
    let failing = service_fn(move |_: Request<()>| {
        let error = error.take().expect("called once");
        async move { Err::<Response<Full<bytes::Bytes>>, _>(error) }
    });
    let Ok(answer) = RespondLayer::new().layer(failing).oneshot(Request::new(())).await;
    answer
}

fn rejected(reason: Reason) -> Rejected {
    Rejected::new(&Name::literal("ledger"), reason)
}

#[tokio::test]
async fn each_reason_has_its_status_and_a_wait_where_one_helps() {
    for (reason, status, wait) in [
        (Reason::Timeout, StatusCode::GATEWAY_TIMEOUT, None),
        (Reason::DeadlineExceeded, StatusCode::GATEWAY_TIMEOUT, None),
        (Reason::CircuitOpen, StatusCode::SERVICE_UNAVAILABLE, Some("1")),
        (Reason::BulkheadFull, StatusCode::SERVICE_UNAVAILABLE, Some("1")),
        (Reason::BulkheadWait, StatusCode::SERVICE_UNAVAILABLE, Some("1")),
        (Reason::RateLimited, StatusCode::TOO_MANY_REQUESTS, Some("1")),
        (Reason::Throttled, StatusCode::SERVICE_UNAVAILABLE, Some("1")),
        (Reason::Shed, StatusCode::SERVICE_UNAVAILABLE, Some("1")),
    ] {
        let answer = answer_to(rejected(reason)).await;
        assert_eq!(answer.status(), status, "{reason:?}");
        let header = answer.headers().get("retry-after").map(|value| value.to_str().expect("digits"));
        assert_eq!(header, wait, "{reason:?}");
        assert_eq!(answer.extensions().get::<Rejected>().map(Rejected::reason), Some(reason));
    }
}

#[tokio::test]
async fn a_refusal_of_a_key_is_the_same_problem_wherever_it_comes_from() {
    use crate::KeyRefusal;

    for (refusal, status, word) in [
        (KeyRefusal::Missing, 400, "idempotency-key-missing"),
        (KeyRefusal::Invalid, 400, "idempotency-key-invalid"),
        (KeyRefusal::TooLarge, 413, "idempotency-body-too-large"),
        (KeyRefusal::Unreadable, 400, "idempotency-body-unreadable"),
        (KeyRefusal::Streamed, 400, "idempotency-body-streamed"),
        (KeyRefusal::InProgress, 409, "idempotency-in-progress"),
        (KeyRefusal::Mismatch, 422, "idempotency-key-reused"),
        (KeyRefusal::InDoubt, 409, "outcome-unknown"),
        (KeyRefusal::NotReplayable, 409, "not-replayable"),
        (KeyRefusal::Unavailable, 503, "idempotency-unavailable"),
    ] {
        let answer = answer_to(rejected(Reason::IdempotencyKey(refusal))).await;
        assert_eq!(answer.status().as_u16(), status, "{refusal:?}");
        let body = answer.into_body().collect().await.expect("it is there").to_bytes();
        let text = String::from_utf8_lossy(&body);
        assert!(text.contains(&format!("urn:moneta-resilience:{word}\"")), "{text}");
    }
}

#[cfg(feature = "rate-limit")]
#[tokio::test]
async fn a_rate_limit_says_which_quota_is_used_up_and_until_when() {
    use crate::Quota;

    for (quota, wait, policy, left, retry_after) in [
        (Quota::per_second(100).burst(20), 10, "q=100;w=1", "r=0;t=1", "1"),
        (Quota::per(600, Duration::from_secs(60)), 1_001, "q=600;w=60", "r=0;t=2", "2"),
        (Quota::per(5, Duration::from_millis(100)), 20, "q=50;w=1", "r=0;t=1", "1"),
        (Quota::per(3, Duration::from_millis(1_500)), 500, "q=4;w=2", "r=0;t=1", "1"),
    ] {
        let error = rejected(Reason::RateLimited).over_quota(quota, Duration::from_millis(wait));
        let answer = answer_to(error).await;
        assert_eq!(answer.status(), StatusCode::TOO_MANY_REQUESTS, "{quota}");
        assert_eq!(answer.headers()["ratelimit-policy"], format!("\"default\";{policy}"), "{quota}");
        assert_eq!(answer.headers()["ratelimit"], format!("\"default\";{left}"), "{quota}");
        assert_eq!(answer.headers()["retry-after"], retry_after, "{quota}");
    }
}

#[tokio::test]
async fn a_wait_is_rounded_up_to_whole_seconds() {
    let error = rejected(Reason::CircuitOpen).retry_after_some(Duration::from_millis(2_001));
    assert_eq!(answer_to(error).await.headers()["retry-after"], "3");
}

#[tokio::test]
async fn the_answer_is_problem_json_without_any_text_of_the_error() {
    let answer = answer_to("card 4111 1111 1111 1111 was declined").await;
    assert_eq!(answer.status(), StatusCode::INTERNAL_SERVER_ERROR);
    assert_eq!(answer.headers()["content-type"], "application/problem+json");
    let body = answer.into_body().collect().await.expect("it is all there").to_bytes();
    assert_eq!(
        body,
        r#"{"type":"urn:moneta-resilience:internal_error","title":"the service failed","status":500,"reason":"internal_error"}"#
    );
}

#[tokio::test]
async fn an_injected_fault_answers_as_what_it_stands_for() {
    for (class, status) in
        [(Class::CallerFault, 400), (Class::THROTTLED, 429), (Class::Fault, 500), (Class::TRANSIENT, 503)]
    {
        assert_eq!(answer_to(InjectedFault::new(class)).await.status(), status, "{class:?}");
    }
}

#[tokio::test]
async fn a_panic_is_answered_with_500() {
    let panicking = service_fn(|_: Request<()>| async {
        assert!(std::hint::black_box(false), "on purpose");
        Ok::<_, Infallible>(Response::new(Full::<bytes::Bytes>::default()))
    });
    let Ok(answer) = RespondLayer::new().layer(panicking).oneshot(Request::new(())).await;
    assert_eq!(answer.status(), StatusCode::INTERNAL_SERVER_ERROR);
}

#[tokio::test]
async fn a_service_that_cannot_get_ready_is_answered_for() {
    #[derive(Clone)]
    struct Broken;
    impl Service<Request<()>> for Broken {
        type Response = Response<Full<bytes::Bytes>>;
        type Error = BoxError;
        type Future = std::future::Ready<Result<Self::Response, BoxError>>;

        fn poll_ready(&mut self, _: &mut std::task::Context<'_>) -> std::task::Poll<Result<(), BoxError>> {
            std::task::Poll::Ready(Err("broken".into()))
        }

        fn call(&mut self, _: Request<()>) -> Self::Future {
            unreachable!("it never said that it was ready")
        }
    }
    let Ok(answer) = RespondLayer::new().layer(Broken).oneshot(Request::new(())).await;
    assert_eq!(answer.status(), StatusCode::INTERNAL_SERVER_ERROR);
}

#[tokio::test]
async fn a_wait_beyond_all_numbers_is_an_answer_like_any_other() {
    let retry_after = Some(Duration::MAX);
    let answer = answer_to(InjectedFault::new(Class::Throttled { retry_after })).await;
    assert_eq!(answer.headers()["retry-after"], u64::MAX.to_string());
}

#[tokio::test]
async fn a_panic_of_the_call_itself_is_answered_with_500() {
    let panicking = service_fn(|_: Request<()>| {
        assert!(std::hint::black_box(false), "on purpose");
        std::future::ready(Ok::<_, Infallible>(Response::new(Full::<bytes::Bytes>::default())))
    });
    let Ok(answer) = RespondLayer::new().layer(panicking).oneshot(Request::new(())).await;
    assert_eq!(answer.status(), StatusCode::INTERNAL_SERVER_ERROR);
}

#[tokio::test]
async fn a_handler_that_panics_while_it_is_dropped_changes_no_answer() {
    struct Bomb;
    impl Drop for Bomb {
        fn drop(&mut self) {
            assert!(std::hint::black_box(false), "on purpose");
        }
    }
    let panicking = service_fn(|_: Request<()>| {
        let bomb = Bomb;
        std::future::poll_fn(move |_| {
            let _held = &bomb;
            std::task::Poll::Ready(Ok::<_, Infallible>(Response::new(Full::<bytes::Bytes>::default())))
        })
    });
    let Ok(answer) = RespondLayer::new().layer(panicking).oneshot(Request::new(())).await;
    assert_eq!(answer.status(), StatusCode::OK);
}
