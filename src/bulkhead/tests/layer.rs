//! The layer, in front of services, on a paused clock.

use std::{
    future::{pending, poll_fn},
    num::NonZeroUsize,
    panic::{AssertUnwindSafe, catch_unwind},
    sync::{Arc, Mutex},
    task::Poll,
    time::Duration,
};

use tokio::{
    task::yield_now,
    time::{Instant, advance, sleep},
};
use tokio_test::{assert_pending, assert_ready, task::spawn};
use tower::{BoxError, Layer, Service, ServiceBuilder, ServiceExt, service_fn};

use super::super::{BulkheadHandle, BulkheadLayer, BulkheadPolicy, Unkeyed, config::BulkheadConfig};
use crate::{
    Deadline, Name, Priority, Reason, Registry, Rejected,
    event::Event,
    observer::{Interest, Observer, Sink},
    policy::{Leaf, Stack},
    timeout::{TimeoutLayer, TimeoutPolicy},
};

const WAIT: Duration = Duration::from_millis(100);

type Outcome = Result<u32, BoxError>;

/// Takes as many milliseconds as the request says, and answers with it.
async fn work(millis: u32) -> Outcome {
    sleep(Duration::from_millis(millis.into())).await;
    Ok(millis)
}

fn reason(outcome: Outcome) -> Option<Reason> {
    Rejected::find(&*outcome.expect_err("it is refused")).map(Rejected::reason)
}

fn counts(handle: &BulkheadHandle) -> (usize, usize, usize) {
    let state = handle.state();
    (state.limit, state.in_use, state.queued)
}

/// A layer with its handle.
fn bulkhead(limit: usize, queue: usize) -> (BulkheadLayer, BulkheadHandle) {
    let layer = BulkheadLayer::new(limit).max_queue(queue).max_wait(WAIT);
    let handle = layer.handle();
    (layer, handle)
}

/// Keeps what it is told.
#[derive(Default)]
struct Tape(Mutex<Vec<Event>>);

impl Sink for Tape {
    fn interest(&self) -> Interest {
        Interest::ALL
    }

    fn record(&self, _: &Name, event: &Event) {
        self.0.lock().expect("no test panics with it").push(*event);
    }
}

fn leaf() -> Leaf {
    Leaf::default()
}

fn observer() -> Observer {
    Registry::new().observer(&Name::literal("ledger"))
}

#[tokio::test(start_paused = true)]
async fn a_call_beyond_limit_and_queue_is_refused_at_once() {
    let (layer, handle) = bulkhead(1, 1);
    let service = layer.layer(service_fn(work));
    let (mut inside, mut queued) = (spawn(service.clone().oneshot(9)), spawn(service.clone().oneshot(9)));
    assert_pending!(inside.poll());
    assert_pending!(queued.poll());
    assert_eq!(counts(&handle), (1, 1, 1));
    let outcome = assert_ready!(spawn(service.oneshot(9)).poll());
    assert_eq!(reason(outcome), Some(Reason::BulkheadFull));
    assert_eq!(counts(&handle), (1, 1, 1));
}

#[tokio::test(start_paused = true)]
async fn a_place_that_comes_free_goes_to_the_call_that_waited_longest() {
    let (layer, handle) = bulkhead(1, 8);
    let service = layer.layer(service_fn(work));
    let order = Arc::new(Mutex::new(Vec::new()));
    let calls = (1..=8).map(|millis| {
        let (service, order) = (service.clone(), order.clone());
        tokio::spawn(async move {
            let outcome = service.oneshot(millis).await;
            order.lock().expect("no call panics").push(outcome.expect("there is room in the queue"));
        })
    });
    for call in calls.collect::<Vec<_>>() {
        call.await.expect("no call panics");
    }
    assert_eq!(*order.lock().expect("no call panics"), (1..=8).collect::<Vec<_>>());
    assert_eq!(counts(&handle), (1, 0, 0));
}

#[tokio::test(start_paused = true)]
async fn a_wait_ends_after_the_longest_wait() {
    let (layer, handle) = bulkhead(1, 1);
    let service = layer.layer(service_fn(work));
    let mut inside = spawn(service.clone().oneshot(9_999));
    assert_pending!(inside.poll());
    let start = Instant::now();
    assert_eq!(reason(service.oneshot(1).await), Some(Reason::BulkheadWait));
    assert_eq!(start.elapsed(), WAIT);
    assert_eq!(counts(&handle), (1, 1, 0));
}

#[tokio::test(start_paused = true)]
async fn a_wait_ends_at_the_deadline_of_the_call() {
    let (layer, handle) = bulkhead(1, 1);
    let service = layer.layer(service_fn(work));
    let mut inside = spawn(service.clone().oneshot(9_999));
    assert_pending!(inside.poll());
    let start = Instant::now();
    let outcome = Deadline::after(WAIT / 4).scope(service.oneshot(1)).await;
    assert_eq!(reason(outcome), Some(Reason::DeadlineExceeded));
    assert_eq!(start.elapsed(), WAIT / 4);
    assert_eq!(counts(&handle), (1, 1, 0));
}

#[tokio::test(start_paused = true)]
async fn a_place_at_the_last_moment_wins_over_the_timer() {
    let (layer, _) = bulkhead(1, 1);
    let service = layer.layer(service_fn(work));
    let (mut inside, mut queued) = (spawn(service.clone().oneshot(50)), spawn(service.oneshot(7)));
    assert_pending!(inside.poll());
    assert_pending!(queued.poll());
    advance(WAIT).await;
    assert!(queued.is_woken(), "its timer has fired");
    assert_ready!(inside.poll()).expect("it is done");
    assert_pending!(queued.poll());
    advance(WAIT).await;
    assert_eq!(assert_ready!(queued.poll()).expect("it had the place"), 7);
}

#[tokio::test(start_paused = true)]
async fn waits_and_refusals_are_told() {
    let tape = Arc::new(Tape::default());
    let observer = observer().sink(tape.clone());
    let layer = BulkheadLayer::new(1).max_queue(1).observer(observer.clone());
    let service = layer.layer(service_fn(work));
    let calls = [40, 1, 1].map(|millis| service.clone().oneshot(millis));
    let outcomes = futures::future::join_all(calls).await;
    assert_eq!(outcomes.iter().filter(|outcome| outcome.is_ok()).count(), 2);
    let told = tape.0.lock().expect("no call panics").clone();
    assert_eq!(
        told,
        [
            Event::BulkheadRefused { reason: Reason::BulkheadFull },
            Event::BulkheadWaited { elapsed: Duration::from_millis(40) },
        ]
    );
    assert_eq!((observer.cells().bulkhead_waited(), observer.cells().bulkhead_refused()), (1, 1));
}

/// Pending `polls` times, then done.
async fn yields(polls: u32) -> Outcome {
    for _ in 0..polls {
        yield_now().await;
    }
    Ok(polls)
}

#[tokio::test(start_paused = true)]
async fn a_call_dropped_at_any_await_point_leaves_nothing_behind() {
    const YIELDS: u32 = 3;
    let (layer, handle) = bulkhead(1, 2);
    let service = layer.layer(service_fn(yields));
    for queues in [false, true] {
        // Past the last poll the call is done: the last round drops a future that has answered.
        for polls in 0..=YIELDS + 2 {
            let mut other = spawn(service.clone().oneshot(YIELDS));
            let mut next = spawn(service.clone().oneshot(0));
            let mut call = spawn(service.clone().oneshot(YIELDS));
            if queues {
                assert_pending!(other.poll());
            }
            let mut answered = false;
            for poll in 0..polls {
                answered = answered || call.poll().is_ready();
                if poll == polls / 2 {
                    drop(std::mem::replace(&mut other, spawn(service.clone().oneshot(YIELDS))));
                }
            }
            drop(call);
            drop(other);
            assert_eq!(counts(&handle), (1, 0, 0), "dropped after {polls} polls, queued: {queues}");
            assert_ready!(next.poll()).expect("there is room");
        }
    }
}

#[tokio::test(start_paused = true)]
async fn a_call_dropped_with_a_place_it_never_saw_passes_it_on() {
    let (layer, handle) = bulkhead(1, 2);
    let service = layer.layer(service_fn(yields));
    let mut calls = [1, 0, 0].map(|polls| spawn(service.clone().oneshot(polls)));
    for call in &mut calls {
        assert_pending!(call.poll());
    }
    let [mut first, second, mut third] = calls;
    assert_ready!(first.poll()).expect("it is done");
    assert!(second.is_woken() && !third.is_woken());
    drop(second);
    assert!(third.is_woken());
    assert_ready!(third.poll()).expect("it has the place");
    assert_eq!(counts(&handle), (1, 0, 0));
}

#[tokio::test(start_paused = true)]
async fn a_service_that_is_ready_and_never_called_holds_nothing() {
    let (layer, handle) = bulkhead(1, 0);
    let mut idle = layer.layer(service_fn(work));
    let _ = ServiceExt::<u32>::ready(&mut idle).await.expect("ready");
    let uncalled = idle.call(1);
    assert_eq!(counts(&handle), (1, 0, 0));
    layer.layer(service_fn(work)).oneshot(1).await.expect("there is room");
    drop(uncalled);
    assert_eq!(counts(&handle), (1, 0, 0));
}

#[tokio::test(start_paused = true)]
async fn a_panic_inside_gives_the_place_back() {
    let (layer, handle) = bulkhead(1, 0);
    for eager in [true, false] {
        let panics = service_fn(move |()| {
            assert!(!eager, "in call");
            poll_fn(|_| -> Poll<Outcome> { panic!("in poll") })
        });
        let mut call = spawn(layer.layer(panics).oneshot(()));
        assert!(catch_unwind(AssertUnwindSafe(|| call.poll().is_ready())).is_err());
        drop(call);
        assert_eq!(counts(&handle), (1, 0, 0));
    }
}

#[tokio::test(start_paused = true)]
async fn a_sink_that_panics_costs_no_place() {
    struct Broken;
    impl Sink for Broken {
        fn interest(&self) -> Interest {
            Interest::ALL
        }
        fn record(&self, _: &Name, _: &Event) {
            panic!("out of order");
        }
    }
    let layer = BulkheadLayer::new(1).max_queue(1).observer(observer().sink(Arc::new(Broken)));
    let service = layer.layer(service_fn(yields));
    let mut calls = [1, 0, 0].map(|polls| spawn(service.clone().oneshot(polls)));
    assert_pending!(calls[0].poll());
    assert_pending!(calls[1].poll());
    assert_ready!(calls[2].poll()).expect_err("refused, and told");
    assert_ready!(calls[0].poll()).expect("it is done");
    assert_ready!(calls[1].poll()).expect("waited, and told");
    drop(calls);
    assert_eq!(counts(&layer.handle()), (1, 0, 0));
}

/// Fails the test when it is dropped outside of the bulkhead.
struct Work(BulkheadHandle);

impl Drop for Work {
    fn drop(&mut self) {
        assert_eq!(self.0.state().in_use, 1);
    }
}

#[tokio::test(start_paused = true)]
async fn a_place_is_held_until_the_work_in_it_was_dropped() {
    let (layer, handle) = bulkhead(1, 0);
    let inside = handle.clone();
    let service = layer.layer(service_fn(move |()| {
        let work = Work(inside.clone());
        async move {
            let _work = work;
            pending::<Outcome>().await
        }
    }));
    let mut call = spawn(service.oneshot(()));
    assert_pending!(call.poll());
    drop(call);
    assert_eq!(counts(&handle), (1, 0, 0));
}

#[tokio::test(start_paused = true)]
async fn a_timeout_outside_gives_the_place_back_when_it_answers() {
    let bulkhead = BulkheadPolicy::new(BulkheadConfig::CLIENT, Unkeyed, observer(), leaf());
    let handle = bulkhead.handle().expect("it is on");
    let policy = TimeoutPolicy::new(WAIT, Reason::Timeout, observer(), bulkhead);
    let mut service = Stack::new(Arc::new(policy), service_fn(work));
    let mut call = spawn(service.ready().await.expect("ready").call(9_999));
    assert_pending!(call.poll());
    assert_eq!(handle.state().in_use, 1);
    advance(WAIT).await;
    assert_eq!(reason(assert_ready!(call.poll())), Some(Reason::Timeout));
    assert_eq!(handle.state().in_use, 0, "though the future is still there");
}

#[tokio::test(start_paused = true)]
async fn a_timeout_inside_does_not_run_while_the_call_queues() {
    let timeout = TimeoutPolicy::new(WAIT, Reason::Timeout, observer(), leaf());
    let config = BulkheadConfig { limit: 1.into(), max_wait: 2 * WAIT, ..BulkheadConfig::CLIENT };
    let stack =
        Stack::new(Arc::new(BulkheadPolicy::new(config, Unkeyed, observer(), timeout)), service_fn(work));
    let outcomes = futures::future::join_all([90, 90].map(|millis| stack.clone().oneshot(millis))).await;
    assert!(outcomes.iter().all(Result::is_ok), "{outcomes:?}");
}

#[tokio::test(start_paused = true)]
async fn a_timeout_layer_outside_ends_the_wait() {
    let (layer, handle) = bulkhead(1, 1);
    let service = ServiceBuilder::new()
        .layer(TimeoutLayer::new(WAIT / 2).whole_call())
        .layer(layer)
        .service(service_fn(work));
    let outcomes = futures::future::join_all([9_999, 1].map(|millis| service.clone().oneshot(millis))).await;
    for outcome in outcomes {
        assert_eq!(reason(outcome), Some(Reason::DeadlineExceeded));
    }
    assert_eq!(counts(&handle), (1, 0, 0));
}

#[tokio::test(start_paused = true)]
async fn the_limit_changes_live() {
    let (layer, handle) = bulkhead(1, 4);
    let service = layer.layer(service_fn(yields));
    let mut calls = [1, 1, 1].map(|polls| spawn(service.clone().oneshot(polls)));
    for call in &mut calls {
        assert_pending!(call.poll());
    }
    handle.set_limit(NonZeroUsize::new(2).expect("two"));
    assert!(calls[1].is_woken() && !calls[2].is_woken());
    assert_eq!(counts(&handle), (2, 2, 1));
    handle.set_limit(NonZeroUsize::MIN);
    assert_ready!(calls[0].poll()).expect("it is done");
    assert_eq!(counts(&handle), (1, 1, 1));
}

#[tokio::test(start_paused = true)]
async fn without_a_queue_a_full_bulkhead_refuses_at_once() {
    let config = BulkheadConfig { limit: 1.into(), max_queue: 0, ..BulkheadConfig::CLIENT };
    let policy = BulkheadPolicy::new(config, Unkeyed, observer(), leaf());
    let stack = Stack::new(Arc::new(policy), service_fn(work));
    let mut inside = spawn(stack.clone().oneshot(9));
    assert_pending!(inside.poll());
    assert_eq!(reason(assert_ready!(spawn(stack.oneshot(9)).poll())), Some(Reason::BulkheadFull));
}

#[tokio::test(start_paused = true)]
async fn without_refusals_all_wait_for_as_long_as_it_takes() {
    const CALLS: usize = 300;
    let layer = BulkheadLayer::new(1).without_refusals();
    let service = layer.layer(service_fn(work));
    let hour = 3_600_000;
    let calls = (0..CALLS).map(|_| service.clone().oneshot(hour));
    assert!(futures::future::join_all(calls).await.iter().all(Result::is_ok));
    assert_eq!(counts(&layer.handle()), (1, 0, 0));
}

#[tokio::test(start_paused = true)]
async fn without_refusals_a_deadline_still_ends_the_wait() {
    let layer = BulkheadLayer::new(1).without_refusals();
    let service = layer.layer(service_fn(work));
    let mut inside = spawn(service.clone().oneshot(9_999));
    assert_pending!(inside.poll());
    let outcome = Deadline::after(WAIT).scope(service.oneshot(1)).await;
    assert_eq!(reason(outcome), Some(Reason::DeadlineExceeded));
    assert_eq!(counts(&layer.handle()), (1, 1, 0));
}

#[tokio::test(start_paused = true)]
async fn a_bulkhead_that_is_off_admits_everything() {
    let policy = BulkheadPolicy::<_, Unkeyed>::off(observer(), leaf());
    assert!(policy.handle().is_none());
    let stack = Stack::new(Arc::new(policy), service_fn(work));
    let calls = (0..2_000).map(|_| stack.clone().oneshot(1));
    assert!(futures::future::join_all(calls).await.iter().all(Result::is_ok));
}

#[test]
fn clones_share_a_bulkhead_and_setters_make_a_new_one() {
    let (layer, handle) = bulkhead(3, 0);
    handle.set_limit(NonZeroUsize::MIN);
    assert_eq!(layer.clone().handle().state().limit, 1);
    assert_eq!(layer.max_queue(1).handle().state().limit, 3);
}

#[test]
#[should_panic(expected = "a bulkhead of zero would refuse every call")]
fn a_limit_of_zero_is_refused() {
    let _ = BulkheadLayer::new(0);
}

#[tokio::test(start_paused = true)]
async fn each_priority_fills_its_share_and_only_the_highest_queues() {
    let tape = Arc::new(Tape::default());
    let layer = BulkheadLayer::new(10).priorities().max_wait(WAIT).observer(observer().sink(tape.clone()));
    let (service, handle) = (layer.layer(service_fn(work)), layer.handle());
    let call = |priority: Priority| spawn(Box::pin(priority.scope(service.clone().oneshot(50))));
    let mut inside = Vec::new();
    let shares = [(Priority::Sheddable, 6), (Priority::SheddablePlus, 8), (Priority::Critical, 9)];
    for (priority, places) in shares {
        while handle.state().in_use < places {
            inside.push(call(priority));
            assert_pending!(inside.last_mut().expect("it was pushed").poll());
        }
        let error = assert_ready!(call(priority).poll()).expect_err("its share is full");
        let rejected = Rejected::find(&*error).expect("by the bulkhead");
        assert_eq!(rejected.reason(), Reason::Shed);
        let wait = rejected.retry_after().expect("it is told when to come back");
        assert!((WAIT * 5..=WAIT * 40).contains(&wait), "{wait:?}");
    }
    for _ in 0..2 {
        inside.push(call(Priority::CriticalPlus));
        assert_pending!(inside.last_mut().expect("it was pushed").poll());
    }
    assert_eq!(counts(&handle), (10, 10, 1));
    let told = tape.0.lock().expect("no test panics with it").clone();
    let shed = Event::LoadShed { reason: Reason::Shed };
    assert_eq!(told, [shed; 3]);
    advance(WAIT / 2).await;
    for mut call in inside.drain(..10) {
        assert_ready!(call.poll()).expect("its work is done");
    }
    assert_pending!(inside[0].poll(), "it was let in from the queue");
}
