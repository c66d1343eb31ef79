use std::{
    future::pending,
    panic::AssertUnwindSafe,
    sync::Arc,
    task::{Context, Poll, Waker},
    time::Duration,
};

use futures::FutureExt;
use tokio::time::{advance, sleep};
use tower::{BoxError, Layer, Service, ServiceExt, service_fn};

use super::{AttemptTelemetryPolicy, CallTelemetryPolicy, Side, TelemetryLayer};
use crate::{
    class::Class,
    classify::ByError,
    error::{Reason, Rejected},
    event::{AttemptKind, Event, Outcome},
    name::Name,
    observer::{Interest, Observer, Sink},
    policy::{Leaf, Stack},
    record::Tape,
    registry::Registry,
    timeout::TimeoutPolicy,
};

const SECOND: Duration = Duration::from_secs(1);

fn observer() -> (Arc<Tape>, Observer) {
    let tape = Arc::new(Tape::new());
    let observer = Registry::new().observer(&Name::literal("ledger")).sink(tape.clone());
    (tape, observer)
}

fn call(outcome: Outcome, elapsed: Duration) -> Event {
    Event::CallFinished { outcome, elapsed, synthetic: false, injected: false }
}

fn attempt(outcome: Outcome, elapsed: Duration) -> Event {
    Event::AttemptFinished { attempt: 1, kind: AttemptKind::First, outcome, elapsed }
}

const STARTED: Event = Event::AttemptStarted { attempt: 1, kind: AttemptKind::First };

fn poll<F: Future + Unpin>(future: &mut F) -> Poll<F::Output> {
    future.poll_unpin(&mut Context::from_waker(Waker::noop()))
}

/// Call and attempt telemetry around `service`, as in a stack.
macro_rules! stack {
    ($observer:expr, $service:expr) => {{
        let attempts = AttemptTelemetryPolicy::new($observer.clone(), Leaf::<ByError>::default());
        Stack::new(Arc::new(CallTelemetryPolicy::new($observer, Side::Internal, attempts)), $service)
    }};
}

#[tokio::test(start_paused = true)]
async fn an_answer_is_told_once_with_its_time() {
    let (tape, observer) = observer();
    let service = stack!(
        observer,
        service_fn(|answer: Result<u8, &'static str>| async move {
            sleep(SECOND).await;
            answer.map_err(BoxError::from)
        })
    );
    assert_eq!(service.clone().oneshot(Ok(7)).await.expect("an answer"), 7);
    assert_eq!(tape.events(), [STARTED, attempt(Outcome::Success, SECOND), call(Outcome::Success, SECOND)]);
    tape.clear();
    service.oneshot(Err("no such row")).await.expect_err("an error");
    assert_eq!(
        tape.events(),
        [STARTED, attempt(Outcome::CallerFault, SECOND), call(Outcome::CallerFault, SECOND)]
    );
}

#[tokio::test(start_paused = true)]
async fn a_call_that_was_dropped_before_its_first_poll_never_was() {
    let (tape, observer) = observer();
    let service = stack!(observer, service_fn(|()| pending::<Result<(), BoxError>>()));
    let future = service.send(());
    advance(SECOND).await;
    drop(future);
    assert_eq!(tape.events(), []);
}

#[tokio::test(start_paused = true)]
async fn a_call_that_was_dropped_mid_flight_is_told_as_cancelled() {
    let (tape, observer) = observer();
    let service = stack!(observer, service_fn(|()| pending::<Result<(), BoxError>>()));
    let mut future = Box::pin(service.send(()));
    assert!(poll(&mut future).is_pending());
    advance(SECOND).await;
    drop(future);
    assert_eq!(
        tape.events(),
        [STARTED, attempt(Outcome::Cancelled, SECOND), call(Outcome::Cancelled, SECOND)]
    );
}

#[tokio::test(start_paused = true)]
async fn a_call_that_panicked_is_told_as_that_and_stays_a_panic() {
    async fn bug() -> Result<(), BoxError> {
        sleep(SECOND).await;
        panic!("a bug");
    }
    let (tape, observer) = observer();
    let service = stack!(observer, service_fn(|()| bug()));
    AssertUnwindSafe(service.oneshot(())).catch_unwind().await.expect_err("it panics");
    assert_eq!(tape.events(), [STARTED, attempt(Outcome::Panicked, SECOND), call(Outcome::Panicked, SECOND)]);
}

#[tokio::test(start_paused = true)]
async fn a_call_whose_future_outlives_its_answer_is_not_told_again() {
    let (tape, observer) = observer();
    let service = stack!(observer, service_fn(|()| async { Ok::<_, BoxError>(()) }));
    let mut future = Box::pin(service.send(()));
    assert!(poll(&mut future).is_ready());
    drop(future);
    assert_eq!(tape.events().len(), 3);
}

#[tokio::test(start_paused = true)]
async fn a_call_is_told_once_when_a_sink_panics() {
    struct Bug(Tape);

    impl Sink for Bug {
        fn interest(&self) -> Interest {
            Interest::ALL
        }

        fn record(&self, pipeline: &Name, event: &Event) {
            self.0.record(pipeline, event);
            assert!(!matches!(event, Event::CallFinished { .. }), "a bug");
        }
    }

    let bug = Arc::new(Bug(Tape::new()));
    let observer = Registry::new().observer(&Name::literal("ledger")).sink(bug.clone());
    let service = stack!(observer, service_fn(|()| async { Ok::<_, BoxError>(()) }));
    service.oneshot(()).await.expect("the sink's bug is not the call's");
    let zero = Duration::ZERO;
    assert_eq!(bug.0.events(), [STARTED, attempt(Outcome::Success, zero), call(Outcome::Success, zero)]);
}

#[tokio::test(start_paused = true)]
async fn an_attempt_that_was_refused_on_this_side_does_not_end_as_one() {
    let (tape, observer) = observer();
    let service = stack!(
        observer,
        service_fn(|()| async {
            Err::<(), BoxError>(Rejected::new(&Name::literal("below"), Reason::CircuitOpen).into())
        })
    );
    service.oneshot(()).await.expect_err("refused");
    assert_eq!(tape.events(), [STARTED, call(Outcome::Rejected, Duration::ZERO)]);
}

#[tokio::test(start_paused = true)]
async fn an_attempt_that_hung_is_told_as_timeout_and_ends_before_its_call() {
    let (tape, observer) = observer();
    let leaf = Leaf::<ByError>::default();
    let timeout = TimeoutPolicy::new(SECOND, Reason::Timeout, observer.clone(), leaf);
    let attempts = AttemptTelemetryPolicy::new(observer.clone(), timeout);
    let policy = CallTelemetryPolicy::new(observer, Side::Internal, attempts);
    let service = Stack::new(Arc::new(policy), service_fn(|()| pending::<Result<(), BoxError>>()));
    service.oneshot(()).await.expect_err("it hangs");
    let timed_out = Event::TimedOut { reason: Reason::Timeout };
    let expected = [STARTED, timed_out, attempt(Outcome::Timeout, SECOND), call(Outcome::Timeout, SECOND)];
    assert_eq!(tape.events(), expected);
}

#[tokio::test(start_paused = true)]
async fn the_layers_classifier_has_the_verdict() {
    let (tape, observer) = observer();
    let layer = TelemetryLayer::new("replaced")
        .classify(|result: Result<&u16, &BoxError>| match result {
            Ok(503) => Class::TRANSIENT,
            _ => Class::Success,
        })
        .observer(observer);
    let mut service = layer.layer(service_fn(|status: u16| async move { Ok::<_, BoxError>(status) }));
    for status in [503, 200] {
        service.ready().await.expect("ready").call(status).await.expect("an answer");
    }
    let zero = Duration::ZERO;
    assert_eq!(tape.events(), [call(Outcome::Transient, zero), call(Outcome::Success, zero)]);
    assert_eq!(tape.entries()[0].0.as_str(), "ledger");
}

#[test]
#[should_panic(expected = "a pipeline needs a name")]
fn a_layer_without_a_name_is_refused() {
    let _ = TelemetryLayer::new("");
}
