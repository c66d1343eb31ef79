mod coming_back;
mod lasting;
mod outcomes;
mod tripping;

use std::time::Duration;

use tokio::time::Instant;

use crate::{
    Class, Ending, Ratio,
    circuit_breaker::{
        AbandonedPolicy,
        config::{CircuitBreakerConfig, Slow},
        machine::{Admission, Counted, Denied, Machine, Transition},
    },
    event::{
        BreakerResult,
        CircuitState::{self, Closed, Disabled, ForcedOpen, HalfOpen, Open, Recovering},
    },
    random::Random,
    window::Extent,
};

const SECOND: Duration = Duration::from_secs(1);
const MILLI: Duration = Duration::from_millis(1);

/// A breaker and the time it is told.
struct Bench {
    machine: Machine,
    now: Instant,
}

impl Bench {
    fn new(change: impl FnOnce(&mut CircuitBreakerConfig)) -> Self {
        let mut config = CircuitBreakerConfig::default();
        change(&mut config);
        let now = Instant::now();
        Self { machine: Machine::new(config, Random::seeded(1), now), now }
    }

    fn wait(&mut self, time: Duration) {
        self.now += time;
    }

    fn admit(&self) -> (Result<Admission, Denied>, Option<Transition>) {
        self.machine.admit(|| (self.now, None))
    }

    fn admitted(&self) -> Admission {
        self.admit().0.expect("the breaker admits")
    }

    fn record(&self, admission: Admission, class: Class) -> Counted {
        self.machine.record(admission, class, || Duration::ZERO, self.now)
    }

    fn drop(&self, admission: Admission) -> Option<Transition> {
        self.machine.abandon(admission, Ending::Cancelled, self.now).transition
    }

    fn call(&self, class: Class) -> Option<Transition> {
        self.record(self.admitted(), class).transition
    }

    fn calls(&self, times: u32, class: Class) {
        for _ in 0..times {
            assert_eq!(self.call(class), None, "too early");
        }
    }

    fn denied(&self) -> Option<Duration> {
        self.admit().0.expect_err("the breaker refuses").retry_after
    }

    fn state(&self) -> CircuitState {
        self.machine.state()
    }

    /// Opens the breaker by failures.
    fn trip(&self) {
        let _ = (0..20).find_map(|_| self.call(Class::Fault));
        assert_eq!(self.state(), Open);
    }

    fn wait_until_probing(&mut self) {
        let wait = self.machine.snapshot(self.now).next_probe.expect("the breaker is open");
        self.wait(wait);
    }

    /// Trips the breaker and goes on to where the first call is a probe.
    fn trip_and_wait(&mut self) {
        self.trip();
        self.wait_until_probing();
    }
}

#[expect(clippy::unnecessary_wraps, reason = "what it is compared with is an option")]
fn went(from: CircuitState, to: CircuitState) -> Option<Transition> {
    Some(Transition { from, to })
}

fn rates_only(config: &mut CircuitBreakerConfig) {
    config.consecutive_failures = None;
}

fn scoped<T: Send>(threads: usize, work: impl Fn() -> T + Sync) -> Vec<T> {
    std::thread::scope(|scope| {
        let handles: Vec<_> = (0..threads).map(|_| scope.spawn(&work)).collect();
        handles.into_iter().map(|handle| handle.join().expect("no panic")).collect()
    })
}

/// A breaker at the beginning of its ramp of 5 s, after one probe.
fn recovering() -> Bench {
    let mut bench = Bench::new(|config| config.probes = 1);
    bench.trip_and_wait();
    assert_eq!(bench.call(Class::Success), went(HalfOpen, Recovering));
    bench
}

/// Which of so many calls pass, from the first on; they all succeed.
fn passing(bench: &Bench, calls: usize) -> Vec<usize> {
    let passes = |_: &usize| {
        let asked = bench.machine.is_open_now(|| bench.now);
        let (admission, transition) = bench.admit();
        assert_eq!((asked, transition), (admission.is_err(), None));
        admission.is_ok_and(|admission| bench.record(admission, Class::Success).transition.is_none())
    };
    (0..calls).filter(passes).collect()
}
