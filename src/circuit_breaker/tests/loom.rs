//! Interleavings of threads on one breaker: `RUSTFLAGS="--cfg moneta_loom" cargo test --lib loom`.

use std::time::Duration;

use loom::{sync::Arc, thread};
use tokio::time::Instant;

use crate::{
    Class,
    circuit_breaker::{config::CircuitBreakerConfig, machine::Machine, ramp::Ramp},
    event::CircuitState,
    random::Random,
    window::Extent,
};

/// Every interleaving in which no more than so many times a thread is stopped in the middle of something: a bound that
/// keeps a model to seconds.
fn explore(preemptions: usize, model: impl Fn() + Send + Sync + 'static) {
    let mut builder = loom::model::Builder::new();
    builder.preemption_bound = Some(preemptions);
    builder.max_branches = 10_000;
    builder.check(model);
}

fn machine(now: Instant) -> Arc<Machine> {
    let one = CircuitBreakerConfig {
        // One slice for the whole model: to judge a window while another thread clears it has too many interleavings.
        window: Extent::Time(Duration::from_secs(1_000)),
        consecutive_failures: Some(1),
        probes: 1,
        ..CircuitBreakerConfig::default()
    };
    Arc::new(Machine::with_shared_window(one, Random::seeded(1), now))
}

/// A late call of the old generation is nowhere in the new one, and no call of the new one is lost.
#[test]
fn loom_a_new_generation_begins_empty_and_loses_nothing() {
    let now = Instant::now();
    explore(2, move || {
        let machine = machine(now);
        let late = machine.admit(|| (now, None)).0.expect("it is closed");
        let other = Arc::clone(&machine);
        let thread = thread::spawn(move || other.record(late, Class::Success, || Duration::ZERO, now));
        machine.reset(now);
        let call = machine.admit(|| (now, None)).0.expect("it is closed");
        machine.record(call, Class::CallerFault, || Duration::ZERO, now);
        thread.join().expect("no panic");
        assert_eq!(machine.snapshot(now).calls, 1);
    });
}

/// Two threads find the open time over: one turns the breaker half-open, and there is one place to probe.
#[test]
fn loom_half_open_is_entered_once_and_admits_its_probes() {
    let now = Instant::now();
    explore(2, move || {
        let machine = machine(now);
        let call = machine.admit(|| (now, None)).0.expect("it is closed");
        machine.record(call, Class::Fault, || Duration::ZERO, now).transition.expect("it opens");
        let later = now + Duration::from_secs(1);
        let other = Arc::clone(&machine);
        let thread = thread::spawn(move || {
            let (admission, transition) = other.admit(|| (later, None));
            (admission.is_ok(), transition.is_some())
        });
        let (admission, transition) = machine.admit(|| (later, None));
        let mine = (admission.is_ok(), transition.is_some());
        let theirs = thread.join().expect("no panic");
        assert!([mine, theirs].contains(&(true, true)) && [mine, theirs].contains(&(false, false)));
        assert_eq!(machine.state(), CircuitState::HalfOpen);
    });
}

/// The ramp is over while a call of it ends: whoever asks first closes the breaker, once, and what the ramp let through
/// is nowhere in what comes after it.
#[test]
fn loom_a_ramp_ends_once_and_leaves_nothing_behind() {
    let now = Instant::now();
    explore(2, move || {
        let machine = machine(now);
        let call = machine.admit(|| (now, None)).0.expect("it is closed");
        machine.record(call, Class::Fault, || Duration::ZERO, now).transition.expect("it opens");
        let probing = now + Duration::from_secs(1);
        let probe = machine.admit(|| (probing, None)).0.expect("its time is over");
        machine.record(probe, Class::Success, || Duration::ZERO, probing).transition.expect("it recovers");
        let call = machine.admit(|| (probing, None)).0.expect("the first of the ramp");
        let over = probing + Duration::from_secs(5);
        let other = Arc::clone(&machine);
        let thread = thread::spawn(move || {
            other.record(call, Class::Success, || Duration::ZERO, over);
            other.admit(|| (over, None))
        });
        let mine = machine.admit(|| (over, None));
        let theirs = thread.join().expect("no panic");
        assert!(mine.0.is_ok() && theirs.0.is_ok());
        assert_eq!([mine.1, theirs.1].iter().flatten().count(), 1);
        assert_eq!((machine.state(), machine.snapshot(over).calls), (CircuitState::Closed, 0));
    });
}

/// Two threads ask a breaker that lets half of them through.
#[test]
fn loom_a_ramp_lets_no_more_through_than_its_share() {
    explore(3, || {
        let ramp = Arc::new(Ramp::new(Duration::from_secs(4)));
        ramp.restart();
        let half = Duration::from_secs(2);
        let other = Arc::clone(&ramp);
        let ask = move |ramp: &Ramp| usize::from(ramp.admits(half)) + usize::from(ramp.admits(half));
        let thread = thread::spawn(move || ask(&other));
        let passed = ask(&ramp) + thread.join().expect("no panic");
        assert_eq!(passed, 2, "two of four");
    });
}
