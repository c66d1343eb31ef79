#![allow(clippy::unwrap_used, reason = "a test may fail by panic")]

use std::{
    convert::Infallible,
    io,
    pin::Pin,
    sync::{
        Arc,
        atomic::{AtomicU32, Ordering},
    },
    task::{Context, Poll},
    time::Duration,
};

use proptest::prelude::*;
use tokio::time::{Instant, advance, sleep, timeout};
use tower::{Service, ServiceBuilder, ServiceExt, service_fn};

use super::{
    Backoff, Retry, RetryLayer,
    config::{Failed, RetryConfig},
};
use crate::{
    BoxError, Class, Deadline, Name, Once, Ratio, Reason, Registry, Rejected, Repeat, Repeatable,
    RetryBudget,
    cells::Cells,
    event::{Event, GaveUp, Outcome, RetryResult},
    golden,
    latency::Quantile,
    observer::Observer,
    random::Random,
    record::Tape,
};

const MS: Duration = Duration::from_millis(1);
const GO: Repeatable<()> = Repeatable(());

/// What the service does at one attempt: a result of a class.
#[derive(Clone, Copy, Debug)]
enum Does {
    Answer(u32),
    /// An answer that the classifier calls transient.
    BadAnswer,
    Fail(Class),
    Refuse(Reason),
    GetStuck,
    NotGetReady,
}

/// An error that carries its class, and which attempt it is of.
#[derive(Debug, thiserror::Error)]
#[error("attempt {attempt} failed: {class:?}")]
struct Broken {
    class: Class,
    attempt: u32,
}

fn by_failed(result: Result<&u32, &BoxError>) -> Class {
    match result {
        Ok(&0) => Class::TRANSIENT,
        Ok(_) => Class::Success,
        Err(error) => match error.downcast_ref::<Broken>() {
            Some(failed) => failed.class,
            None => crate::classify::known(error).unwrap_or(Class::CallerFault),
        },
    }
}

type ByFailed = fn(Result<&u32, &BoxError>) -> Class;

/// A service that does the steps of a script and counts. Panics when it is called without having said it is ready.
struct Scripted {
    script: Arc<[Does]>,
    attempts: Arc<AtomicU32>,
    /// Responses and futures that are alive.
    held: Arc<()>,
    ready: bool,
}

impl Scripted {
    fn new(script: impl Into<Arc<[Does]>>) -> Self {
        Self { script: script.into(), attempts: Arc::default(), held: Arc::default(), ready: false }
    }

    fn attempts(&self) -> u32 {
        self.attempts.load(Ordering::Relaxed)
    }
}

impl Clone for Scripted {
    fn clone(&self) -> Self {
        let Self { script, attempts, held, .. } = self;
        Self { script: script.clone(), attempts: attempts.clone(), held: held.clone(), ready: false }
    }
}

impl<T> Service<T> for Scripted {
    type Response = u32;
    type Error = BoxError;
    type Future = Pin<Box<dyn Future<Output = Result<u32, BoxError>> + Send>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), BoxError>> {
        let attempt = self.attempts.load(Ordering::Relaxed);
        if let Some(Does::NotGetReady) = self.script.get(attempt as usize) {
            self.attempts.fetch_add(1, Ordering::Relaxed);
            return Poll::Ready(Err(Broken { class: Class::TRANSIENT, attempt: attempt + 1 }.into()));
        }
        self.ready = true;
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, _: T) -> Self::Future {
        assert!(std::mem::take(&mut self.ready), "called without having said that it is ready");
        let attempt = self.attempts.fetch_add(1, Ordering::Relaxed) + 1;
        let does = *self.script.get(attempt as usize - 1).expect("the script covers every attempt");
        let held = Arc::clone(&self.held);
        Box::pin(async move {
            let result = match does {
                Does::Answer(answer) => Ok(answer),
                Does::BadAnswer => Ok(0),
                Does::Fail(class) => Err(Broken { class, attempt }.into()),
                Does::Refuse(reason) => Err(Rejected::new(&Name::literal("inner"), reason).into()),
                Does::GetStuck => std::future::pending().await,
                Does::NotGetReady => unreachable!("poll_ready says so"),
            };
            drop(held);
            result
        })
    }
}

/// A layer without jitter, whose delays are 10 ms, or 100 ms when throttled.
fn layer() -> RetryLayer<ByFailed> {
    RetryLayer::new()
        .backoff(Backoff::constant(10 * MS))
        .throttled_backoff(Backoff::constant(100 * MS))
        .classify(by_failed as ByFailed)
}

fn observed(layer: RetryLayer<ByFailed>) -> (RetryLayer<ByFailed>, Arc<Cells>) {
    let cells = Arc::<Cells>::default();
    (layer.observer(Observer::new(Name::literal("test"), Arc::clone(&cells))), cells)
}

const DOWN: Does = Does::Fail(Class::TRANSIENT);

/// Runs one call through the layer: its result, the attempts it took and the time.
async fn run(layer: &RetryLayer<ByFailed>, script: &[Does]) -> (Result<u32, BoxError>, u32, Duration) {
    let service = Scripted::new(script);
    let start = Instant::now();
    let result = ServiceBuilder::new().layer(layer).service(service.clone()).oneshot(GO).await;
    (result, service.attempts(), start.elapsed())
}

fn attempt_of(error: &BoxError) -> Option<u32> {
    error.downcast_ref::<Broken>().map(|failed| failed.attempt)
}

#[tokio::test(start_paused = true)]
async fn passing_failure_is_tried_again_after_the_backoff() {
    let (result, attempts, took) = run(&layer(), &[DOWN, DOWN, Does::Answer(7)]).await;
    assert_eq!((result.ok(), attempts, took), (Some(7), 3, 20 * MS));
}

#[tokio::test(start_paused = true)]
async fn last_error_comes_back_unwrapped_and_at_once() {
    let (result, attempts, took) = run(&layer(), &[DOWN; 3]).await;
    assert_eq!((attempt_of(&result.unwrap_err()), attempts, took), (Some(3), 3, 20 * MS));
}

#[tokio::test(start_paused = true)]
async fn only_transient_and_throttled_are_tried_again() {
    for (class, attempts_made) in [
        (Class::Transient { retry_after: Some(Class::NEVER) }, 1),
        (Class::Throttled { retry_after: Some(Class::NEVER) }, 1),
        (Class::CallerFault, 1),
        (Class::Fault, 1),
        (Class::Neutral, 1),
        (Class::TRANSIENT, 2),
        (Class::THROTTLED, 2),
    ] {
        let (_, attempts, _) = run(&layer(), &[Does::Fail(class), Does::Answer(1)]).await;
        assert_eq!(attempts, attempts_made, "{class:?}");
    }
    let (_, attempts, _) = run(&layer(), &[Does::Answer(1)]).await;
    assert_eq!(attempts, 1);
}

#[tokio::test(start_paused = true)]
async fn throttled_call_waits_longer() {
    let (result, _, took) = run(&layer(), &[Does::Fail(Class::THROTTLED), DOWN, Does::Answer(1)]).await;
    assert_eq!((result.ok(), took), (Some(1), 110 * MS));
}

#[tokio::test(start_paused = true)]
async fn request_that_must_not_be_sent_twice_is_not() {
    let service = Scripted::new([DOWN, Does::Answer(1)]);
    let error = layer().layer_on(service.clone()).oneshot(Once(())).await.unwrap_err();
    assert_eq!((attempt_of(&error), service.attempts()), (Some(1), 1));
}

#[tokio::test(start_paused = true)]
async fn each_attempt_gets_the_same_request_and_the_last_makes_no_copy() {
    struct Counted(Arc<AtomicU32>);
    impl Repeat for Counted {
        fn again(&self) -> Option<Self> {
            self.0.fetch_add(1, Ordering::Relaxed);
            Some(Self(Arc::clone(&self.0)))
        }
    }
    for (attempts, copies) in [(1, 0), (2, 1), (3, 2)] {
        let copied = Arc::<AtomicU32>::default();
        let service = layer().attempts(attempts).layer_on(Scripted::new([DOWN; 3]));
        service.oneshot(Counted(Arc::clone(&copied))).await.unwrap_err();
        assert_eq!(copied.load(Ordering::Relaxed), copies);
    }
}

#[tokio::test(start_paused = true)]
async fn retry_that_cannot_finish_is_not_waited_for_and_charges_nothing() {
    let budget = RetryBudget::new().ratio(Ratio::ZERO);
    let layer = layer().budget(budget.clone()).min_useful_attempt(5 * MS);
    for (left, expected) in [(15 * MS, (2, 10 * MS)), (14 * MS, (1, Duration::ZERO))] {
        let before = budget.remaining(Instant::now()).unwrap();
        let (result, attempts, took) =
            Deadline::after(left).scope(run(&layer, &[DOWN, Does::Fail(Class::Fault)])).await;
        assert_eq!((attempts, took), expected);
        assert_eq!(attempt_of(&result.unwrap_err()), Some(attempts));
        let spent = before - budget.remaining(Instant::now()).unwrap();
        assert_eq!(spent, u64::from(attempts - 1));
    }
}

#[tokio::test(start_paused = true)]
async fn empty_budget_ends_the_call_at_once() {
    let layer = layer().budget(RetryBudget::new().ratio(Ratio::ZERO).min_per_second(1));
    let (result, attempts, took) = run(&layer, &[DOWN; 3]).await;
    assert_eq!((attempt_of(&result.unwrap_err()), attempts, took), (Some(2), 2, 10 * MS));
}

#[tokio::test(start_paused = true)]
async fn only_first_attempts_deposit_and_only_when_they_are_polled() {
    let budget = RetryBudget::new().ratio(Ratio::ONE).min_per_second(0);
    let service = layer().budget(budget.clone()).layer_on(Scripted::new([DOWN; 3]));
    drop(service.clone().oneshot(GO));
    assert_eq!(budget.remaining(Instant::now()), Some(0));
    service.oneshot(GO).await.unwrap_err();
    // One first attempt earned one retry, which the second attempt spent; it earned nothing itself.
    assert_eq!(budget.remaining(Instant::now()), Some(0));
}

#[tokio::test(start_paused = true)]
async fn outage_costs_the_budget_and_no_more() {
    let attempts = Arc::<AtomicU32>::default();
    let counter = Arc::clone(&attempts);
    let down = service_fn(move |_: Repeatable<()>| {
        counter.fetch_add(1, Ordering::Relaxed);
        async { Err::<u32, BoxError>(io::Error::from(io::ErrorKind::ConnectionRefused).into()) }
    });
    let service = RetryLayer::new().backoff(Backoff::none()).layer_on(down);
    for _ in 0..1_000 {
        service.clone().oneshot(GO).await.unwrap_err();
    }
    assert_eq!(attempts.load(Ordering::Relaxed), 1_000 + 200 + 10);
}

#[tokio::test(start_paused = true)]
async fn hint_adds_five_seconds_at_most_unless_it_is_trusted() {
    let second = 1_000 * MS;
    for (hint, waited) in [(second, second), (86_400 * second, 5 * second + 10 * MS), (MS, 10 * MS)] {
        let throttled = Does::Fail(Class::Transient { retry_after: Some(hint) });
        let (_, _, took) = run(&layer(), &[throttled, Does::Answer(1)]).await;
        assert_eq!(took, waited, "hint {hint:?}");
        let (_, _, took) = run(&layer().trust_hints(), &[throttled, Does::Answer(1)]).await;
        assert_eq!(took, hint.max(10 * MS), "trusted hint {hint:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn last_refusal_on_this_side_gives_the_dependencys_own_error_back() {
    let open = Does::Refuse(Reason::CircuitOpen);
    let (result, attempts, _) = run(&layer(), &[DOWN, open]).await;
    assert_eq!((attempt_of(&result.unwrap_err()), attempts), (Some(1), 2));
    let (result, ..) = run(&layer(), &[DOWN, DOWN, open]).await;
    assert_eq!(attempt_of(&result.unwrap_err()), Some(2));
    for script in [&[open][..], &[Does::BadAnswer, open]] {
        let (result, ..) = run(&layer(), script).await;
        let error = result.unwrap_err();
        assert_eq!(Rejected::find(&*error).map(Rejected::reason), Some(Reason::CircuitOpen), "{script:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn timeout_of_an_attempt_is_tried_again() {
    let (result, ..) = run(&layer(), &[Does::Refuse(Reason::Timeout), Does::Answer(4)]).await;
    assert_eq!(result.ok(), Some(4));
}

#[tokio::test(start_paused = true)]
async fn failed_attempt_holds_nothing_while_the_next_is_waited_for() {
    let service = Scripted::new([DOWN, Does::Answer(1)]);
    let held = Arc::clone(&service.held);
    let mut call = tokio_test::task::spawn(layer().layer_on(service).oneshot(GO));
    assert!(call.poll().is_pending());
    // Ours, and the service's in the seat. The oneshot has given its own up.
    assert_eq!(Arc::strong_count(&held), 2);
    advance(10 * MS).await;
    assert!(call.poll().is_ready());
}

#[tokio::test(start_paused = true)]
async fn failed_response_is_dropped_before_the_wait() {
    struct Response(Arc<()>);
    let held = Arc::new(());
    let given = Arc::clone(&held);
    let service = service_fn(move |_: Repeatable<()>| {
        let response = Response(Arc::clone(&given));
        async move { Ok::<_, Infallible>(response) }
    });
    let layer = RetryLayer::new()
        .backoff(Backoff::constant(MS))
        .classify(|_: Result<&Response, &BoxError>| Class::TRANSIENT);
    let alive = Arc::strong_count(&held);
    let mut call = tokio_test::task::spawn(layer.layer_on(service).oneshot(GO));
    assert!(call.poll().is_pending());
    assert_eq!(Arc::strong_count(&held), alive);
    advance(MS).await;
    assert!(call.poll().is_pending());
    advance(MS).await;
    match call.poll() {
        Poll::Ready(Ok(Response(last))) => assert!(Arc::ptr_eq(&last, &held), "the last one is the caller's"),
        _ => panic!("the last failed response is an answer all the same"),
    }
}

#[tokio::test(start_paused = true)]
async fn service_that_fails_to_get_ready_again_has_failed_the_attempt() {
    let (result, attempts, _) = run(&layer(), &[DOWN, Does::NotGetReady, Does::Answer(3)]).await;
    assert_eq!((result.ok(), attempts), (Some(3), 3));
    let (result, ..) = run(&layer(), &[DOWN, Does::NotGetReady, Does::NotGetReady]).await;
    assert_eq!(attempt_of(&result.unwrap_err()), Some(3));
}

#[tokio::test(start_paused = true)]
async fn permit_of_a_failed_attempt_is_free_during_the_wait() {
    let service = ServiceBuilder::new().layer(layer()).concurrency_limit(1).service(Scripted::new([
        DOWN,
        Does::Answer(8),
        Does::Answer(9),
    ]));
    let first = tokio::spawn(service.clone().oneshot(GO));
    sleep(5 * MS).await;
    assert_eq!(timeout(MS, service.oneshot(GO)).await.expect("the permit is free").unwrap(), 8);
    assert_eq!(first.await.unwrap().unwrap(), 9);
}

#[tokio::test(start_paused = true)]
async fn dropped_call_sends_nothing_more_and_lets_everything_go() {
    for script in [[DOWN, Does::Answer(1)], [Does::GetStuck, Does::Answer(1)]] {
        let service = Scripted::new(script);
        timeout(5 * MS, layer().layer_on(service.clone()).oneshot(GO)).await.unwrap_err();
        sleep(1_000 * MS).await;
        assert_eq!(service.attempts(), 1);
        assert_eq!(Arc::strong_count(&service.held), 1);
    }
}

#[tokio::test(start_paused = true)]
async fn what_became_of_the_call_is_told_once() {
    let (layer, cells) = observed(layer());
    let told = || RetryResult::ALL.map(|result| cells.retries(result));
    run(&layer, &[Does::Answer(1)]).await.0.unwrap();
    run(&layer, &[Does::Fail(Class::Fault)]).await.0.unwrap_err();
    assert_eq!(told(), [2, 0, 0, 0]);
    run(&layer, &[DOWN, Does::Answer(1)]).await.0.unwrap();
    run(&layer, &[DOWN; 3]).await.0.unwrap_err();
    run(&layer, &[DOWN, Does::Fail(Class::Fault)]).await.0.unwrap_err();
    assert_eq!((told(), cells.retries_scheduled()), ([2, 1, 2, 0], 4));
    let poor = layer.budget(RetryBudget::new().min_per_second(0));
    run(&poor, &[DOWN]).await.0.unwrap_err();
    assert_eq!((told(), cells.retries_scheduled()), ([2, 1, 2, 1], 4));
}

#[tokio::test(start_paused = true)]
async fn why_there_was_no_further_attempt_is_told_and_counted() {
    async fn reasons(layer: RetryLayer<ByFailed>, script: &[Does]) -> Vec<Option<GaveUp>> {
        let (tape, cells) = (Arc::new(Tape::new()), Arc::<Cells>::default());
        let observer = Observer::new(Name::literal("test"), Arc::clone(&cells)).sink(tape.clone());
        run(&layer.observer(observer), script).await.0.ok();
        let gave_up = |event| match event {
            Event::RetryFinished { gave_up, .. } => Some(gave_up),
            _ => None,
        };
        let told: Vec<_> = tape.events().into_iter().filter_map(gave_up).collect();
        let counted: Vec<_> = GaveUp::ALL.into_iter().filter(|&why| cells.gave_up(why) == 1).collect();
        assert_eq!(counted, told.iter().filter_map(|&gave_up| gave_up).collect::<Vec<_>>());
        told
    }
    assert_eq!(reasons(layer(), &[DOWN, Does::Answer(1)]).await, [None]);
    assert_eq!(reasons(layer(), &[DOWN, Does::Fail(Class::Fault)]).await, [Some(GaveUp::Class)]);
    assert_eq!(reasons(layer(), &[DOWN; 3]).await, [Some(GaveUp::Exhausted)]);
    let poor = layer().budget(RetryBudget::new().min_per_second(0));
    assert_eq!(reasons(poor, &[DOWN]).await, [Some(GaveUp::Budget)]);
    let late = Deadline::after(10 * MS).scope(reasons(layer(), &[DOWN]));
    assert_eq!(late.await, [Some(GaveUp::Deadline)]);
}

/// A request that must not be sent twice, and may be when the service has not begun.
struct Payment;

impl Repeat for Payment {
    fn again(&self) -> Option<Self> {
        None
    }

    fn if_unprocessed(&self) -> Option<Self> {
        Some(Self)
    }
}

/// How often a payment is sent to a service whose attempts end so, in this order.
async fn sent(layer: RetryLayer<ByFailed>, ends: &'static [Result<u32, io::ErrorKind>]) -> usize {
    let attempts = Arc::<AtomicU32>::default();
    let counter = Arc::clone(&attempts);
    let service = service_fn(move |_: Payment| {
        let end = ends[counter.fetch_add(1, Ordering::Relaxed) as usize];
        async move { end.map_err(io::Error::from) }
    });
    let result = layer.layer_on(service).oneshot(Payment).await;
    let attempts = attempts.load(Ordering::Relaxed) as usize;
    assert_eq!(result.is_ok(), ends[attempts - 1].is_ok(), "the last attempt decides");
    attempts
}

#[tokio::test(start_paused = true)]
async fn what_was_never_processed_is_sent_again_once_whatever_the_request() {
    use io::ErrorKind::{ConnectionRefused as Refused, ConnectionReset as Reset};
    assert_eq!(sent(layer(), &[Err(Refused), Ok(1)]).await, 2);
    assert_eq!(sent(layer(), &[Err(Refused), Err(Refused), Ok(1)]).await, 2, "once");
    assert_eq!(sent(layer(), &[Err(Reset), Ok(1)]).await, 1, "it may have been processed");
    assert_eq!(sent(layer(), &[Err(Refused), Err(Reset), Ok(1)]).await, 2);
    let poor = layer().budget(RetryBudget::new().min_per_second(0));
    assert_eq!(sent(poor, &[Err(Refused), Ok(1)]).await, 1, "the budget is asked as ever");
    let told = layer().never_processed(|error| {
        error.downcast_ref().is_some_and(|error: &io::Error| error.kind() == io::ErrorKind::NotConnected)
    });
    assert_eq!(sent(told.clone(), &[Err(io::ErrorKind::NotConnected), Ok(1)]).await, 2);
    assert_eq!(sent(told, &[Err(Refused), Ok(1)]).await, 1, "the user's word is the whole of it");
}

#[tokio::test(start_paused = true)]
async fn a_useful_attempt_takes_as_long_as_half_of_the_successes_do() {
    let attempts = Arc::<AtomicU32>::default();
    let counter = Arc::clone(&attempts);
    // A repeated call is made twice: it fails at once, then it succeeds after 100 ms.
    let service = layer().layer_on(service_fn(move |Repeatable(fails): Repeatable<bool>| {
        let first = fails && counter.fetch_add(1, Ordering::Relaxed) % 2 == 0;
        async move {
            if first {
                return Err(io::Error::from(io::ErrorKind::ConnectionReset));
            }
            sleep(100 * MS).await;
            Ok(1)
        }
    }));
    let within = |left, fails| Deadline::after(left).scope(service.clone().oneshot(Repeatable(fails)));
    let hurried = |left| within(left, true);
    // Nothing is known yet, so an attempt that would have 90 ms is made.
    hurried(100 * MS).await.unwrap();
    for _ in 0..20 {
        within(1_000 * MS, false).await.unwrap();
    }
    hurried(100 * MS).await.unwrap_err();
    assert_eq!(attempts.load(Ordering::Relaxed), 3, "90 ms are known to be too little");
    attempts.fetch_add(1, Ordering::Relaxed);
    hurried(120 * MS).await.unwrap();
    assert_eq!(attempts.load(Ordering::Relaxed), 6);
}

#[tokio::test(start_paused = true)]
async fn functions_of_the_user_that_panic_cost_their_own_call_and_nothing_else() {
    #[derive(Clone, Copy)]
    enum Ask {
        Answer,
        FailRepeatable,
        FailOnce,
    }
    impl Repeat for Ask {
        fn again(&self) -> Option<Self> {
            matches!(self, Self::FailRepeatable).then_some(*self)
        }

        fn if_unprocessed(&self) -> Option<Self> {
            Some(*self)
        }
    }
    let bugs = [
        (RetryLayer::new().backoff(Backoff::custom(|_| panic!("a bug"))), Ask::FailRepeatable),
        (RetryLayer::new().never_processed(|_| panic!("a bug")), Ask::FailOnce),
    ];
    for (bug, failing) in bugs {
        let service = service_fn(async |ask: Ask| match ask {
            Ask::Answer => Ok(7),
            _ => Err(io::Error::from(io::ErrorKind::ConnectionReset)),
        });
        let builder = golden::client("buggy").timeout(1_000 * MS).no_fallback().registry(&Registry::new());
        let client = builder.bulkhead(1).retry(bug).service(service);
        let failed = client.clone();
        tokio::spawn(async move { failed.send(failing).await }).await.unwrap_err();
        assert_eq!(client.send(Ask::Answer).await.unwrap(), 7, "the place is free");
        let counts = client.handle().counts();
        assert_eq!((counts.calls(Outcome::Panicked), counts.first_attempts()), (1, 2));
    }
}

#[tokio::test(start_paused = true)]
async fn seed_fixes_every_delay() {
    async fn total(seed: u64) -> Duration {
        let layer = RetryLayer::new().seed(seed).classify(by_failed as ByFailed);
        run(&layer, &[DOWN, DOWN, Does::Answer(1)]).await.2
    }
    assert_eq!(total(1).await, total(1).await);
    assert_ne!(total(1).await, total(2).await);
}

#[tokio::test(start_paused = true)]
async fn services_of_one_layer_share_the_budget_and_a_setter_makes_another() {
    let empty =
        |layer: RetryLayer<ByFailed>| async move { run(&layer, &[DOWN, Does::Answer(1)]).await.1 == 1 };
    let layer = layer();
    for _ in 0..12 {
        run(&layer, &[DOWN, Does::Answer(1)]).await.0.ok();
    }
    assert!(empty(layer.clone()).await);
    assert!(!empty(layer.clone().attempts(2)).await);
    let shared = RetryBudget::new().ratio(Ratio::ZERO).min_per_second(1);
    assert!(!empty(layer.clone().budget(shared.clone())).await);
    assert!(empty(layer.budget(shared).attempts(2)).await);
}

#[test]
#[should_panic(expected = "the first attempt counts too")]
fn no_attempts_at_all_are_refused() {
    let _ = RetryLayer::new().attempts(0);
}

/// `layer.layer(service)`, whose name would clash with the tests' own `layer`.
trait LayerOn<C> {
    fn layer_on<S>(self, service: S) -> Retry<S, C>;
}

impl<C> LayerOn<C> for RetryLayer<C> {
    fn layer_on<S>(self, service: S) -> Retry<S, C> {
        tower::Layer::layer(&self, service)
    }
}

fn classes() -> impl Strategy<Value = Class> {
    let hint = || prop::option::of((0_u64..100_000).prop_map(Duration::from_millis));
    prop_oneof![
        Just(Class::CallerFault),
        Just(Class::Fault),
        Just(Class::Neutral),
        hint().prop_map(|retry_after| Class::Transient { retry_after }),
        hint().prop_map(|retry_after| Class::Throttled { retry_after }),
    ]
}

proptest! {
    #[test]
    fn the_first_no_decides_and_only_a_yes_is_charged(
        class in classes(),
        attempt in 1_u32..5,
        repeatable: bool,
        left in prop::option::of(0_u64..10_000),
        tokens in 0_u32..2,
        trust_hints: bool,
        seed: u64,
    ) {
        let now = Instant::now();
        let config = RetryConfig { trust_hints, ..RetryConfig::default() };
        let budget = RetryBudget::new().ratio(Ratio::ZERO).min_per_second(tokens);
        let failed = Failed {
            class,
            made: attempt,
            repeatable,
            previous: Duration::ZERO,
            now,
            deadline: left.map(|ms| now + Duration::from_millis(ms)),
        };
        let answer = config.next(&failed, &budget, &Random::seeded(seed), &Quantile::new(Ratio::percent(50)));
        let charged = u64::from(tokens) - budget.remaining(now).unwrap();
        prop_assert_eq!(charged, u64::from(answer.is_ok()));
        match answer {
            Err(GaveUp::Class) => prop_assert!(!class.is_retryable()),
            Err(GaveUp::NotRepeatable) => prop_assert!(class.is_retryable() && !repeatable),
            Err(GaveUp::Exhausted) => prop_assert!(class.is_retryable() && repeatable && attempt >= 3),
            Err(GaveUp::Deadline) => prop_assert!(repeatable && attempt < 3 && left.is_some()),
            Err(GaveUp::Budget) => prop_assert!(repeatable && attempt < 3 && tokens == 0),
            Ok(delay) => {
                prop_assert!(class.is_retryable() && repeatable && attempt < 3);
                prop_assert!(left.is_none_or(|ms| delay + MS <= Duration::from_millis(ms)));
                let hint = class.retry_after().unwrap_or_default();
                let throttled = matches!(class, Class::Throttled { .. });
                let base = if throttled { 1_000 * MS } else { 50 * MS };
                let bound = base * 2_u32.pow(attempt - 1);
                prop_assert!(delay <= bound.max(hint));
                let least = if trust_hints { hint } else { hint.min(5_000 * MS) };
                prop_assert!(least <= delay);
            }
        }
    }
}
