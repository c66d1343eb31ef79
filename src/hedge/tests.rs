#![allow(clippy::unwrap_used, reason = "a test may fail by panic")]

use std::{
    convert::Infallible,
    panic::{AssertUnwindSafe, catch_unwind},
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering::Relaxed},
    },
    time::Duration,
};

use futures::future::join_all;
use tokio::time::{Instant, advance, sleep, timeout};
use tower::{BoxError, Layer, Service, ServiceExt, service_fn};

use super::{HedgeLayer, Hedging, config::Trigger};
use crate::{
    Class, Deadline, Name, Once, Ratio, Reason, Registry, Rejected, Repeat, Repeatable, RetryBudget,
    cells::Cells,
    event::{AttemptKind, Event, HedgeResult, Outcome},
    golden,
    observer::Observer,
    random::Random,
    record::Tape,
    retry::RetryLayer,
};

const MS: Duration = Duration::from_millis(1);
const GO: Repeatable<()> = Repeatable(());
/// The delay of the layer under test.
const DELAY: Duration = Duration::from_millis(10);

/// What one copy does: it ends so, after this time.
#[derive(Clone, Copy, Debug)]
struct Does(u32, End);

#[derive(Clone, Copy, Debug)]
enum End {
    Answer,
    Fail(Class),
    Refuse,
    Hang,
    Panic,
}

const HANGS: Does = Does(0, End::Hang);

/// An error that carries its class, and which copy it is of.
#[derive(Debug, thiserror::Error)]
#[error("copy {copy} failed: {class:?}")]
struct Broken {
    class: Class,
    copy: usize,
}

fn by_broken(result: Result<&usize, &BoxError>) -> Class {
    match result {
        Ok(_) => Class::Success,
        Err(error) => match error.downcast_ref::<Broken>() {
            Some(broken) => broken.class,
            None => crate::classify::known(error).unwrap_or(Class::CallerFault),
        },
    }
}

type ByBroken = fn(Result<&usize, &BoxError>) -> Class;

/// What is seen at the service.
#[derive(Debug, Default)]
struct Seen {
    sent: AtomicUsize,
    /// Copies that are with the service.
    held: Arc<()>,
}

impl Seen {
    fn sent(&self) -> usize {
        self.sent.load(Relaxed)
    }

    fn in_flight(&self) -> usize {
        Arc::strong_count(&self.held) - 1
    }
}

/// A service whose copies do the steps of a script, and answer with the number of the copy, from 1.
fn scripted<T>(
    script: &'static [Does],
) -> (impl Service<T, Response = usize, Error = BoxError, Future: Send> + Clone, Arc<Seen>) {
    let seen = Arc::<Seen>::default();
    let watch = Arc::clone(&seen);
    let service = service_fn(move |_: T| {
        let copy = watch.sent.fetch_add(1, Relaxed) + 1;
        let Does(millis, end) = *script.get(copy - 1).expect("the script covers every copy");
        let held = Arc::clone(&watch.held);
        async move {
            sleep(millis * MS).await;
            let result = match end {
                End::Answer => Ok(copy),
                End::Fail(class) => Err(Broken { class, copy }.into()),
                End::Refuse => Err(Rejected::new(&Name::literal("inner"), Reason::CircuitOpen).into()),
                End::Hang => std::future::pending().await,
                End::Panic => panic!("the script says so"),
            };
            drop(held);
            result
        }
    });
    (service, seen)
}

fn layer() -> HedgeLayer<ByBroken> {
    HedgeLayer::new().delay(DELAY).classify(by_broken as ByBroken)
}

fn observed(layer: HedgeLayer<ByBroken>) -> (HedgeLayer<ByBroken>, Arc<Cells>) {
    let cells = Arc::<Cells>::default();
    (layer.observer(Observer::new(Name::literal("test"), Arc::clone(&cells))), cells)
}

/// One call: its result, the copies it took, and the time.
async fn run(
    layer: &HedgeLayer<ByBroken>,
    script: &'static [Does],
) -> (Result<usize, BoxError>, usize, Duration) {
    let (service, seen) = scripted(script);
    let start = Instant::now();
    let result = layer.layer(service).oneshot(GO).await;
    assert_eq!(seen.in_flight(), 0, "a copy is still in flight");
    (result, seen.sent(), start.elapsed())
}

/// The result as the copy that gave it, or the error's.
fn copy_of(result: Result<usize, BoxError>) -> Result<usize, Option<usize>> {
    result.map_err(|error| error.downcast_ref::<Broken>().map(|broken| broken.copy))
}

#[tokio::test(start_paused = true)]
async fn a_call_that_is_quick_is_sent_once() {
    let (result, sent, took) = run(&layer(), &[Does(9, End::Answer)]).await;
    assert_eq!((copy_of(result), sent, took), (Ok(1), 1, 9 * MS));
}

#[tokio::test(start_paused = true)]
async fn a_slow_call_is_sent_again_and_the_first_success_wins() {
    let (result, sent, took) = run(&layer(), &[Does(100, End::Answer), Does(5, End::Answer)]).await;
    assert_eq!((copy_of(result), sent, took), (Ok(2), 2, 15 * MS));
    let (result, sent, took) = run(&layer(), &[Does(13, End::Answer), Does(5, End::Answer)]).await;
    assert_eq!((copy_of(result), sent, took), (Ok(1), 2, 13 * MS));
}

#[tokio::test(start_paused = true)]
async fn there_is_one_copy_at_most() {
    let call = timeout(1_000 * MS, run(&layer(), &[HANGS, HANGS])).await;
    assert!(call.is_err(), "the script would have panicked at a third copy");
}

#[tokio::test(start_paused = true)]
async fn a_failure_of_one_copy_leaves_the_other_running() {
    for end in
        [End::Fail(Class::TRANSIENT), End::Fail(Class::THROTTLED), End::Fail(Class::Fault), End::Refuse]
    {
        let scripts: [&'static [Does]; 2] = [
            Box::leak(Box::new([Does(20, End::Answer), Does(1, end)])),
            Box::leak(Box::new([Does(12, end), Does(10, End::Answer)])),
        ];
        let (first, second) = (run(&layer(), scripts[0]).await, run(&layer(), scripts[1]).await);
        assert_eq!((copy_of(first.0), first.1, first.2), (Ok(1), 2, 20 * MS), "{end:?}");
        assert_eq!((copy_of(second.0), second.1, second.2), (Ok(2), 2, 20 * MS), "{end:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_request_that_is_at_fault_is_settled_by_either_copy() {
    let fault = End::Fail(Class::CallerFault);
    let script = Box::leak(Box::new([Does(100, End::Answer), Does(1, fault)]));
    let (result, _, took) = run(&layer(), script).await;
    assert_eq!((copy_of(result), took), (Err(Some(2)), 11 * MS));
    let (result, sent, _) = run(&layer(), Box::leak(Box::new([Does(1, fault)]))).await;
    assert_eq!((copy_of(result), sent), (Err(Some(1)), 1));
}

#[tokio::test(start_paused = true)]
async fn a_passing_failure_sends_the_copy_at_once_unless_it_says_when_to_come_back() {
    let down = &[Does(2, End::Fail(Class::TRANSIENT)), Does(3, End::Answer)];
    let (result, sent, took) = run(&layer(), down).await;
    assert_eq!((copy_of(result), sent, took), (Ok(2), 2, 5 * MS));
    for class in [
        Class::Transient { retry_after: Some(MS) },
        Class::THROTTLED,
        Class::Fault,
        Class::Neutral,
        Class::CallerFault,
    ] {
        let script = Box::leak(Box::new([Does(2, End::Fail(class)), Does(3, End::Answer)]));
        let (result, sent, took) = run(&layer(), script).await;
        assert_eq!((copy_of(result), sent, took), (Err(Some(1)), 1, 2 * MS), "{class:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn where_both_fail_the_later_failure_comes_back_and_a_refusal_hides_none() {
    let fails = End::Fail(Class::TRANSIENT);
    let (result, ..) = run(&layer(), Box::leak(Box::new([Does(20, fails), Does(1, fails)]))).await;
    assert_eq!(copy_of(result), Err(Some(1)));
    let (result, ..) = run(&layer(), Box::leak(Box::new([Does(1, fails), Does(1, fails)]))).await;
    assert_eq!(copy_of(result), Err(Some(2)));
    let (result, ..) = run(&layer(), Box::leak(Box::new([Does(1, fails), Does(1, End::Refuse)]))).await;
    assert_eq!(copy_of(result), Err(Some(1)));
}

#[tokio::test(start_paused = true)]
async fn a_request_that_must_not_be_sent_twice_is_not() {
    let (service, seen) = scripted(&[Does(100, End::Answer)]);
    assert_eq!(layer().layer(service).oneshot(Once(())).await.unwrap(), 1);
    let (service, _) = scripted(&[Does(1, End::Fail(Class::TRANSIENT))]);
    assert_eq!(copy_of(layer().layer(service).oneshot(Once(())).await), Err(Some(1)));
    assert_eq!(seen.sent(), 1);
}

#[tokio::test(start_paused = true)]
async fn the_request_is_copied_once() {
    struct Counted(Arc<AtomicUsize>);
    impl Repeat for Counted {
        fn again(&self) -> Option<Self> {
            self.0.fetch_add(1, Relaxed);
            Some(Self(Arc::clone(&self.0)))
        }
    }
    let copies = Arc::<AtomicUsize>::default();
    let (service, _) = scripted(&[HANGS, Does(1, End::Answer)]);
    layer().layer(service).oneshot(Counted(Arc::clone(&copies))).await.unwrap();
    assert_eq!(copies.load(Relaxed), 1);
}

#[tokio::test(start_paused = true)]
async fn a_request_that_cannot_be_sent_again_any_more_is_not_and_costs_nothing() {
    struct Spoilt;
    impl Repeat for Spoilt {
        fn again(&self) -> Option<Self> {
            Some(Self)
        }
        fn still_repeatable(&self) -> bool {
            false
        }
    }
    let budget = RetryBudget::new();
    let (service, seen) = scripted(&[Does(30, End::Answer)]);
    layer().budget(budget.clone()).layer(service).oneshot(Spoilt).await.unwrap();
    assert_eq!((seen.sent(), budget.remaining(Instant::now())), (1, Some(10)));
}

#[tokio::test(start_paused = true)]
async fn a_copy_that_the_budget_refuses_leaves_the_first_running() {
    let empty = RetryBudget::new().min_per_second(0).ratio(Ratio::ZERO);
    let (layer, cells) = observed(layer().budget(empty));
    let (result, sent, took) = run(&layer, &[Does(50, End::Answer)]).await;
    assert_eq!((copy_of(result), sent, took), (Ok(1), 1, 50 * MS));
    let (result, sent, _) = run(&layer, &[Does(1, End::Fail(Class::TRANSIENT))]).await;
    assert_eq!((copy_of(result), sent), (Err(Some(1)), 1));
    assert_eq!((cells.hedges(HedgeResult::Refused), cells.hedges_sent()), (2, 0));
}

#[tokio::test(start_paused = true)]
async fn every_copy_is_paid_for_and_nothing_else() {
    let budget = RetryBudget::new().min_per_second(10);
    let layer = layer().budget(budget.clone());
    let scripts: [(&'static [Does], u64); 3] = [
        (&[Does(1, End::Answer)], 10),
        (&[HANGS, Does(1, End::Answer)], 9),
        (&[Does(1, End::Fail(Class::TRANSIENT)), Does(1, End::Answer)], 8),
    ];
    for (script, left) in scripts {
        run(&layer, script).await.0.unwrap();
        assert_eq!(budget.remaining(Instant::now()), Some(left));
    }
}

#[tokio::test(start_paused = true)]
async fn a_budget_that_was_given_is_filled_by_the_retry_alone() {
    let budget = RetryBudget::new().ratio(Ratio::ONE).min_per_second(0);
    let alone = layer().budget(budget.clone());
    run(&alone, &[Does(1, End::Answer)]).await.0.unwrap();
    assert_eq!(budget.remaining(Instant::now()), Some(0));
    let (service, _) = scripted(&[Does(1, End::Answer)]);
    let retry = RetryLayer::new().budget(budget.clone());
    retry.layer(layer().budget(budget.clone()).layer(service)).oneshot(GO).await.unwrap();
    assert_eq!(budget.remaining(Instant::now()), Some(1));
}

#[tokio::test(start_paused = true)]
async fn a_budget_of_its_own_is_filled_by_what_reaches_the_service() {
    let layer = layer();
    let service = layer.layer(service_fn(async |_: Repeatable<()>| {
        sleep(20 * MS).await;
        Ok::<_, BoxError>(0)
    }));
    join_all((0..100).map(|_| service.clone().oneshot(GO))).await;
    let Hedging { purse: super::config::Purse::Own(budget), .. } = layer.into_hedging() else {
        panic!("it has a budget of its own")
    };
    // 100 first attempts earned 20, the second has 10: all are spent.
    assert_eq!(budget.remaining(Instant::now()), Some(0));
}

#[tokio::test(start_paused = true)]
async fn no_copy_is_sent_at_or_after_the_deadline() {
    for (left, copies) in [(DELAY, 1), (DELAY + MS, 2)] {
        let layer = layer();
        let call = run(&layer, &[Does(30, End::Answer), Does(30, End::Answer)]);
        let (_, sent, took) = Deadline::after(left).scope(call).await;
        assert_eq!((sent, took), (copies, 30 * MS), "{left:?}");
    }
    let late = &[Does(8, End::Fail(Class::TRANSIENT)), Does(1, End::Answer)];
    let (result, sent, _) = Deadline::after(8 * MS).scope(run(&layer(), late)).await;
    assert_eq!((copy_of(result), sent), (Err(Some(1)), 1));
}

#[tokio::test(start_paused = true)]
async fn dropped_at_any_point_a_call_leaves_nothing_and_is_told_once() {
    static SCRIPT: &[Does] = &[Does(30, End::Fail(Class::TRANSIENT)), Does(40, End::Answer)];
    for polled in [false, true] {
        for after in 0..=60 {
            let (layer, cells) = observed(layer());
            let (service, seen) = scripted(SCRIPT);
            let mut call = tokio_test::task::spawn(layer.layer(service).oneshot(GO));
            let mut ended = false;
            for _ in 0..after {
                if polled && call.poll().is_ready() {
                    ended = true;
                    break;
                }
                advance(MS).await;
            }
            drop(call);
            assert_eq!(seen.in_flight(), 0, "after {after}");
            let hedged = seen.sent() == 2;
            assert_eq!(cells.hedges(HedgeResult::Cancelled), u64::from(hedged && !ended), "after {after}");
            let told: u64 = HedgeResult::ALL.iter().map(|&result| cells.hedges(result)).sum();
            assert_eq!(told, u64::from(hedged), "after {after}");
            if !polled {
                assert_eq!(seen.sent(), 0);
            }
        }
    }
}

#[tokio::test(start_paused = true)]
async fn what_became_of_the_call_is_told_once() {
    let (layer, cells) = observed(layer());
    let fails = End::Fail(Class::TRANSIENT);
    let scripts: [(HedgeResult, &'static [Does]); 4] = [
        (HedgeResult::Unhedged, &[Does(1, End::Answer)]),
        (HedgeResult::Won, &[HANGS, Does(1, End::Answer)]),
        (HedgeResult::Lost, &[Does(11, End::Answer), HANGS]),
        (HedgeResult::Failed, Box::leak(Box::new([Does(1, fails), Does(1, fails)]))),
    ];
    for (result, script) in scripts {
        let before = cells.hedges(result);
        _ = run(&layer, script).await;
        assert_eq!(cells.hedges(result), before + 1, "{result:?}");
    }
    let told: u64 = HedgeResult::ALL.iter().map(|&result| cells.hedges(result)).sum();
    assert_eq!((told, cells.hedges_sent()), (4, 3));
}

#[tokio::test(start_paused = true)]
async fn a_panic_of_one_copy_is_not_told_of_the_other() {
    let registry = Registry::new();
    for script in [&[Does(12, End::Panic), HANGS], &[HANGS, Does(2, End::Panic)]] {
        let name = format!("{script:?}").chars().take(40).collect::<String>();
        let (service, seen) = scripted(script);
        let client = golden::client(&name)
            .timeout(1_000 * MS)
            .no_fallback()
            .registry(&registry)
            .hedge(HedgeLayer::new().delay(DELAY))
            .service(service);
        let handle = client.handle().clone();
        tokio::spawn(async move { client.send(GO).await }).await.unwrap_err();
        assert_eq!(seen.in_flight(), 0);
        let counts = handle.counts();
        assert_eq!(counts.calls(Outcome::Panicked), 1);
        assert_eq!((counts.first_attempts(), counts.hedge_attempts(), counts.retry_attempts()), (1, 1, 0));
        assert_eq!(counts.hedges(HedgeResult::Cancelled), 1);
        assert_eq!(handle.state().bulkhead.unwrap().in_use, 0);
    }
}

#[tokio::test(start_paused = true)]
async fn a_copy_that_panics_while_it_is_dropped_costs_nothing_that_the_other_holds() {
    struct Bomb(bool);
    impl Drop for Bomb {
        fn drop(&mut self) {
            assert!(!self.0, "a bug in the client");
        }
    }
    let sent = Arc::<AtomicUsize>::default();
    let counter = Arc::clone(&sent);
    let client = golden::client("bomb")
        .timeout(1_000 * MS)
        .no_fallback()
        .registry(&Registry::new())
        .hedge(HedgeLayer::new().delay(DELAY))
        .service(service_fn(move |_: Repeatable<()>| {
            let bomb = Bomb(counter.fetch_add(1, Relaxed) == 0);
            async move {
                std::future::pending::<()>().await;
                drop(bomb);
                Ok::<_, BoxError>(())
            }
        }));
    let mut call = Box::pin(client.send(GO));
    assert!(timeout(2 * DELAY, &mut call).await.is_err());
    assert_eq!(sent.load(Relaxed), 2);
    catch_unwind(AssertUnwindSafe(|| drop(call))).expect_err("its panic is its owner's");
    assert_eq!(client.handle().state().bulkhead.unwrap().in_use, 0);
    assert_eq!(client.handle().counts().hedges(HedgeResult::Cancelled), 1);
}

#[tokio::test(start_paused = true)]
async fn in_a_golden_client_the_loser_is_a_cancelled_attempt_and_the_retry_pays() {
    let budget = RetryBudget::new().ratio(Ratio::ZERO).min_per_second(1);
    let (service, seen) = scripted(&[HANGS, Does(1, End::Answer), Does(50, End::Answer)]);
    let client = golden::client("quotes")
        .timeout(1_000 * MS)
        .no_fallback()
        .registry(&Registry::new())
        .hedge(HedgeLayer::new().delay(DELAY))
        .retry(RetryLayer::new().budget(budget.clone()))
        .service(service);
    assert_eq!(client.send(GO).await.unwrap(), 2);
    assert_eq!(seen.in_flight(), 0);
    assert_eq!(budget.remaining(Instant::now()), Some(0));
    assert_eq!(client.send(GO).await.unwrap(), 3);
    let counts = client.handle().counts();
    assert_eq!((counts.first_attempts(), counts.hedge_attempts(), counts.retry_attempts()), (2, 1, 0));
    assert_eq!([HedgeResult::Won, HedgeResult::Refused].map(|result| counts.hedges(result)), [1, 1]);
    assert_eq!(client.handle().state().bulkhead.unwrap().in_use, 0);
}

#[tokio::test(start_paused = true)]
async fn every_attempt_of_a_call_has_a_number_of_its_own() {
    use AttemptKind::{First, Hedge, Retry};

    let fails = End::Fail(Class::TRANSIENT);
    // The copy leaves at once, then after its delay; the last attempt is answered before it is due.
    let script = Box::leak(Box::new([
        Does(1, fails),
        Does(1, fails),
        Does(12, fails),
        Does(5, fails),
        Does(1, End::Answer),
    ]));
    let (service, _) = scripted(script);
    let tape = Arc::new(Tape::new());
    let client = golden::client("numbered")
        .timeout(10_000 * MS)
        .no_fallback()
        .classify(by_broken as ByBroken)
        .registry(&Registry::new())
        .sink(tape.clone())
        .hedge(HedgeLayer::new().delay(DELAY))
        .service(service);
    assert_eq!(client.send(GO).await.unwrap(), 5);
    let (mut started, mut ended, mut announced) = (Vec::new(), Vec::new(), Vec::new());
    for event in tape.events() {
        match event {
            Event::AttemptStarted { attempt, kind } => started.push((attempt, kind)),
            Event::AttemptFinished { attempt, kind, .. } => ended.push((attempt, kind)),
            Event::RetryScheduled { attempt, .. } => announced.push((attempt, Retry)),
            Event::HedgeSent { attempt, .. } => announced.push((attempt, Hedge)),
            _ => {}
        }
    }
    assert_eq!(started, [(1, First), (2, Hedge), (3, Retry), (4, Hedge), (5, Retry)]);
    assert_eq!(announced, started[1..]);
    ended.sort_by_key(|&(attempt, _)| attempt);
    assert_eq!(ended, started);
    let counts = client.handle().counts();
    assert_eq!((counts.first_attempts(), counts.hedge_attempts(), counts.retry_attempts()), (1, 2, 2));
}

#[tokio::test(start_paused = true)]
async fn a_call_that_waits_for_a_place_is_not_hedged() {
    let (service, seen) = scripted(&[Does(30, End::Answer), Does(1, End::Answer)]);
    let client = golden::client("narrow")
        .timeout(1_000 * MS)
        .no_fallback()
        .registry(&Registry::new())
        .bulkhead(1)
        .hedge(HedgeLayer::new().delay(2 * DELAY).budget(RetryBudget::new().min_per_second(0)))
        .service(service);
    let (first, second) = tokio::join!(client.send(GO), client.send(GO));
    assert_eq!((first.unwrap(), second.unwrap(), seen.sent()), (1, 2, 2));
    let counts = client.handle().counts();
    assert_eq!([HedgeResult::Unhedged, HedgeResult::Refused].map(|result| counts.hedges(result)), [1, 1]);
}

#[tokio::test(start_paused = true)]
async fn nothing_is_hedged_before_the_latencies_are_known() {
    let layer = HedgeLayer::new();
    let sent = Arc::<AtomicUsize>::default();
    let counter = Arc::clone(&sent);
    let service = layer.layer(service_fn(move |Repeatable(millis): Repeatable<u32>| {
        // Only the first copy of a call is as slow as the call asks for.
        let slow = counter.fetch_add(1, Relaxed) % 100 < 99;
        async move {
            sleep(if slow { millis * MS } else { MS }).await;
            Ok::<_, Infallible>(())
        }
    }));
    for _ in 0..19 {
        service.clone().oneshot(Repeatable(10)).await.unwrap();
    }
    service.clone().oneshot(Repeatable(500)).await.unwrap();
    assert_eq!(sent.load(Relaxed), 20);
    for _ in 0..79 {
        service.clone().oneshot(Repeatable(10)).await.unwrap();
    }
    assert_eq!(sent.load(Relaxed), 99);
    sent.store(98, Relaxed);
    let start = Instant::now();
    service.clone().oneshot(Repeatable(500)).await.unwrap();
    assert!(start.elapsed() < 15 * MS, "{:?}", start.elapsed());
    assert_eq!(sent.load(Relaxed), 100);
}

#[test]
fn latencies_are_those_of_answers_and_of_what_was_overtaken() {
    let hedging = Hedging::new();
    for class in [Class::TRANSIENT, Class::Fault, Class::Neutral] {
        (0..100).for_each(|_| hedging.answered(class, 10 * MS));
    }
    assert_eq!(hedging.delay(), None, "failures say nothing");
    (0..100).for_each(|_| hedging.answered(Class::Success, 10 * MS));
    let delay = hedging.delay().unwrap();
    assert!(delay >= 10 * MS && delay < 11 * MS, "{delay:?}");
    (0..1_000).for_each(|_| hedging.unanswered(9 * MS));
    assert_eq!(hedging.delay(), Some(delay), "what was given up early says nothing");
    (0..100).for_each(|_| hedging.unanswered(20 * MS));
    assert!(hedging.delay() > Some(19 * MS));
    (0..100).for_each(|_| hedging.answered(Class::TRANSIENT, 40 * MS));
    assert!(hedging.delay() > Some(39 * MS), "a slow failure is slow");
}

#[test]
fn a_setter_makes_fresh_latencies_and_a_clone_shares_them() {
    let layer = HedgeLayer::new().quantile(Ratio::percent(90));
    let shared = |a: &HedgeLayer, b: &HedgeLayer| match (
        a.clone().into_hedging().trigger,
        b.clone().into_hedging().trigger,
    ) {
        (Trigger::At(a), Trigger::At(b)) => Arc::ptr_eq(&a, &b),
        _ => false,
    };
    assert!(shared(&layer, &layer.clone()));
    assert!(!shared(&layer, &layer.clone().budget(RetryBudget::new())));
}

#[test]
#[should_panic(expected = "a hedge without a delay sends every call twice")]
fn a_delay_of_zero_is_refused() {
    let _ = HedgeLayer::new().delay(Duration::ZERO);
}

/// A dependency with 3 % of its calls twenty times slower, and what 10,000 calls of 20 callers see of it: their latencies,
/// sorted, and the calls that it was sent.
async fn with_a_slow_tail(hedge: Option<HedgeLayer>) -> (Vec<Duration>, usize) {
    let random = Arc::new(Random::seeded(42));
    let sent = Arc::<AtomicUsize>::default();
    let counter = Arc::clone(&sent);
    let service = service_fn(move |_: Repeatable<()>| {
        counter.fetch_add(1, Relaxed);
        let usual = random.duration(8 * MS, 12 * MS);
        let latency = if random.unit() < 0.03 { 20 * usual } else { usual };
        async move {
            sleep(latency).await;
            Ok::<_, BoxError>(())
        }
    });
    let builder = golden::client("tail").timeout(10_000 * MS).no_fallback().registry(&Registry::new());
    let mut latencies = match hedge {
        None => load(builder.service(service)).await,
        Some(layer) => load(builder.hedge(layer).service(service)).await,
    };
    latencies.sort_unstable();
    (latencies, sent.load(Relaxed))
}

async fn load<S>(client: S) -> Vec<Duration>
where
    S: Service<Repeatable<()>, Response = (), Error = BoxError> + Clone,
{
    let callers = (0..20).map(|_| async {
        let mut latencies = Vec::new();
        for _ in 0..500 {
            let start = Instant::now();
            client.clone().oneshot(GO).await.unwrap();
            latencies.push(start.elapsed());
        }
        latencies
    });
    join_all(callers).await.concat()
}

#[tokio::test(start_paused = true)]
async fn hedging_halves_the_99th_percentile_at_under_six_percent_more_calls() {
    let (plain, calls) = with_a_slow_tail(None).await;
    assert_eq!(calls, plain.len());
    let (hedged, sent) = with_a_slow_tail(Some(HedgeLayer::new())).await;
    let p99 = |latencies: &[Duration]| latencies[latencies.len() * 99 / 100];
    let extra = sent - calls;
    assert!(p99(&plain) > 150 * MS, "without hedging the tail shows: {:?}", p99(&plain));
    assert!(2 * p99(&hedged) <= p99(&plain), "{:?} of {:?}", p99(&hedged), p99(&plain));
    assert!(extra * 100 < 6 * calls, "{extra} more calls of {calls}");
}
