//! What the limit of a layer learns from, and what it does not.

use std::{
    future::{Pending, pending},
    num::NonZeroUsize,
    sync::Arc,
    time::Duration,
};

use tokio::time::{advance, sleep};
use tokio_test::{assert_pending, assert_ready, task::spawn};
use tower::{BoxError, Layer, Service, ServiceExt, service_fn};

use super::super::{Aimd, BulkheadLayer, Gradient};
use crate::{
    Class, Deadline,
    classify::ByError,
    error::{InjectedFault, Reason},
    observer::Observer,
    policy::{Leaf, Stack},
    timeout::TimeoutPolicy,
};

const LIMIT: Duration = Duration::from_millis(100);
/// What a limit of 20 becomes by one overload.
const CUT: usize = 18;

/// A limit of 20 after so many calls at once that took a millisecond and ended so.
async fn limit_after(calls: usize, end: impl Fn() -> Result<(), BoxError> + Clone) -> usize {
    let layer = BulkheadLayer::new(Aimd::new());
    let service = layer.layer(service_fn(move |()| {
        let end = end.clone();
        async move {
            sleep(Duration::from_millis(1)).await;
            end()
        }
    }));
    futures::future::join_all((0..calls).map(|_| service.clone().oneshot(()))).await;
    layer.handle().state().limit
}

async fn limit_after_failures(class: Class) -> usize {
    limit_after(20, move || Err(InjectedFault::new(class).into())).await
}

#[tokio::test(start_paused = true)]
async fn a_round_trip_that_went_well_raises_a_limit_that_was_used() {
    assert_eq!(limit_after(20, || Ok(())).await, 21);
    assert_eq!(limit_after(9, || Ok(())).await, 20);
}

#[tokio::test(start_paused = true)]
async fn a_dependency_that_asks_for_less_is_heard_once_a_round_trip() {
    let second = Some(Duration::from_secs(1));
    assert_eq!(limit_after_failures(Class::THROTTLED).await, CUT);
    assert_eq!(limit_after_failures(Class::Transient { retry_after: second }).await, CUT);
}

#[tokio::test(start_paused = true)]
async fn fast_failures_say_nothing() {
    for class in [Class::TRANSIENT, Class::Fault, Class::CallerFault, Class::Neutral] {
        assert_eq!(limit_after_failures(class).await, 20, "{class:?}");
    }
}

type Hangs = fn(()) -> Pending<Result<(), BoxError>>;

/// In the order of a golden client: the limit of time stands inside.
fn client(layer: &BulkheadLayer) -> impl Service<(), Response = (), Error = BoxError> + Clone + use<> {
    let timeout = TimeoutPolicy::new(LIMIT, Reason::Timeout, observer(), Leaf::new(ByError));
    Stack::new(Arc::new(layer.over(observer(), timeout)), service_fn(pending_for as Hangs))
}

/// In the order of a golden server: the limit of time stands outside, and drops the call.
fn server(layer: &BulkheadLayer) -> impl Service<(), Response = (), Error = BoxError> + Clone + use<> {
    let bulkhead = layer.over(observer(), Leaf::new(ByError));
    let timeout = TimeoutPolicy::new(LIMIT, Reason::DeadlineExceeded, observer(), bulkhead);
    Stack::new(Arc::new(timeout), service_fn(pending_for as Hangs))
}

fn pending_for((): ()) -> Pending<Result<(), BoxError>> {
    pending()
}

fn observer() -> Observer {
    Observer::unnamed("ledger")
}

#[tokio::test(start_paused = true)]
async fn a_timeout_lowers_the_limit_on_either_side() {
    let layers = [BulkheadLayer::new(Aimd::new()), BulkheadLayer::new(Aimd::new())];
    client(&layers[0]).oneshot(()).await.expect_err("it hangs");
    server(&layers[1]).oneshot(()).await.expect_err("it hangs");
    assert_eq!(layers.map(|layer| layer.handle().state().limit), [CUT, CUT]);
}

async fn goes_away_or_is_in_a_hurry(service: impl Service<(), Response = (), Error = BoxError> + Clone) {
    let mut call = spawn(service.clone().oneshot(()));
    assert_pending!(call.poll());
    advance(LIMIT / 2).await;
    drop(call);
    Deadline::after(LIMIT / 4).scope(service.oneshot(())).await.expect_err("it hangs");
}

#[tokio::test(start_paused = true)]
async fn a_caller_that_goes_away_or_is_in_a_hurry_says_nothing() {
    let layers = [BulkheadLayer::new(Aimd::new()), BulkheadLayer::new(Aimd::new())];
    goes_away_or_is_in_a_hurry(client(&layers[0])).await;
    goes_away_or_is_in_a_hurry(server(&layers[1])).await;
    assert_eq!(layers.map(|layer| layer.handle().state().limit), [20, 20]);
}

#[tokio::test(start_paused = true)]
async fn a_panic_says_nothing() {
    let layer = BulkheadLayer::new(Aimd::new());
    let call = layer.layer(service_fn(|()| async { panic!("a bug") as Result<(), BoxError> })).oneshot(());
    tokio::spawn(call).await.expect_err("it panics");
    assert_eq!((layer.handle().state().limit, layer.handle().state().in_use), (20, 0));
}

#[tokio::test(start_paused = true)]
async fn the_wait_in_the_queue_is_no_latency() {
    let layer = BulkheadLayer::new(Aimd::new().start(1).latency_threshold(Duration::from_millis(15)));
    let service = layer.layer(service_fn(|()| async {
        sleep(Duration::from_millis(10)).await;
        Ok::<_, BoxError>(())
    }));
    let calls = futures::future::join_all((0..10).map(|_| service.clone().oneshot(()))).await;
    assert!(calls.iter().all(Result::is_ok));
    assert_eq!(layer.handle().state().limit, 2, "the tenth of them was as fast as the first");
}

#[tokio::test(start_paused = true)]
async fn a_limit_that_rises_by_itself_lets_waiting_calls_in() {
    let layer = BulkheadLayer::new(Aimd::new().start(1)).max_wait(LIMIT);
    let service = layer.layer(service_fn(|millis| async move {
        sleep(Duration::from_millis(millis)).await;
        Ok::<_, BoxError>(())
    }));
    for _ in 0..9 {
        service.clone().oneshot(1).await.expect("there is room");
    }
    let [mut last, mut second, mut third] = [1, 50, 50].map(|millis| spawn(service.clone().oneshot(millis)));
    assert_pending!(last.poll());
    assert_pending!(second.poll());
    assert_pending!(third.poll());
    advance(Duration::from_millis(1)).await;
    assert_ready!(last.poll()).expect("it is done");
    assert!(second.is_woken() && third.is_woken(), "one for the place that came free, one for the new one");
    assert_eq!(layer.handle().state().in_use, 2);
}

#[tokio::test(start_paused = true)]
async fn a_hand_on_the_limit_holds_it_until_it_is_taken_away() {
    let layer = BulkheadLayer::adaptive();
    let handle = layer.handle();
    assert!(handle.is_adapting());
    let service = layer.layer(service_fn(|()| async {
        sleep(Duration::from_millis(1)).await;
        Err::<(), BoxError>(InjectedFault::new(Class::THROTTLED).into())
    }));
    handle.set_limit(NonZeroUsize::new(50).expect("above zero"));
    service.clone().oneshot(()).await.expect_err("throttled");
    assert_eq!((handle.state().limit, handle.is_adapting()), (50, false));
    handle.resume();
    assert_eq!((handle.state().limit, handle.is_adapting()), (50, true));
    service.oneshot(()).await.expect_err("throttled");
    assert_eq!(handle.state().limit, 45);
    let fixed = BulkheadLayer::new(3).handle();
    fixed.resume();
    assert_eq!((fixed.state().limit, fixed.is_adapting()), (3, false));
}

#[test]
fn a_layer_that_adapts_begins_within_its_bounds() {
    let start = |layer: BulkheadLayer| layer.handle().state().limit;
    assert_eq!(start(BulkheadLayer::adaptive()), 20);
    assert_eq!(start(BulkheadLayer::new(Gradient::new().bounds(1..=10))), 10);
    assert_eq!(start(BulkheadLayer::new(Aimd::new().bounds(30..=40))), 30);
    assert_eq!(start(BulkheadLayer::new(Aimd::new().bounds(1..=usize::MAX).start(usize::MAX))), 2_097_151);
}

#[test]
#[should_panic(expected = "no limit lies between 9 and 3")]
fn bounds_without_a_limit_between_them_are_refused() {
    let (most, least) = (3, 9);
    let _ = Gradient::new().bounds(least..=most);
}

#[test]
#[should_panic(expected = "a tolerance is a finite number above 1")]
fn a_tolerance_that_no_latency_keeps_is_refused() {
    let _ = Gradient::new().tolerance(1.0);
}
