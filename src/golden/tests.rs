use std::{
    future::pending,
    io,
    panic::{AssertUnwindSafe, catch_unwind},
    sync::{
        Arc,
        atomic::{AtomicU32, Ordering},
    },
    time::Duration,
};

use futures::FutureExt;
use tokio::{
    task::JoinSet,
    time::{Instant, sleep},
};
use tower::{BoxError, ServiceExt, service_fn};

use super::{Handle, client};
use crate::{
    Class, Deadline, Ratio, Reason, Registry, Rejected, Repeatable,
    circuit_breaker::CircuitBreakerLayer,
    classify,
    event::{BreakerResult, CircuitState, Outcome},
    fault::Fault,
};

const LIMIT: Duration = Duration::from_millis(500);

fn refused() -> BoxError {
    io::Error::from(io::ErrorKind::ConnectionRefused).into()
}

#[tokio::test(start_paused = true)]
async fn a_call_that_fails_in_passing_recovers() {
    let tries = Arc::new(AtomicU32::new(0));
    let flaky = {
        let tries = Arc::clone(&tries);
        service_fn(move |Repeatable(n): Repeatable<u32>| {
            let attempt = tries.fetch_add(1, Ordering::Relaxed);
            async move { if attempt < 2 { Err(refused()) } else { Ok(n) } }
        })
    };
    let registry = Registry::new();
    let stack = client("flaky").timeout(LIMIT).no_fallback().registry(&registry).service(flaky);
    assert_eq!(stack.send(Repeatable(7)).await.expect("the third attempt"), 7);
    assert_eq!(stack.handle().counts().calls(Outcome::Success), 1);
    assert_eq!(stack.handle().counts().first_attempts(), 1);
    assert_eq!(stack.handle().counts().retry_attempts(), 2);
}

#[tokio::test(start_paused = true)]
async fn a_dependency_that_only_hangs_opens_the_breaker_and_never_holds_a_caller() {
    let registry = Registry::new();
    let stack = client("hang").timeout(LIMIT).no_fallback().registry(&registry).calls();
    let mut reasons = Vec::new();
    for _ in 0..6 {
        let start = Instant::now();
        let error = stack.run(pending::<Result<(), BoxError>>).await.expect_err("it hangs");
        assert!(start.elapsed() <= LIMIT);
        reasons.push(error.rejected().expect("ours").reason());
    }
    assert_eq!(reasons[..5], [Reason::Timeout; 5]);
    assert_eq!(reasons[5], Reason::CircuitOpen);
}

#[tokio::test(start_paused = true)]
async fn a_transport_that_never_gets_ready_cannot_hang_a_caller() {
    #[derive(Clone)]
    struct Unready;
    impl tower::Service<Repeatable<()>> for Unready {
        type Response = ();
        type Error = BoxError;
        type Future = std::future::Ready<Result<(), BoxError>>;

        fn poll_ready(&mut self, _: &mut std::task::Context<'_>) -> std::task::Poll<Result<(), BoxError>> {
            std::task::Poll::Pending
        }

        fn call(&mut self, _: Repeatable<()>) -> Self::Future {
            unreachable!("it never said that it was ready")
        }
    }
    let stack = client("unready").timeout(LIMIT).no_fallback().registry(&Registry::new()).service(Unready);
    let start = Instant::now();
    let error = stack.oneshot(Repeatable(())).await.expect_err("never ready");
    assert_eq!(start.elapsed(), LIMIT);
    assert_eq!(crate::Rejected::find(&*error).map(crate::Rejected::reason), Some(Reason::Timeout));
}

#[tokio::test(start_paused = true)]
async fn attempts_share_the_time_of_the_whole_call() {
    let registry = Registry::new();
    let slow_failure = || async {
        sleep(LIMIT / 2).await;
        Err::<(), _>(refused())
    };
    let stack = client("slow").timeout(LIMIT).no_fallback().registry(&registry).calls();
    let start = Instant::now();
    stack.run_repeatable(slow_failure).await.expect_err("it fails");
    assert!(start.elapsed() <= LIMIT, "{:?}", start.elapsed());
    assert!(stack.handle().counts().retry_attempts() <= 1);
}

#[tokio::test(start_paused = true)]
async fn an_attempts_own_limit_leaves_time_for_another() {
    let registry = Registry::new();
    let tries = AtomicU32::new(0);
    let stack =
        client("cut").timeout(LIMIT).attempt_timeout(LIMIT / 5).no_fallback().registry(&registry).calls();
    let hangs_once = || async {
        if tries.fetch_add(1, Ordering::Relaxed) == 0 {
            pending::<()>().await;
        }
        Ok::<_, BoxError>("second")
    };
    assert_eq!(stack.run_repeatable(hangs_once).await.expect("the second attempt"), "second");
}

#[tokio::test(start_paused = true)]
async fn the_deadline_of_the_work_in_hand_shortens_the_call() {
    let stack = client("inner").timeout(LIMIT).no_fallback().registry(&Registry::new()).calls();
    let start = Instant::now();
    let call = stack.run(pending::<Result<(), BoxError>>);
    Deadline::after(LIMIT / 10).scope(call).await.expect_err("it hangs");
    assert_eq!(start.elapsed(), LIMIT / 10);
}

#[tokio::test(start_paused = true)]
async fn a_call_without_time_left_is_not_made() {
    let stack = client("late").timeout(LIMIT).no_fallback().registry(&Registry::new()).calls();
    let call = stack.run(|| async { unreachable!("no time left") as Result<(), BoxError> });
    let error = Deadline::at(Instant::now()).scope(call).await.expect_err("expired");
    assert_eq!(error.rejected().map(crate::Rejected::reason), Some(Reason::DeadlineExceeded));
    assert_eq!(stack.handle().counts().first_attempts(), 0);
}

#[tokio::test(start_paused = true)]
async fn a_fallback_of_the_call_answers_and_is_counted_as_degraded() {
    let registry = Registry::new();
    let stack = client("row").timeout(LIMIT).no_fallback().registry(&registry).calls();
    let row = stack.run_or(|| async { Err::<i64, _>(refused()) }, |_why| Ok(41)).await.expect("answered");
    assert_eq!(row, 41);
    assert_eq!(stack.handle().counts().calls(Outcome::Degraded), 1);
    let missing = stack.run_or(|| async { Err::<i64, BoxError>("no such row".into()) }, |_why| Ok(41)).await;
    assert_eq!(missing.expect_err("the caller's fault").to_string(), "no such row");
}

#[tokio::test(start_paused = true)]
async fn a_classifier_of_errors_decides_what_is_repeated() {
    let registry = Registry::new();
    let stack = client("judge")
        .timeout(LIMIT)
        .no_fallback()
        .registry(&registry)
        .classify(classify::errors(|error| (error.to_string() == "deadlock").then_some(Class::TRANSIENT)))
        .calls();
    stack.run_repeatable(|| async { Err::<(), BoxError>("deadlock".into()) }).await.expect_err("stays");
    assert_eq!(stack.handle().counts().retry_attempts(), 2);
    stack.run_repeatable(|| async { Err::<(), BoxError>("syntax".into()) }).await.expect_err("stays");
    assert_eq!(stack.handle().counts().retry_attempts(), 2);
}

#[tokio::test(start_paused = true)]
async fn what_is_turned_off_is_off() {
    let registry = Registry::new();
    let stack = client("bare")
        .timeout(LIMIT)
        .no_fallback()
        .without_retry()
        .without_circuit_breaker()
        .without_bulkhead()
        .registry(&registry)
        .calls();
    for _ in 0..50 {
        let error = stack.run_repeatable(|| async { Err::<(), _>(refused()) }).await.expect_err("fails");
        assert!(error.rejected().is_none());
    }
    assert_eq!(stack.handle().counts().retry_attempts(), 0);
    assert!(stack.handle().circuit_breaker().is_none() && stack.handle().bulkhead().is_none());
}

#[tokio::test(start_paused = true)]
async fn a_handle_moves_the_running_stack_and_is_found_by_name() {
    let registry = Registry::new();
    let stack = client("ledger").timeout(LIMIT).no_fallback().registry(&registry).calls();
    let ok = || async { Ok::<_, BoxError>(1) };
    let handle = Handle::find(&registry, "ledger").pop().expect("it is alive");

    handle.circuit_breaker().expect("on by default").force_open();
    assert_eq!(
        stack.run(ok).await.expect_err("open").rejected().map(crate::Rejected::reason),
        Some(Reason::CircuitOpen)
    );
    handle.circuit_breaker().expect("on by default").reset();
    assert_eq!(handle.state().circuit, Some(CircuitState::Closed));

    handle.faults().arm(Fault::error(Class::Fault));
    assert!(handle.state().fault_armed);
    stack.run(ok).await.expect_err("injected");
    handle.faults().disarm();
    stack.run(ok).await.expect("disarmed");

    drop((stack, handle));
    assert!(Handle::find(&registry, "ledger").is_empty());
}

#[tokio::test(start_paused = true)]
async fn a_boxed_client_is_the_same_client() {
    let registry = Registry::new();
    let echo = service_fn(|Repeatable(n): Repeatable<u32>| async move { Ok::<_, BoxError>(n) });
    let boxed = client("boxed").timeout(LIMIT).no_fallback().registry(&registry).service(echo).boxed();
    assert_eq!(boxed.clone().send(Repeatable(3)).await.expect("it answers"), 3);
    assert_eq!(boxed.handle().counts().calls(Outcome::Success), 1);
}

#[test]
fn a_client_fits_into_shared_state() {
    fn shared<T: Clone + Send + Sync + 'static>(_: &T) {}
    fn sent<T: Send>(_: T) {}
    shared(&client("calls").timeout(LIMIT).no_fallback().calls());
    let echo = service_fn(|n: Repeatable<u32>| async move { Ok::<_, BoxError>(n) });
    let stack = client("service").timeout(LIMIT).fallback(|_why| Ok(Repeatable(0))).service(echo);
    shared(&stack);
    sent(stack.send(Repeatable(1)));
}

#[test]
#[should_panic(expected = "a timeout of zero would cut every call")]
fn a_timeout_of_zero_is_refused() {
    let _ = client("zero").timeout(Duration::ZERO);
}

#[test]
#[should_panic(expected = "a pipeline needs a name")]
fn an_empty_name_is_refused() {
    let _ = client("");
}

#[tokio::test(start_paused = true)]
async fn a_wait_in_our_own_queue_does_not_make_the_dependency_slow() {
    let stack = client("queue")
        .timeout(LIMIT)
        .no_fallback()
        .circuit_breaker(CircuitBreakerLayer::new().slow_calls(Duration::from_millis(60), Ratio::ONE))
        .bulkhead(1)
        .registry(&Registry::new())
        .calls();
    let takes = |time| {
        stack.run(move || async move {
            sleep(Duration::from_millis(time)).await;
            Ok::<_, BoxError>(())
        })
    };
    let (first, second) = tokio::join!(takes(50), takes(50));
    assert!(first.is_ok() && second.is_ok());
    assert_eq!(stack.handle().counts().bulkhead_waited(), 1);
    assert_eq!(stack.handle().counts().breaker(BreakerResult::Slow), 0);
    takes(60).await.expect("slow, and well");
    assert_eq!(stack.handle().counts().breaker(BreakerResult::Slow), 1);
}

#[tokio::test(start_paused = true)]
async fn callers_in_a_hurry_do_not_open_the_breaker_for_the_others() {
    let stack = client("hurry").timeout(LIMIT).no_fallback().registry(&Registry::new()).calls();
    let well = || {
        stack.run(|| async {
            sleep(LIMIT / 5).await;
            Ok::<_, BoxError>(())
        })
    };
    well().await.expect("it answers whoever waits");
    for _ in 0..30 {
        let error = Deadline::after(LIMIT / 10).scope(well()).await.expect_err("too soon");
        assert_eq!(error.rejected().map(Rejected::reason), Some(Reason::DeadlineExceeded));
    }
    well().await.expect("it answers whoever waits");
    let counts = stack.handle().counts();
    assert_eq!((counts.breaker(BreakerResult::Failure), counts.breaker(BreakerResult::Cancelled)), (0, 30));
}

#[tokio::test(start_paused = true)]
async fn an_attempt_that_may_take_longer_than_its_call_makes_nobody_hurry() {
    let stack = client("long").timeout(LIMIT).attempt_timeout(20 * LIMIT).no_fallback();
    let stack = stack.registry(&Registry::new()).calls();
    let call = stack.run(pending::<Result<(), BoxError>>);
    let error = Deadline::after(4 * LIMIT).scope(call).await.expect_err("it hangs");
    assert_eq!(error.rejected().map(Rejected::reason), Some(Reason::Timeout));
    assert_eq!(stack.handle().counts().breaker(BreakerResult::Failure), 1);
}

#[tokio::test(start_paused = true)]
async fn a_dependency_that_takes_long_whenever_it_is_well_comes_back() {
    let second = Duration::from_secs(1);
    let stack = client("reports").timeout(30 * second).no_fallback().registry(&Registry::new()).calls();
    for _ in 0..5 {
        stack.run(|| async { Err::<(), _>(refused()) }).await.expect_err("it is down");
    }
    let mut calls = JoinSet::new();
    for _ in 0..20 {
        let stack = stack.clone();
        let report = async move || sleep(8 * second).map(Ok::<_, BoxError>).await;
        calls.spawn(async move { stack.run(report).await });
        sleep(second).await;
    }
    assert_eq!(stack.handle().state().circuit, Some(CircuitState::Closed));
}

#[tokio::test(start_paused = true)]
async fn a_dependency_that_hangs_opens_the_breaker_also_if_all_callers_are_in_a_hurry() {
    let stack = client("hurry").timeout(LIMIT).no_fallback().registry(&Registry::new()).calls();
    for _ in 0..5 {
        let call = stack.run(pending::<Result<(), BoxError>>);
        Deadline::after(LIMIT / 10).scope(call).await.expect_err("it hangs");
    }
    assert_eq!(stack.handle().state().circuit, Some(CircuitState::Open));
}

#[tokio::test(start_paused = true)]
async fn work_that_panics_while_it_is_dropped_is_counted_all_the_same() {
    struct Bomb;
    impl Drop for Bomb {
        fn drop(&mut self) {
            panic!("a bug in the client");
        }
    }
    let stack = client("bomb").timeout(LIMIT).no_fallback().registry(&Registry::new()).calls();
    let mut call = Box::pin(stack.run(|| async {
        let _bomb = Bomb;
        pending::<Result<(), BoxError>>().await
    }));
    assert!((&mut call).now_or_never().is_none());
    catch_unwind(AssertUnwindSafe(|| drop(call))).expect_err("its panic is its owner's");
    let counts = stack.handle().counts();
    assert_eq!((counts.calls(Outcome::Cancelled), counts.first_attempts()), (1, 1));
    assert_eq!(counts.breaker(BreakerResult::Cancelled), 1);
    assert_eq!(stack.handle().state().bulkhead.map(|bulkhead| bulkhead.in_use), Some(0));
}

/// A client of a dependency that hangs, with a fallback that answers after a while.
fn with_a_fallback_that_takes(
    time: Duration,
    limit: Duration,
) -> super::Client<impl crate::policy::Policy<Hangs, Repeatable<()>, Response = Duration>, Hangs> {
    client("hangs")
        .timeout(limit)
        .fallback_async(move |_why| async move {
            let left = Deadline::current().expect("the whole call's").remaining();
            sleep(time).await;
            Ok(left)
        })
        .registry(&Registry::new())
        .service(Hangs)
}

#[derive(Clone, Debug)]
struct Hangs;

impl tower::Service<Repeatable<()>> for Hangs {
    type Response = Duration;
    type Error = BoxError;
    type Future = std::future::Pending<Result<Duration, BoxError>>;

    fn poll_ready(&mut self, _: &mut std::task::Context<'_>) -> std::task::Poll<Result<(), BoxError>> {
        std::task::Poll::Ready(Ok(()))
    }

    fn call(&mut self, _: Repeatable<()>) -> Self::Future {
        pending()
    }
}

#[tokio::test(start_paused = true)]
async fn a_fallback_that_takes_time_has_it_inside_the_whole_calls() {
    let ms = Duration::from_millis;
    for (limit, reserve) in [(800, 100), (400, 100), (200, 50)] {
        let stack = with_a_fallback_that_takes(ms(reserve - 1), ms(limit));
        let start = Instant::now();
        assert_eq!(stack.send(Repeatable(())).await.expect("the fallback answers"), ms(reserve));
        assert_eq!(start.elapsed(), ms(limit - 1));
        let counts = stack.handle().counts();
        assert_eq!((counts.calls(Outcome::Degraded), counts.fallbacks_served()), (1, 1));
    }
}

#[tokio::test(start_paused = true)]
async fn a_callers_deadline_keeps_time_for_the_fallback_too() {
    let stack = with_a_fallback_that_takes(Duration::ZERO, LIMIT);
    let call = async { stack.send(Repeatable(())).await };
    let call = Deadline::after(Duration::from_millis(40)).scope(call);
    assert_eq!(call.await.expect("the fallback answers"), Duration::from_millis(10));
}

#[tokio::test(start_paused = true)]
async fn a_fallback_that_hangs_is_cut_where_the_whole_call_ends() {
    let stack = with_a_fallback_that_takes(Duration::from_secs(3_600), LIMIT);
    let start = Instant::now();
    let error = stack.send(Repeatable(())).await.expect_err("nobody answers");
    assert_eq!(start.elapsed(), LIMIT);
    assert_eq!(error.rejected().map(crate::Rejected::reason), Some(Reason::DeadlineExceeded));
    let counts = stack.handle().counts();
    assert_eq!((counts.calls(Outcome::Timeout), counts.fallbacks_failed()), (1, 1));
}

#[tokio::test(start_paused = true)]
async fn a_call_holds_nothing_while_its_fallback_takes_time_and_is_told_once_when_dropped() {
    let stack = with_a_fallback_that_takes(Duration::from_secs(3_600), LIMIT);
    let mut call = tokio_test::task::spawn(stack.send(Repeatable(())));
    assert!(call.poll().is_pending());
    assert_eq!(stack.handle().state().bulkhead.expect("on by default").in_use, 1);
    tokio::time::advance(LIMIT * 9 / 10).await;
    assert!(call.poll().is_pending());
    assert_eq!(stack.handle().state().bulkhead.expect("on by default").in_use, 0);
    drop(call);
    let counts = stack.handle().counts();
    let calls: u64 = Outcome::ALL.iter().map(|&outcome| counts.calls(outcome)).sum();
    assert_eq!((calls, counts.calls(Outcome::Cancelled)), (1, 1));
    assert_eq!(counts.fallbacks_served() + counts.fallbacks_failed(), 0);
}

#[tokio::test(start_paused = true)]
async fn a_fallback_that_takes_time_is_not_asked_when_the_dependency_answers() {
    let answer = |result: Result<u32, &'static str>| {
        client("answers")
            .timeout(LIMIT)
            .fallback_async(|_why| async { Ok(0) })
            .registry(&Registry::new())
            .service(service_fn(move |_: Repeatable<()>| async move { result.map_err(BoxError::from) }))
    };
    assert_eq!(answer(Ok(7)).send(Repeatable(())).await.expect("it answers"), 7);
    let fault = answer(Err("no such row")).send(Repeatable(())).await.expect_err("the caller's fault");
    assert_eq!(fault.to_string(), "no such row");
}

#[tokio::test(start_paused = true)]
async fn another_service_answers_in_the_time_that_is_kept_for_it() {
    let ms = Duration::from_millis;
    let left = service_fn(async |_: Repeatable<()>| {
        let left = Deadline::current().expect("the whole call's").remaining();
        sleep(left.saturating_sub(ms(1))).await;
        Ok::<_, BoxError>(left)
    });
    let client = |limit| client("hangs").timeout(limit).registry(&Registry::new());
    for (limit, reserve) in [(800, 100), (200, 50)] {
        let stack = client(ms(limit)).fallback_service(left).service(Hangs);
        let start = Instant::now();
        assert_eq!(stack.send(Repeatable(())).await.expect("the other service answers"), ms(reserve));
        assert_eq!(start.elapsed(), ms(limit - 1));
    }
    let stack = client(LIMIT).fallback_service(Hangs).service(Hangs);
    let start = Instant::now();
    let error = stack.send(Repeatable(())).await.expect_err("nobody answers");
    assert_eq!(start.elapsed(), LIMIT);
    assert_eq!(error.rejected().map(crate::Rejected::reason), Some(Reason::DeadlineExceeded));
}

#[tokio::test(start_paused = true)]
async fn a_single_call_keeps_time_for_its_fallback_when_that_takes_any() {
    let ms = Duration::from_millis;
    let stack = client("ledger").timeout(ms(800)).no_fallback().registry(&Registry::new()).calls();
    let hangs = || pending::<Result<Duration, BoxError>>();
    let left = || Deadline::current().map(Deadline::remaining).ok_or_else(refused);
    let later = async |_why| left();
    let start = Instant::now();
    assert_eq!(stack.run_or_async(hangs, later).await.expect("answered"), ms(100));
    assert_eq!(stack.run_repeatable_or_async(hangs, later).await.expect("answered"), ms(100));
    assert_eq!(start.elapsed(), ms(1_400));
    stack.run_or(hangs, |_why| Ok(ms(0))).await.expect("answered");
    assert_eq!(start.elapsed(), ms(2_200), "a closure needs no time");
    stack.run_or_async(hangs, |_why| pending()).await.expect_err("nobody answers");
    assert_eq!(start.elapsed(), ms(3_000));
    let counts = stack.handle().counts();
    assert_eq!((counts.fallbacks_served(), counts.fallbacks_failed()), (3, 1));
}

#[cfg(feature = "http")]
#[tokio::test(start_paused = true)]
async fn an_http_answer_of_a_fallback_that_takes_time_is_marked() {
    let down = service_fn(async |_: http::Request<()>| Err::<http::Response<String>, _>(refused()));
    let stack = client("down")
        .timeout(LIMIT)
        .fallback_async(|_why| async { Ok(http::Response::new("stale".to_owned())) })
        .registry(&Registry::new())
        .http(down);
    let answer = stack.send(http::Request::new(())).await.expect("the fallback answers");
    assert!(answer.extensions().get::<crate::http::Degraded>().is_some());
}
