use std::{
    error::Error,
    future::{pending, ready},
    io,
    sync::{
        Arc,
        atomic::{AtomicU32, Ordering},
    },
    time::Duration,
};

use futures::FutureExt;
use tokio::{
    task::yield_now,
    time::{Instant, sleep},
};
use tokio_test::task;
use tower::{BoxError, Layer, Service, ServiceBuilder, ServiceExt, limit::ConcurrencyLimit, service_fn};

use super::{FallbackLayer, Why};
use crate::{Class, Deadline, Name, Reason, Registry, Rejected, Repeat, event::Outcome, golden};

const SECOND: Duration = Duration::from_secs(1);

fn failing() -> BoxError {
    io::Error::from(io::ErrorKind::ConnectionRefused).into()
}

#[tokio::test]
async fn a_failure_is_answered_and_counted() {
    let registry = Registry::new();
    let observer = registry.observer(&Name::literal("quotes"));
    let service = ServiceBuilder::new()
        .layer(FallbackLayer::new(|why: Why| Ok(why.class() == Class::TRANSIENT)).observer(observer.clone()))
        .service(service_fn(|()| async { Err::<bool, _>(failing()) }));
    assert!(service.oneshot(()).await.expect("the fallback answers"));
    assert_eq!((observer.cells().fallbacks_served(), observer.cells().fallbacks_failed()), (1, 0));
}

#[tokio::test]
async fn a_callers_fault_is_not_answered() {
    let service = ServiceBuilder::new()
        .layer(FallbackLayer::new(|_| Ok(())))
        .service(service_fn(|()| async { Err::<(), BoxError>("no such account".into()) }));
    assert_eq!(service.oneshot(()).await.expect_err("stays").to_string(), "no such account");
}

#[tokio::test]
async fn a_fallback_without_an_answer_can_give_the_error_back_unchanged() {
    let service = ServiceBuilder::new()
        .layer(FallbackLayer::new(|why: Why| Err::<(), _>(why.into_error())))
        .service(service_fn(|()| async { Err::<(), _>(failing()) }));
    let error = service.oneshot(()).await.expect_err("no answer");
    assert!(error.downcast_ref::<io::Error>().is_some(), "the inner error stays downcastable");
}

#[tokio::test]
async fn a_response_can_be_a_failure_too() {
    let service = ServiceBuilder::new()
        .layer(
            FallbackLayer::new(|why: Why| {
                assert!(why.error().is_none());
                Ok(why.into_error().to_string())
            })
            .classify(|_: Result<&String, &BoxError>| Class::Fault),
        )
        .service(service_fn(|()| async { Ok::<_, BoxError>("broken".to_owned()) }));
    assert_eq!(
        service.oneshot(()).await.expect("answered"),
        "the dependency answered with a failure (Fault)"
    );
}

/// A service that answers nobody and a fallback that takes a while, and sees its deadline as it begins.
fn a_fallback_that_takes(
    time: Duration,
) -> impl Service<(), Response = Option<Duration>, Error = BoxError> + Clone {
    let layer = FallbackLayer::from_async(move |_why| async move {
        let left = Deadline::current().map(Deadline::remaining);
        sleep(time).await;
        Ok(left)
    });
    // What a timeout inside would do.
    let hangs = service_fn(async |()| {
        let limit = Deadline::current().map_or(10 * SECOND, Deadline::remaining);
        tokio::time::timeout(limit, pending::<Result<_, BoxError>>())
            .await
            .map_err(|_| BoxError::from(failing()))?
    });
    layer.layer(hangs)
}

#[tokio::test(start_paused = true)]
async fn a_fallback_that_takes_time_has_its_share_of_the_time_of_the_work_in_hand() {
    let ms = Duration::from_millis;
    for (limit, reserve) in [(2_000, 100), (400, 100), (200, 50), (4, 1)] {
        let start = Instant::now();
        let call = a_fallback_that_takes(ms(reserve - 1)).oneshot(());
        let left = Deadline::after(ms(limit)).scope(call).await.expect("the fallback answers");
        assert_eq!((left, start.elapsed()), (Some(ms(reserve)), ms(limit - 1)));
    }
}

#[tokio::test(start_paused = true)]
async fn a_fallback_that_hangs_is_cut_where_the_work_in_hand_ends() {
    let call = async { a_fallback_that_takes(Duration::MAX).oneshot(()).await };
    let start = Instant::now();
    let error = Deadline::after(SECOND).scope(call).await.expect_err("nobody answers");
    assert_eq!(Rejected::find(&*error).map(Rejected::reason), Some(Reason::DeadlineExceeded));
    assert_eq!(start.elapsed(), SECOND);
}

#[tokio::test(start_paused = true)]
async fn without_a_deadline_a_fallback_has_the_time_it_takes() {
    let start = Instant::now();
    let left = a_fallback_that_takes(3_600 * SECOND).oneshot(()).await.expect("the fallback answers");
    assert_eq!((left, start.elapsed()), (None, 3_610 * SECOND));
}

/// A service that answers nobody, and another with one place that answers after a while.
fn answered_by_another(
    asked: Arc<AtomicU32>,
) -> (
    impl Service<Option<u32>, Response = u32, Error = BoxError, Future: Send> + Clone,
    impl Service<Option<u32>, Response = u32, Error = BoxError> + Clone,
) {
    let other = service_fn(move |request: Option<u32>| {
        asked.fetch_add(1, Ordering::Relaxed);
        async move {
            yield_now().await;
            sleep(SECOND).await;
            request.ok_or_else(failing)
        }
    });
    let other = ConcurrencyLimit::new(other, 1);
    let down = service_fn(|_| async {
        yield_now().await;
        Err::<u32, _>(failing())
    });
    (FallbackLayer::from_service(other.clone()).layer(down), other)
}

impl Repeat for Option<u32> {
    fn again(&self) -> Option<Self> {
        self.map(Some)
    }
}

#[tokio::test(start_paused = true)]
async fn another_service_answers_a_copy_of_the_request() {
    let asked = Arc::<AtomicU32>::default();
    let (service, _) = answered_by_another(Arc::clone(&asked));
    assert_eq!(service.oneshot(Some(7)).await.expect("the other service answers"), 7);
    assert_eq!(asked.load(Ordering::Relaxed), 1);
}

#[tokio::test(start_paused = true)]
async fn the_failure_of_a_request_that_gives_no_copy_stays_a_failure() {
    let asked = Arc::<AtomicU32>::default();
    let (service, _) = answered_by_another(Arc::clone(&asked));
    let error = service.oneshot(None).await.expect_err("nobody else may be asked");
    assert!(error.downcast_ref::<io::Error>().is_some());
    assert_eq!(asked.load(Ordering::Relaxed), 0);
}

#[tokio::test(start_paused = true)]
async fn another_service_is_waited_for_until_it_is_ready_and_no_longer_than_the_deadline() {
    let (service, other) = answered_by_another(Arc::default());
    let mut holds = other.clone();
    let held = holds.ready().await.expect("it has a place").call(Some(1));
    let call = async { service.clone().oneshot(Some(7)).await };
    let error = Deadline::after(SECOND).scope(call).await.expect_err("it never gets ready");
    assert_eq!(Rejected::find(&*error).map(Rejected::reason), Some(Reason::DeadlineExceeded));
    let waits = tokio::spawn(service.oneshot(Some(7)));
    drop(held);
    assert_eq!(waits.await.expect("no panic").expect("the other service answers"), 7);
}

#[tokio::test(start_paused = true)]
async fn a_call_dropped_at_any_await_gives_the_other_service_back() {
    let asked = Arc::<AtomicU32>::default();
    let (service, other) = answered_by_another(Arc::clone(&asked));
    let mut polls = 0;
    loop {
        let mut call = task::spawn(service.clone().oneshot(Some(7)));
        let mut ended = false;
        for _ in 0..polls {
            ended = call.poll().is_ready();
            tokio::time::advance(SECOND / 2).await;
        }
        drop(call);
        let free = other.clone().ready_oneshot().now_or_never();
        assert!(free.is_some_and(|ready| ready.is_ok()), "after {polls} polls its place is still taken");
        if ended {
            break;
        }
        polls += 1;
    }
    assert!(asked.load(Ordering::Relaxed) > 2 && polls > 3, "it was not dropped while the other was asked");
}

/// How a service answers.
type End = fn() -> Result<&'static str, BoxError>;

#[tokio::test]
async fn a_predicate_decides_alone_which_ends_the_fallback_answers() {
    let layer = FallbackLayer::new(|_why| Ok("fallback"))
        .when(|end| end.error().is_some_and(<dyn Error>::is::<io::Error>) || end.response() == Some(&"poor"));
    let ends: [(End, &str); 4] = [
        (|| Ok("good"), "good"),
        (|| Ok("poor"), "fallback"),
        (|| Err(failing()), "fallback"),
        (
            || Err(Rejected::new(&Name::literal("other"), Reason::CircuitOpen).into()),
            "other: the circuit breaker is open",
        ),
    ];
    for (end, expected) in ends {
        let service = layer.layer(service_fn(move |()| ready(end())));
        let answer = service.oneshot(()).await.map_or_else(|error| error.to_string(), str::to_owned);
        assert_eq!(answer, expected);
    }
}

#[tokio::test]
async fn an_answer_that_was_turned_down_and_has_no_other_is_no_success() {
    let registry = Registry::new();
    let stack = golden::client("poor")
        .timeout(SECOND)
        .fallback(|why: Why| Err(why.into_error()))
        .fallback_when(|end| end.response() == Some(&0))
        .registry(&registry)
        .service(service_fn(async |_: Option<u32>| Ok::<_, BoxError>(0)));
    let error = stack.send(Some(1)).await.expect_err("there is no other answer");
    assert_eq!(error.to_string(), "the dependency's answer was not the one that was wanted (Success)");
    let counts = stack.handle().counts();
    assert_eq!((counts.calls(Outcome::Fault), counts.fallbacks_failed()), (1, 1));
}
