//! Interleavings of threads on one breaker: `RUSTFLAGS="--cfg moneta_loom" cargo test --lib loom`.

use std::time::Duration;

use loom::{sync::Arc, thread};
use tokio::time::Instant;

use crate::{
    Class,
    circuit_breaker::{config::CircuitBreakerConfig, machine::Machine},
    event::CircuitState,
    random::Random,
};

fn explore(model: impl Fn() + Send + Sync + 'static) {
    let mut builder = loom::model::Builder::new();
    builder.preemption_bound = Some(2);
    builder.max_branches = 10_000;
    builder.check(model);
}

fn machine(now: Instant) -> Arc<Machine> {
    let one =
        CircuitBreakerConfig { consecutive_failures: Some(1), probes: 1, ..CircuitBreakerConfig::default() };
    Arc::new(Machine::unstriped(one, Random::seeded(1), now))
}

/// A late call of the old generation is nowhere in the new one, and no call of the new one is lost.
#[test]
fn loom_a_new_generation_begins_empty_and_loses_nothing() {
    let now = Instant::now();
    explore(move || {
        let machine = machine(now);
        let late = machine.admit(|| now).0.expect("it is closed");
        let other = Arc::clone(&machine);
        let thread = thread::spawn(move || other.record(late, Class::Success, || Duration::ZERO, now));
        machine.reset(now);
        let call = machine.admit(|| now).0.expect("it is closed");
        machine.record(call, Class::CallerFault, || Duration::ZERO, now);
        thread.join().expect("no panic");
        assert_eq!(machine.snapshot(now).calls, 1);
    });
}

/// Two threads find the open time over: one turns the breaker half-open, and there is one place to probe.
#[test]
fn loom_half_open_is_entered_once_and_admits_its_probes() {
    let now = Instant::now();
    explore(move || {
        let machine = machine(now);
        let call = machine.admit(|| now).0.expect("it is closed");
        machine.record(call, Class::Fault, || Duration::ZERO, now).transition.expect("it opens");
        let later = now + Duration::from_secs(1);
        let other = Arc::clone(&machine);
        let thread = thread::spawn(move || {
            let (admission, transition) = other.admit(|| later);
            (admission.is_ok(), transition.is_some())
        });
        let (admission, transition) = machine.admit(|| later);
        let mine = (admission.is_ok(), transition.is_some());
        let theirs = thread.join().expect("no panic");
        assert!([mine, theirs].contains(&(true, true)) && [mine, theirs].contains(&(false, false)));
        assert_eq!(machine.state(), CircuitState::HalfOpen);
    });
}
