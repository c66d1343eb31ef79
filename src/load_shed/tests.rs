//! The machine by its formula, and the layer in front of a dependency in overload, on a paused clock.

use std::{
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use tokio::time::{Instant, advance};
use tower::{BoxError, Layer, ServiceExt, service_fn};

use super::{ThrottleLayer, ThrottlePolicy, machine::ThrottleConfig};
use crate::{
    Class, Name, Ratio, Reason, Registry, Rejected,
    event::Event,
    policy::{Leaf, Stack},
    record::Tape,
    window::Counts,
};

const SECOND: Duration = Duration::from_secs(1);

fn probability(config: &ThrottleConfig, calls: u64, accepts: u64) -> f64 {
    config.probability(Counts { calls, failures: calls - accepts, ..Counts::default() })
}

#[test]
fn the_probability_is_that_of_the_book() {
    let config = ThrottleConfig::default();
    for (requests, accepts, expected) in [
        (1_000, 1_000, 0.0),
        (1_000, 500, 0.0),
        (1_000, 400, 200.0 / 1_001.0),
        (1_000, 100, 800.0 / 1_001.0),
        (1_000, 0, 0.95),
        (119, 0, 0.0),
        (120, 0, 0.95),
        (0, 0, 0.0),
    ] {
        let found = probability(&config, requests, accepts);
        assert!((found - expected).abs() < 1e-12, "{requests} {accepts}: {found}");
    }
    let eager = ThrottleConfig { ratio: 1.1, max_refused: Ratio::percent(50), min_rate: 0, ..config };
    assert!((probability(&eager, 10, 8) - 1.2 / 11.0).abs() < 1e-12);
    assert!((probability(&eager, 10, 0) - 0.5).abs() < 1e-12);
}

/// A dependency that accepts so many calls in each second and says of the others what `refusal` says.
struct Dependency {
    capacity: AtomicU64,
    second: AtomicU64,
    seen: AtomicU64,
    began: Instant,
    refusal: &'static str,
}

impl Dependency {
    fn new(capacity: u64, refusal: &'static str) -> Arc<Self> {
        let (second, seen) = (AtomicU64::new(0), AtomicU64::new(0));
        Arc::new(Self { capacity: AtomicU64::new(capacity), second, seen, began: Instant::now(), refusal })
    }

    fn call(&self) -> Result<(), BoxError> {
        let second = self.began.elapsed().as_secs();
        if self.second.swap(second, Ordering::Relaxed) != second {
            self.seen.store(0, Ordering::Relaxed);
        }
        let seen = self.seen.fetch_add(1, Ordering::Relaxed);
        if seen < self.capacity.load(Ordering::Relaxed) { Ok(()) } else { Err(self.refusal.into()) }
    }
}

fn judge(result: Result<&(), &BoxError>) -> Class {
    match result.map_err(ToString::to_string) {
        Ok(()) => Class::Success,
        Err(error) => match &*error {
            "throttled" => Class::THROTTLED,
            "come back later" => Class::Transient { retry_after: Some(SECOND) },
            "broken" => Class::Fault,
            "passing" => Class::TRANSIENT,
            other => panic!("nobody says {other}"),
        },
    }
}

type Layered = ThrottleLayer<fn(Result<&(), &BoxError>) -> Class>;

fn layer() -> Layered {
    ThrottleLayer::new().seed(7).classify(judge)
}

/// How many calls of a stretch of time reached the dependency, were accepted, and were refused on this side.
#[derive(Debug, Default, PartialEq)]
struct Told {
    sent: u64,
    accepted: u64,
    refused: u64,
}

/// Makes a hundred calls a second, evenly, for so many seconds.
async fn offer(layer: &Layered, dependency: &Arc<Dependency>, seconds: u64) -> Told {
    let service = layer.layer(service_fn(|()| {
        let result = dependency.call();
        async { result }
    }));
    let mut told = Told::default();
    for _ in 0..seconds * 100 {
        match service.clone().oneshot(()).await {
            Ok(()) => told.accepted += 1,
            Err(error) => match Rejected::find(&*error).map(Rejected::reason) {
                Some(reason) => {
                    assert_eq!(reason, Reason::Throttled);
                    told.refused += 1;
                }
                None => told.sent += 1,
            },
        }
        advance(SECOND / 100).await;
    }
    told.sent += told.accepted;
    told
}

#[tokio::test(start_paused = true)]
async fn a_dependency_in_overload_sees_twice_what_it_accepts() {
    for refusal in ["throttled", "come back later"] {
        let (layer, dependency) = (layer(), Dependency::new(10, refusal));
        offer(&layer, &dependency, 300).await;
        let told = offer(&layer, &dependency, 300).await;
        assert!(told.accepted > 2_900, "it is kept busy: {told:?}");
        assert!((5_400..6_600).contains(&told.sent), "{told:?}");
        assert_eq!(told.sent + told.refused, 30_000);
    }
}

#[tokio::test(start_paused = true)]
async fn what_is_accepted_again_is_sent_again() {
    let (layer, dependency) = (layer(), Dependency::new(10, "throttled"));
    offer(&layer, &dependency, 300).await;
    dependency.capacity.store(1_000, Ordering::Relaxed);
    // From the first second on it is asked for twice as much as it used to accept, and all of that is accepted.
    let first = offer(&layer, &dependency, 20).await;
    assert!(first.accepted == first.sent && first.sent > 20 * 18, "{first:?}");
    // Then for twice what it accepts, and so on: after one window more, for everything.
    offer(&layer, &dependency, 160).await;
    assert_eq!(offer(&layer, &dependency, 60).await, Told { sent: 6_000, accepted: 6_000, refused: 0 });
}

#[tokio::test(start_paused = true)]
async fn a_dependency_that_refuses_everything_is_still_asked_now_and_then() {
    let (layer, dependency) = (layer(), Dependency::new(0, "throttled"));
    offer(&layer, &dependency, 300).await;
    let told = offer(&layer, &dependency, 300).await;
    assert!((1_300..1_700).contains(&told.sent), "one in twenty: {told:?}");
}

#[tokio::test(start_paused = true)]
async fn failures_that_are_no_overload_throttle_nobody() {
    for failure in ["broken", "passing"] {
        let (layer, dependency) = (layer(), Dependency::new(0, failure));
        let told = offer(&layer, &dependency, 300).await;
        assert_eq!(told, Told { sent: 30_000, accepted: 0, refused: 0 }, "{failure}");
    }
}

#[tokio::test(start_paused = true)]
async fn few_calls_are_not_throttled() {
    let layer = layer().min_rate(101);
    let told = offer(&layer, &Dependency::new(0, "throttled"), 300).await;
    assert_eq!(told.refused, 0);
}

#[tokio::test(start_paused = true)]
async fn a_seed_fixes_who_is_refused_and_clones_know_the_same() {
    let mut told = Vec::new();
    for _ in 0..2 {
        let layer = layer();
        offer(&layer, &Dependency::new(10, "throttled"), 150).await;
        told.push(offer(&layer.clone(), &Dependency::new(10, "throttled"), 10).await);
    }
    assert_eq!(told[0], told[1]);
    assert!(told[0].refused > 0);
}

#[tokio::test(start_paused = true)]
async fn each_refusal_is_told_once_and_one_that_is_off_tells_nothing() {
    let tape = Arc::new(Tape::new());
    let observer = Registry::new().observer(&Name::literal("ledger"));
    let layer = layer().observer(observer.clone().sink(tape.clone()));
    let told = offer(&layer, &Dependency::new(0, "throttled"), 200).await;
    assert_eq!(observer.cells().load_shed(Reason::Throttled), told.refused);
    assert!(tape.events().iter().all(|event| *event == Event::LoadShed { reason: Reason::Throttled }));

    let off = ThrottlePolicy::off(observer, Leaf::new(judge as fn(Result<&(), &BoxError>) -> Class));
    let service =
        Stack::new(Arc::new(off), service_fn(|()| async { Err::<(), BoxError>("throttled".into()) }));
    for _ in 0..1_000 {
        let error = service.send(()).await.expect_err("it refuses");
        assert!(Rejected::find(&*error).is_none());
    }
}
