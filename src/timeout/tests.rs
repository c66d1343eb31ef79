use std::{future::pending, sync::Arc, task::Poll, time::Duration};

use tokio::time::{Instant, advance, sleep, timeout};
use tokio_test::task::spawn;
use tower::{BoxError, Layer, Service, ServiceBuilder, ServiceExt, limit::ConcurrencyLimit, service_fn};

use super::TimeoutLayer;
use crate::{Deadline, Reason, Rejected};

const LIMIT: Duration = Duration::from_millis(100);

fn reason(error: &BoxError) -> Option<Reason> {
    Rejected::find(&**error).map(Rejected::reason)
}

#[tokio::test(start_paused = true)]
async fn work_that_hangs_is_cut_at_the_limit() {
    let start = Instant::now();
    let hang = service_fn(|()| pending::<Result<(), BoxError>>());
    let error = ServiceBuilder::new().layer(TimeoutLayer::new(LIMIT)).service(hang).oneshot(()).await;
    assert_eq!(reason(&error.expect_err("it hangs")), Some(Reason::Timeout));
    assert_eq!(start.elapsed(), LIMIT);
}

#[tokio::test(start_paused = true)]
async fn an_answer_at_the_limit_wins_over_the_timer() {
    let late = service_fn(|()| async {
        sleep(LIMIT).await;
        Ok::<_, BoxError>(7)
    });
    let answer = ServiceBuilder::new().layer(TimeoutLayer::new(LIMIT)).service(late).oneshot(()).await;
    assert_eq!(answer.expect("in time"), 7);
}

#[tokio::test(start_paused = true)]
async fn an_outer_deadline_shortens_the_limit_and_the_work_sees_it() {
    let seen = service_fn(|()| async {
        let left = Deadline::current().expect("the layer puts it there").remaining();
        pending::<()>().await;
        Ok::<_, BoxError>(left)
    });
    let start = Instant::now();
    let service = ServiceBuilder::new().layer(TimeoutLayer::new(LIMIT)).service(seen);
    let error = Deadline::after(LIMIT / 2).scope(service.oneshot(())).await.expect_err("it hangs");
    assert_eq!(reason(&error), Some(Reason::Timeout));
    assert_eq!(start.elapsed(), LIMIT / 2);
}

#[tokio::test(start_paused = true)]
async fn the_work_sees_the_limit_as_its_deadline() {
    let seen = service_fn(|()| async { Ok::<_, BoxError>(Deadline::current().map(Deadline::remaining)) });
    let mut service = ServiceBuilder::new().layer(TimeoutLayer::new(LIMIT)).service(seen);
    let left = service.ready().await.expect("ready").call(()).await.expect("it answers");
    assert_eq!(left, Some(LIMIT));
}

#[tokio::test(start_paused = true)]
async fn the_whole_calls_limit_is_told_apart() {
    let hang = service_fn(|()| pending::<Result<(), BoxError>>());
    let layer = TimeoutLayer::new(LIMIT).whole_call();
    let error = ServiceBuilder::new().layer(layer).service(hang).oneshot(()).await;
    assert_eq!(reason(&error.expect_err("it hangs")), Some(Reason::DeadlineExceeded));
}

#[tokio::test(start_paused = true)]
async fn a_call_that_arrives_expired_is_refused_before_the_work_begins() {
    let untouched =
        service_fn(|()| async { unreachable!("the work must not begin") as Result<(), BoxError> });
    let service = ServiceBuilder::new().layer(TimeoutLayer::new(LIMIT)).service(untouched);
    let error = Deadline::at(Instant::now()).scope(service.oneshot(())).await.expect_err("expired");
    assert_eq!(reason(&error), Some(Reason::DeadlineExceeded));
}

#[tokio::test(start_paused = true)]
async fn each_request_has_the_limit_that_the_function_says() {
    let layer = TimeoutLayer::per_request(|tenths: &u32| LIMIT * *tenths / 10).whole_call();
    let hang = service_fn(|_: u32| pending::<Result<(), BoxError>>());
    let service = ServiceBuilder::new().layer(&layer).service(hang);
    for tenths in [1, 10, 30] {
        let start = Instant::now();
        let error = service.clone().oneshot(tenths).await.expect_err("it hangs");
        assert_eq!((reason(&error), start.elapsed()), (Some(Reason::DeadlineExceeded), LIMIT * tenths / 10));
    }
    let untouched =
        service_fn(|_: u32| async { unreachable!("there is no time for it") as Result<(), BoxError> });
    let error = layer.layer(untouched).oneshot(0).await.expect_err("a limit of zero");
    assert_eq!(reason(&error), Some(Reason::DeadlineExceeded));
}

#[test]
#[should_panic(expected = "a timeout of zero would cut every call")]
fn a_limit_of_zero_is_refused() {
    let _ = TimeoutLayer::new(Duration::ZERO);
}

#[tokio::test(start_paused = true)]
async fn time_that_a_future_lies_around_is_not_the_calls() {
    let answers = service_fn(|()| async {
        sleep(LIMIT / 2).await;
        Ok::<_, BoxError>(7)
    });
    let mut service = ServiceBuilder::new().layer(TimeoutLayer::new(LIMIT)).service(answers);
    let call = service.ready().await.expect("ready").call(());
    sleep(2 * LIMIT).await;
    assert_eq!(call.await.expect("it answers within the limit"), 7);
}

#[tokio::test(start_paused = true)]
async fn a_call_whose_deadline_passes_before_it_begins_is_refused_unsent() {
    let untouched =
        service_fn(|()| async { unreachable!("the work must not begin") as Result<(), BoxError> });
    let mut service = ServiceBuilder::new().layer(TimeoutLayer::new(LIMIT)).service(untouched);
    let service = service.ready().await.expect("ready");
    let call = Deadline::after(LIMIT / 2).enter(|| service.call(()));
    sleep(LIMIT).await;
    assert_eq!(reason(&call.await.expect_err("expired")), Some(Reason::DeadlineExceeded));
}

#[tokio::test(start_paused = true)]
async fn a_caller_that_left_less_than_half_of_the_limit_blames_itself() {
    let hang = service_fn(|()| pending::<Result<(), BoxError>>());
    let service = ServiceBuilder::new().layer(TimeoutLayer::new(LIMIT)).service(hang);
    let error = Deadline::after(LIMIT * 49 / 100).scope(service.oneshot(())).await.expect_err("it hangs");
    assert_eq!(reason(&error), Some(Reason::DeadlineExceeded));
}

#[tokio::test(start_paused = true)]
async fn a_service_that_never_gets_ready_is_cut_at_the_limit() {
    let untouched = service_fn(|()| async { unreachable!("it is not ready") as Result<(), BoxError> });
    let never_ready = ConcurrencyLimit::new(untouched, 0);
    let start = Instant::now();
    let call = ServiceBuilder::new().layer(TimeoutLayer::new(LIMIT)).service(never_ready).oneshot(());
    let error = timeout(100 * LIMIT, call).await.expect("it is cut").expect_err("it never gets ready");
    assert_eq!((reason(&error), start.elapsed()), (Some(Reason::Timeout), LIMIT));
}

#[tokio::test(start_paused = true)]
async fn work_that_is_cut_is_dropped_with_the_answer_and_not_with_the_calls_future() {
    let held = Arc::new(());
    let work = Arc::clone(&held);
    let hang = service_fn(move |()| {
        let work = Arc::clone(&work);
        async move {
            pending::<()>().await;
            drop(work);
            Ok::<_, BoxError>(())
        }
    });
    let mut service = ServiceBuilder::new().layer(TimeoutLayer::new(LIMIT)).service(hang);
    let mut call = spawn(service.call(()));
    let idle = Arc::strong_count(&held);
    assert!(call.poll().is_pending());
    assert_eq!(Arc::strong_count(&held), idle + 1);
    advance(LIMIT).await;
    assert!(matches!(call.poll(), Poll::Ready(Err(_))));
    assert_eq!(Arc::strong_count(&held), idle);
}

#[tokio::test(start_paused = true)]
async fn a_wait_for_the_service_ends_with_the_answer_and_not_with_the_calls_future() {
    let limited = ConcurrencyLimit::new(service_fn(|()| pending::<Result<(), BoxError>>()), 1);
    let held = limited.clone().ready_oneshot().await.expect("it is free");
    let mut service = ServiceBuilder::new().layer(TimeoutLayer::new(LIMIT)).service(limited.clone());
    let mut call = spawn(service.call(()));
    assert!(call.poll().is_pending());
    advance(LIMIT).await;
    assert!(matches!(call.poll(), Poll::Ready(Err(_))));
    drop(held);
    assert!(spawn(limited.ready_oneshot()).poll().is_ready(), "nobody is in its way");
}

#[tokio::test(start_paused = true)]
async fn a_deadline_round_a_call_shortens_it_though_the_call_was_made_outside() {
    let hang = service_fn(|()| pending::<Result<(), BoxError>>());
    let mut service = ServiceBuilder::new().layer(TimeoutLayer::new(LIMIT)).service(hang);
    for (made_in, polled_in) in [(LIMIT / 2, 2 * LIMIT), (2 * LIMIT, LIMIT / 2)] {
        let start = Instant::now();
        let call = Deadline::after(made_in).enter(|| service.call(()));
        Deadline::after(polled_in).scope(call).await.expect_err("it hangs");
        assert_eq!(start.elapsed(), LIMIT / 2);
    }
}
