//! What an error budget drives: retries, calls that may be shed, the circuit breaker, the gate.

use std::{
    convert::Infallible,
    io,
    sync::{
        Arc,
        atomic::{AtomicU32, Ordering},
    },
    time::Duration,
};

use futures::future::join_all;
use moneta_resilience::{
    BoxError, Dial, Priority, Ratio, Registry, RetryBudget,
    circuit_breaker::CircuitBreakerLayer,
    event::{CircuitState, Event},
    golden,
    record::Tape,
    retry::{Backoff, RetryLayer},
    slo::{ErrorBudget, Gate, Objective, Window},
};
use tokio::time::advance;
use tower::{Layer, Service, service_fn};

const SECOND: Duration = Duration::from_secs(1);

fn quotes() -> ErrorBudget {
    ErrorBudget::new(Objective::new("quotes").target(99.0))
}

fn refused() -> io::Error {
    io::ErrorKind::ConnectionRefused.into()
}

/// A dependency that answers 100 calls a second, and fewer the more it is asked beyond that: refusing costs it work, too.
#[derive(Clone, Default)]
struct Dependency {
    /// Attempts of this second and of the one before.
    attempts: Arc<[AtomicU32; 2]>,
}

impl Dependency {
    const CAPACITY: u32 = 100;

    fn ask(&self) -> io::Result<()> {
        let nth = self.attempts[0].fetch_add(1, Ordering::Relaxed);
        let asked = self.attempts[1].load(Ordering::Relaxed).max(Self::CAPACITY);
        let answers = Self::CAPACITY * Self::CAPACITY / asked;
        // Spread evenly over the second, and not the first so many.
        if nth * answers / asked == (nth + 1) * answers / asked && answers < asked {
            Err(refused())
        } else {
            Ok(())
        }
    }

    /// The attempts of the second that is over.
    fn next_second(&self) -> u32 {
        let attempts = self.attempts[0].swap(0, Ordering::Relaxed);
        self.attempts[1].store(attempts, Ordering::Relaxed);
        attempts
    }
}

/// 90 calls a second for ten minutes, in the second minute of which the dependency fails them all. Gives the attempts of each
/// second, and for how many seconds after that minute it was in overload.
async fn outage(budget: RetryBudget, slo: ErrorBudget) -> (Vec<u32>, usize) {
    let retry = RetryLayer::new().attempts(3).backoff(Backoff::none()).budget(budget);
    let builder =
        golden::client("quotes").timeout(SECOND).no_fallback().retry(retry).without_circuit_breaker();
    let client = builder.without_bulkhead().registry(&Registry::new()).slo(slo).calls();
    let dependency = Dependency::default();
    let mut attempts = Vec::new();
    for second in 0..600 {
        let ask = async || {
            let answer = dependency.ask();
            if (60..120).contains(&second) { Err(refused()) } else { answer }
        };
        drop(join_all((0..90).map(|_| client.run_repeatable(&ask))).await);
        advance(SECOND).await;
        attempts.push(dependency.next_second());
    }
    let overload = attempts[120..].iter().filter(|&&attempts| attempts > Dependency::CAPACITY).count();
    (attempts, overload)
}

#[tokio::test(start_paused = true)]
async fn a_dependency_recovers_sooner_when_the_budget_turns_the_retries_down() {
    // As many as anybody might have set who wants every call to succeed.
    let generous = || RetryBudget::new().ratio(Ratio::ONE).min_per_second(1_000);
    let (without, overload_without) = outage(generous(), quotes()).await;
    let slo = quotes();
    let (with, overload_with) = outage(generous().scaled_by(&slo.dial()), slo.clone()).await;
    assert_eq!((without[30], with[30]), (90, 90), "all is well");
    assert_eq!((without[100], with[100]), (270, 90), "attempts fall in the outage");
    assert_eq!(overload_without, 480, "retries hold it down after its end");
    assert_eq!(overload_with, 0, "and without them it is back at once");
    assert!(slo.burn(Window::Minutes5) < 14.4, "{slo:?}");
}

#[tokio::test(start_paused = true)]
async fn the_dial_goes_down_with_the_rest_of_the_budget_and_up_again_with_time() {
    let slo = quotes().floor(Ratio::percent(50));
    let dial = slo.dial();
    // 10 000 events have a budget of 100. 60 of them are bad: 40 % are left, of a floor of 50 %.
    (0..10_000).for_each(|n| slo.record(n >= 60));
    assert_eq!(dial.get(), Ratio::ONE, "nobody has looked");
    advance(SECOND).await;
    assert_eq!(slo.gate(), Gate::Spent);
    assert!((dial.get().value() - 0.8).abs() < 1e-5, "{dial:?}");
    advance(31 * 24 * 3_600 * SECOND).await;
    assert_eq!((slo.gate(), dial.get()), (Gate::Open, Ratio::ONE));
}

#[tokio::test(start_paused = true)]
async fn few_events_do_not_turn_the_dial() {
    let slo = quotes();
    (0..99).for_each(|_| slo.record(false));
    advance(SECOND).await;
    assert_eq!((slo.gate(), slo.dial().get()), (Gate::Open, Ratio::ONE));
    assert!(slo.remaining() < 0.0, "it says what it has seen nevertheless");
}

#[tokio::test(start_paused = true)]
async fn what_the_fleet_knows_counts_instead_for_as_long_as_it_is_fresh() {
    let slo = quotes();
    (0..1_000).for_each(|_| slo.record(true));
    slo.feed(0.05, 1.0, 60 * SECOND);
    assert_eq!((slo.gate(), slo.dial().get()), (Gate::Spent, Ratio::percent(50)));
    slo.feed(0.5, 14.5, 60 * SECOND);
    assert_eq!((slo.gate(), slo.dial().get()), (Gate::Burning, Ratio::ZERO));
    for nonsense in [f64::NAN, f64::INFINITY, f64::NEG_INFINITY] {
        slo.feed(nonsense, 0.0, SECOND);
        slo.feed(1.0, nonsense, SECOND);
    }
    assert_eq!(slo.gate(), Gate::Burning);
    advance(61 * SECOND).await;
    assert_eq!((slo.gate(), slo.dial().get()), (Gate::Open, Ratio::ONE));
}

#[tokio::test(start_paused = true)]
async fn the_breaker_opens_when_the_budget_begins_to_burn_and_once_each_time() {
    let (tape, slo) = (Arc::new(Tape::new()), quotes());
    let builder = golden::client("quotes").timeout(SECOND).no_fallback().without_retry();
    // It would not open by itself: a fifth of the calls fail.
    let builder = builder.circuit_breaker(CircuitBreakerLayer::new()).sink(tape.clone());
    let client = builder.registry(&Registry::new()).slo_opening_breaker(slo.clone()).calls();
    let opened = || {
        let opened = |event: &Event| matches!(event, Event::BreakerTransition { to: CircuitState::Open, .. });
        tape.events().iter().filter(|event| opened(event)).count()
    };
    for second in 0..90 {
        for n in 0..5 {
            let answer = if n == 0 { Err(refused()) } else { Ok(()) };
            _ = client.run(async || answer).await;
        }
        if opened() > 0 {
            assert!(second >= 19, "100 events first");
            break;
        }
        advance(SECOND).await;
    }
    assert_eq!(opened(), 1, "{slo:?}");
    assert_eq!(client.handle().state().circuit, Some(CircuitState::Open));
    let transition = client.handle().circuit_breaker().unwrap().snapshot();
    assert_eq!(transition.state, CircuitState::Open);
    for _ in 0..120 {
        _ = client.run(async || Ok::<_, BoxError>(())).await;
        advance(SECOND).await;
    }
    assert_eq!(opened(), 1, "it burns still, and the breaker has come back by itself");
    assert_eq!(client.handle().state().circuit, Some(CircuitState::Closed));
}

#[tokio::test(start_paused = true)]
async fn the_breaker_goes_by_what_the_fleet_knows_too() {
    let opening = |slo: &ErrorBudget| {
        let builder = golden::client("quotes").timeout(SECOND).no_fallback().without_retry();
        builder.registry(&Registry::new()).slo_opening_breaker(slo.clone()).calls()
    };
    let state = async |client: &golden::Calls| {
        _ = client.run(async || Ok::<_, BoxError>(())).await;
        client.handle().state().circuit
    };
    let slo = quotes();
    let client = opening(&slo);
    assert_eq!(state(&client).await, Some(CircuitState::Closed));
    slo.feed(0.5, 14.5, 60 * SECOND);
    assert_eq!(state(&client).await, Some(CircuitState::Open), "the others fail, and this one would next");

    // What this process sees alone is no reason while the fleet is well.
    let slo = quotes();
    (0..1_000).for_each(|_| slo.record(false));
    slo.feed(1.0, 0.0, 60 * SECOND);
    let client = opening(&slo);
    assert_eq!((slo.alerts().count(), state(&client).await), (4, Some(CircuitState::Closed)));
    advance(61 * SECOND).await;
    assert_eq!(slo.gate(), Gate::Burning);
    assert_eq!(state(&client).await, Some(CircuitState::Open));
}

#[tokio::test(start_paused = true)]
async fn what_is_valid_for_ever_is_not_forgotten() {
    let slo = quotes();
    slo.feed(0.0, 1.0, Duration::MAX);
    advance(365 * 24 * 3_600 * SECOND).await;
    assert_eq!((slo.gate(), slo.dial().get()), (Gate::Spent, Ratio::ZERO));
}

#[tokio::test(start_paused = true)]
async fn what_may_be_shed_gets_less_room_as_the_dial_stands() {
    let dial = Dial::new(Ratio::ONE);
    let builder = golden::server("quotes").timeout(SECOND).bulkhead(10).priorities_scaled_by(&dial);
    let layer = builder.registry(&Registry::new()).priority_of(|head| match head.uri.path() {
        "/report" => Priority::Sheddable,
        _ => Priority::Critical,
    });
    let server = layer.layer().layer(service_fn(|_: http::Request<String>| {
        std::future::pending::<Result<http::Response<String>, Infallible>>()
    }));
    let admitted = |path: &'static str| {
        let calls: Vec<_> = (0..10)
            .map(|_| {
                let mut call = tokio_test::task::spawn(
                    server.clone().call(http::Request::get(path).body(String::new()).unwrap()),
                );
                call.poll().is_pending().then_some(call)
            })
            .collect();
        calls.iter().flatten().count()
    };
    assert_eq!((admitted("/report"), admitted("/quote")), (6, 9));
    dial.set(Ratio::percent(50));
    assert_eq!((admitted("/report"), admitted("/quote")), (3, 9));
    dial.set(Ratio::ZERO);
    assert_eq!((admitted("/report"), admitted("/quote")), (0, 9));
    dial.set(Ratio::ONE);
    assert_eq!(admitted("/report"), 6);
}
