//! What the breaker promises its users, in virtual time and in bytes.

use std::{sync::Arc, time::Duration};

use allocation_counter::measure;
use tokio::time::{Instant, sleep, timeout};
use tower::{BoxError, Layer, ServiceExt, service_fn};

use crate::{
    Class,
    circuit_breaker::{
        CircuitBreakerLayer, config::CircuitBreakerConfig, machine::Machine, transitions::CircuitTransitions,
    },
    event::CircuitState::{Closed, Open},
    random::Random,
    window::Extent,
};

const MILLI: Duration = Duration::from_millis(1);

fn closed(change: impl FnOnce(&mut CircuitBreakerConfig)) -> (Machine, Instant) {
    let mut config = CircuitBreakerConfig::default();
    change(&mut config);
    let now = Instant::now();
    (Machine::new(config, Random::seeded(1), now), now)
}

fn call(machine: &Machine, class: Class, now: Instant) {
    let call = machine.admit(|| (now, None)).0.expect("it is closed");
    machine.record(call, class, || Duration::ZERO, now);
}

/// 10,000 successes, then nothing but failures, 100 a second.
#[test]
fn a_total_outage_opens_it_within_two_seconds_whatever_the_history() {
    // How long the good times were, so that they come as a burst, fill the window or have long filled it; how long they
    // have been over; and how far into a slice the outage begins.
    for good in [0, 500, 2_000, 9_500, 100_000] {
        for idle in [0, 700, 30_000] {
            for phase in [0, 1, 9, 10, 250, 500, 990, 999] {
                let (machine, mut now) = closed(|_| {});
                for _ in 0..10_000 {
                    call(&machine, Class::Success, now);
                    now += MILLI * good / 10_000;
                }
                now += MILLI * (idle + phase);
                let outage = now;
                while machine.state() == Closed {
                    call(&machine, Class::TRANSIENT, now);
                    now += 10 * MILLI;
                }
                let took = now - 10 * MILLI - outage;
                assert!(took <= 2_000 * MILLI, "{took:?} after {good} ms, {idle} ms idle, at {phase} ms");
            }
        }
    }
}

#[tokio::test(start_paused = true)]
async fn a_limit_outside_that_cancels_every_call_opens_it_and_one_that_cancels_some_does_not() {
    for (answers, opens) in [(0, true), (34, false), (50, false)] {
        let layer = CircuitBreakerLayer::new();
        let work = async |answers: bool| {
            sleep(if answers { 10 * MILLI } else { Duration::MAX }).await;
            Ok::<_, BoxError>(())
        };
        for round in 0..100 {
            let call =
                layer.layer(service_fn(work)).oneshot(round * answers / 100 < (round + 1) * answers / 100);
            let _ = timeout(50 * MILLI, call).await;
        }
        assert_eq!(layer.handle().state() == Open, opens, "{answers} of 100 are answered");
    }
}

/// The struct, what it allocates when it is made, and what it allocates while it lives.
#[test]
fn a_breaker_takes_less_than_four_kilobytes() {
    for window in [Extent::Time(Duration::from_secs(3_600)), Extent::Calls(1_000_000)] {
        let (mut machine, mut stream) = (None, None);
        let life = measure(|| {
            let (made, mut now) = closed(|config| config.window = window);
            let made = Arc::new(made);
            stream = Some(CircuitTransitions::new(Arc::clone(&made)));
            for _ in 0..100 {
                while let Ok(call) = made.admit(|| (now, None)).0 {
                    made.record(call, Class::Fault, || Duration::ZERO, now);
                }
                now += Duration::from_secs(10);
            }
            machine = Some(made);
        });
        let bytes = life.bytes_current;
        assert!((1..4_096).contains(&bytes), "{bytes} bytes, with {window:?}");
        drop((machine, stream));
    }
}

/// The closed path: neither the length of the window, nor what it holds, nor other breakers cost an allocation.
#[test]
fn a_closed_breaker_allocates_nothing_whatever_it_has_seen() {
    for window in [Extent::Time(Duration::from_secs(3_600)), Extent::Calls(1_000_000)] {
        let (machine, mut now) = closed(|config| config.window = window);
        let day = measure(|| {
            for _ in 0..20_000 {
                call(&machine, Class::Success, now);
                now += Duration::from_secs(4);
            }
        });
        assert_eq!((day.count_total, machine.state()), (0, Closed));
    }
}
