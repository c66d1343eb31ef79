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
        self.machine.admit(|| self.now)
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

// Tripping

#[test]
fn half_of_the_minimum_of_calls_failing_trips() {
    let bench = Bench::new(rates_only);
    bench.calls(10, Class::Success);
    bench.calls(9, Class::Fault);
    assert_eq!(bench.call(Class::Fault), went(Closed, Open));
}

#[test]
fn less_than_half_does_not_trip() {
    let bench = Bench::new(rates_only);
    bench.calls(11, Class::Success);
    bench.calls(10, Class::Fault);
    assert_eq!(bench.call(Class::Fault), went(Closed, Open), "11 of 22");
}

#[test]
fn below_the_minimum_no_rate_trips() {
    let bench = Bench::new(rates_only);
    bench.calls(19, Class::Fault);
    assert_eq!(bench.call(Class::Fault), went(Closed, Open));
}

#[test]
fn a_sudden_outage_trips_before_the_window_is_half_bad() {
    let mut bench = Bench::new(rates_only);
    for _ in 0..8 {
        bench.calls(100, Class::Success);
        bench.wait(SECOND);
    }
    bench.wait(SECOND);
    bench.calls(19, Class::TRANSIENT);
    assert_eq!(bench.call(Class::TRANSIENT), went(Closed, Open), "20 of 820, all of the newest");
}

#[test]
fn a_streak_trips_a_dependency_that_is_rarely_called() {
    let mut bench = Bench::new(|_| {});
    for _ in 0..4 {
        bench.calls(1, Class::Fault);
        bench.wait(60 * SECOND);
    }
    assert_eq!(bench.call(Class::Fault), went(Closed, Open));
}

#[test]
fn a_success_ends_the_streak() {
    let mut bench = Bench::new(|_| {});
    for _ in 0..4 {
        bench.calls(4, Class::Fault);
        bench.calls(1, Class::CallerFault);
        bench.wait(10 * SECOND);
    }
}

#[test]
fn a_streak_does_not_trip_a_busy_dependency() {
    let bench = Bench::new(|_| {});
    bench.calls(30, Class::Success);
    bench.calls(10, Class::Fault);
    assert_eq!(bench.state(), Closed);
}

#[test]
fn slow_calls_trip_when_they_are_asked_to() {
    let bench = Bench::new(|config| config.slow = Some(Slow { duration: SECOND, rate: Ratio::percent(80) }));
    let slow = || bench.machine.record(bench.admitted(), Class::Success, || SECOND, bench.now);
    bench.calls(4, Class::Success);
    for _ in 0..15 {
        assert_eq!(slow(), Counted { result: Some(BreakerResult::Slow), transition: None });
    }
    assert_eq!(slow().transition, went(Closed, Open));
}

#[test]
fn success_is_never_slow_by_default() {
    let bench = Bench::new(|_| {});
    let counted =
        bench.machine.record(bench.admitted(), Class::Success, || unreachable!("nobody asks"), bench.now);
    assert_eq!(counted.result, Some(BreakerResult::Success));
}

/// A rate that time alone has brought over its limit is seen at the change of the slice, by a success.
#[test]
fn old_successes_do_not_hide_a_rate_for_longer_than_a_slice() {
    let mut bench = Bench::new(rates_only);
    bench.calls(30, Class::Success);
    bench.wait(5 * SECOND);
    bench.calls(19, Class::Fault);
    bench.wait(4_999 * MILLI);
    bench.calls(1, Class::Success);
    bench.wait(MILLI);
    assert_eq!(bench.call(Class::Success), went(Closed, Open));
}

// A window of calls

fn last_calls(calls: u32, outage_calls: u32) -> Bench {
    Bench::new(|config| {
        config.window = Extent::Calls(calls);
        config.outage.minimum_calls = outage_calls;
        config.consecutive_failures = None;
    })
}

#[test]
fn a_window_of_calls_slides_and_trips_by_what_is_left_in_it() {
    for (outage_calls, expected) in [(20, 20), (1_000, 50)] {
        let bench = last_calls(100, outage_calls);
        bench.calls(10_000, Class::Success);
        for _ in 0..10 {
            bench.calls(4, Class::Fault);
            bench.calls(6, Class::Success);
        }
        assert_eq!(bench.machine.snapshot(bench.now).failures, 40);
        bench.calls(60, Class::Success);
        assert_eq!(bench.machine.snapshot(bench.now).failures, 16);
        let tripped = (1..=100).find(|_| bench.call(Class::Fault).is_some());
        assert_eq!(tripped, Some(expected), "a fifth without a success, or half of all");
    }
}

#[test]
fn calls_do_not_leave_a_window_of_calls_with_time() {
    let mut bench = last_calls(20, 20);
    for _ in 0..18 {
        bench.wait(3_600 * SECOND);
        bench.calls(1, Class::Fault);
    }
    bench.wait(3_600 * SECOND);
    assert_eq!(bench.call(Class::Fault), went(Closed, Open), "it holds 19 or 20");
}

#[test]
fn a_full_window_of_calls_is_enough_for_any_minimum() {
    let bench = last_calls(10, 20);
    bench.calls(9, Class::Fault);
    assert_eq!(bench.call(Class::Fault), went(Closed, Open), "10 calls, and the minimum is 20");
}

// The table of outcomes

#[test]
fn every_class_has_its_row() {
    let retry_after = Some(SECOND);
    let failed = Some(BreakerResult::Failure);
    let rows = [
        (Class::Success, Some(BreakerResult::Success), 1, 0),
        (Class::CallerFault, Some(BreakerResult::Success), 1, 0),
        (Class::TRANSIENT, failed, 1, 1),
        (Class::Transient { retry_after }, failed, 1, 1),
        (Class::THROTTLED, failed, 1, 1),
        (Class::Throttled { retry_after }, failed, 1, 1),
        (Class::Fault, failed, 1, 1),
        (Class::Neutral, None, 0, 0),
    ];
    for (class, result, calls, failures) in rows {
        let bench = Bench::new(|_| {});
        assert_eq!(bench.record(bench.admitted(), class).result, result, "{class:?}");
        let snapshot = bench.machine.snapshot(bench.now);
        assert_eq!((snapshot.calls, snapshot.failures), (calls, failures), "{class:?}");
    }
}

#[test]
fn a_panic_is_a_failure() {
    let bench = Bench::new(|_| {});
    let counted = bench.machine.abandon(bench.admitted(), Ending::Panicked, bench.now);
    assert_eq!(counted.result, Some(BreakerResult::Failure));
    bench.calls(3, Class::Fault);
    assert_eq!(bench.call(Class::Fault), went(Closed, Open));
}

#[test]
fn throttled_counts_for_the_rates_only() {
    let bench = Bench::new(|_| {});
    bench.calls(19, Class::THROTTLED);
    assert_eq!(bench.call(Class::THROTTLED), went(Closed, Open));
}

#[test]
fn throttled_neither_adds_to_a_streak_nor_ends_it() {
    let bench = Bench::new(|_| {});
    bench.calls(4, Class::Fault);
    bench.calls(5, Class::THROTTLED);
    assert_eq!(bench.call(Class::Fault), went(Closed, Open));
}

#[test]
fn throttled_fails_a_probe() {
    let mut bench = Bench::new(|config| config.probes = 1);
    bench.trip_and_wait();
    assert_eq!(bench.call(Class::THROTTLED), went(HalfOpen, Open));
}

#[test]
fn a_caller_fault_is_a_good_probe() {
    let mut bench = Bench::new(|config| config.probes = 1);
    bench.trip_and_wait();
    assert_eq!(bench.call(Class::CallerFault), went(HalfOpen, Recovering));
}

#[test]
fn a_slow_probe_fails() {
    let slow = Slow { duration: SECOND, rate: Ratio::percent(80) };
    let mut bench = Bench::new(|config| (config.probes, config.slow) = (1, Some(slow)));
    bench.trip_and_wait();
    let counted = bench.machine.record(bench.admitted(), Class::Success, || SECOND, bench.now);
    assert_eq!(counted, Counted { result: Some(BreakerResult::Slow), transition: went(HalfOpen, Open) });
}

#[test]
fn a_neutral_result_gives_the_probe_back() {
    let mut bench = Bench::new(|config| config.probes = 1);
    bench.trip_and_wait();
    for _ in 0..20 {
        assert_eq!(bench.call(Class::Neutral), None);
    }
    assert_eq!(bench.call(Class::Success), went(HalfOpen, Recovering));
}

// Abandoned calls

/// Peers' failure: cancelled calls are invisible, so a limit outside hides an outage.
#[test]
fn cancelled_calls_alone_trip() {
    let bench = Bench::new(rates_only);
    for _ in 0..19 {
        assert_eq!(bench.drop(bench.admitted()), None);
    }
    assert_eq!(bench.machine.snapshot(bench.now).abandoned, 19);
    assert_eq!(bench.drop(bench.admitted()), went(Closed, Open));
}

#[test]
fn rare_calls_that_are_all_cancelled_trip_by_their_streak() {
    let mut bench = Bench::new(|_| {});
    for _ in 0..4 {
        assert_eq!(bench.drop(bench.admitted()), None);
        bench.wait(60 * SECOND);
    }
    assert_eq!(bench.drop(bench.admitted()), went(Closed, Open));
}

#[test]
fn one_answer_shows_that_callers_are_merely_impatient() {
    for class in [Class::Success, Class::THROTTLED, Class::Fault] {
        let bench = Bench::new(|_| {});
        bench.calls(1, class);
        for _ in 0..100 {
            assert_eq!(bench.drop(bench.admitted()), None, "{class:?}");
        }
    }
}

#[test]
fn a_failure_ends_a_streak_of_cancelled_calls() {
    let mut bench = Bench::new(|_| {});
    for _ in 0..3 {
        assert_eq!(bench.drop(bench.admitted()), None);
    }
    bench.calls(1, Class::Fault);
    bench.wait(60 * SECOND);
    for _ in 0..3 {
        assert_eq!(bench.drop(bench.admitted()), None);
    }
    assert_eq!(bench.drop(bench.admitted()), went(Closed, Open), "one failure, and four cancelled since");
}

#[test]
fn abandoned_policies_ignore_or_blame() {
    let bench = Bench::new(|config| config.abandoned = AbandonedPolicy::Ignore);
    for _ in 0..100 {
        assert_eq!(bench.drop(bench.admitted()), None);
    }
    let bench = Bench::new(|config| config.abandoned = AbandonedPolicy::AsFailure);
    for _ in 0..4 {
        assert_eq!(bench.drop(bench.admitted()), None);
    }
    assert_eq!(bench.drop(bench.admitted()), went(Closed, Open));
}

// Open

#[test]
fn open_refuses_and_says_how_long() {
    let mut bench = Bench::new(|_| {});
    bench.trip();
    let wait = bench.denied().expect("an open breaker knows");
    assert!((SECOND / 2..=SECOND).contains(&wait), "{wait:?}");
    bench.wait(wait.saturating_sub(MILLI));
    assert_eq!(bench.denied(), Some(MILLI));
    assert!(bench.machine.is_open_now(|| bench.now));
    bench.wait(MILLI);
    assert!(!bench.machine.is_open_now(|| bench.now));
    let (admission, transition) = bench.admit();
    assert!(admission.is_ok());
    assert_eq!(transition, went(Open, HalfOpen));
}

#[test]
fn open_time_doubles_up_to_its_limit_and_restarts_on_closed() {
    let mut bench = Bench::new(|config| config.probes = 1);
    let opened = |bench: &mut Bench, most: Duration| {
        let wait = bench.denied().expect("an open breaker knows");
        assert!((most / 2..=most).contains(&wait), "{wait:?} of {most:?}");
        bench.wait_until_probing();
    };
    bench.trip();
    for seconds in [1, 2, 4, 8, 10, 10] {
        opened(&mut bench, seconds * SECOND);
        assert_eq!(bench.call(Class::Fault), went(HalfOpen, Open));
    }
    opened(&mut bench, 10 * SECOND);
    assert_eq!(bench.call(Class::Success), went(HalfOpen, Recovering));
    bench.wait(4_999 * MILLI);
    bench.trip();
    opened(&mut bench, 10 * SECOND);
    assert_eq!(bench.call(Class::Success), went(HalfOpen, Recovering), "and not closed yet");
    bench.wait(5 * SECOND);
    assert_eq!(bench.admit().1, went(Recovering, Closed));
    bench.trip();
    opened(&mut bench, SECOND);
}

// Half-open

#[test]
fn half_open_admits_its_probes_and_refuses_the_rest() {
    let mut bench = Bench::new(|_| {});
    bench.trip_and_wait();
    let probes: Vec<_> = (0..3).map(|_| bench.admitted()).collect();
    bench.wait(SECOND);
    assert_eq!(bench.denied(), Some(4 * SECOND), "what the watchdog leaves the oldest");
    assert!(bench.machine.is_open_now(|| bench.now));
    for probe in probes {
        bench.record(probe, Class::Success);
    }
    assert_eq!(bench.state(), Recovering);
}

#[test]
fn the_verdict_falls_as_soon_as_it_is_decided() {
    use Class::{Fault as F, Success as S};
    // Probes, and outcomes: the last of them settles it, with a failure rate of 50 %.
    let table: &[(u32, &[Class], CircuitState)] = &[
        (1, &[S], Recovering),
        (1, &[F], Open),
        (2, &[F], Open),
        (2, &[S, F], Open),
        (2, &[S, S], Recovering),
        (3, &[S, S], Recovering),
        (3, &[F, S, S], Recovering),
        (3, &[F, F], Open),
        (3, &[S, F, F], Open),
        (4, &[S, S, S], Recovering),
        (4, &[S, S, F, F], Open),
    ];
    for &(probes, outcomes, state) in table {
        let mut bench = Bench::new(|config| config.probes = probes);
        bench.trip_and_wait();
        let (last, before) = outcomes.split_last().expect("each row has an outcome");
        for &class in before {
            assert_eq!(bench.call(class), None, "{probes} {outcomes:?}");
        }
        assert_eq!(bench.call(*last), went(HalfOpen, state), "{probes} {outcomes:?}");
    }
}

/// Peers' failure: probes that are dropped never give their permit back, and the breaker stays half-open for ever.
#[test]
fn a_dropped_probe_gives_its_permit_back() {
    let mut bench = Bench::new(|_| {});
    bench.trip_and_wait();
    let [a, b, _c] = [bench.admitted(), bench.admitted(), bench.admitted()];
    bench.denied();
    assert_eq!(bench.drop(a), None);
    assert_eq!(bench.drop(b), None);
    assert_eq!(bench.call(Class::Success), None);
    assert_eq!(bench.call(Class::Success), went(HalfOpen, Recovering));
}

#[test]
fn probes_abandoned_in_a_row_are_a_failure() {
    let mut bench = Bench::new(|_| {});
    bench.trip_and_wait();
    assert_eq!(bench.drop(bench.admitted()), None);
    assert_eq!(bench.drop(bench.admitted()), None);
    assert_eq!(bench.call(Class::Success), None, "ends the row");
    assert_eq!(bench.drop(bench.admitted()), None);
    assert_eq!(bench.drop(bench.admitted()), None);
    assert_eq!(bench.drop(bench.admitted()), went(HalfOpen, Open));
}

/// Peers' failure: a probe that hangs makes the breaker reject for ever.
#[test]
fn a_hanging_probe_is_overtaken() {
    let mut bench = Bench::new(|_| {});
    bench.trip_and_wait();
    let hanging: Vec<_> = (0..3).map(|_| bench.admitted()).collect();
    bench.wait(4_999 * MILLI);
    assert_eq!(bench.denied(), Some(MILLI));
    bench.wait(MILLI);
    let (refused, transition) = bench.admit();
    assert!(refused.is_err());
    assert_eq!(transition, went(HalfOpen, Open));
    bench.wait_until_probing();
    assert_eq!(bench.call(Class::Success), None);
    assert_eq!(bench.call(Class::Success), went(HalfOpen, Recovering));
    for late in hanging {
        assert_eq!(bench.record(late, Class::Fault).transition, None);
    }
    assert_eq!(bench.machine.snapshot(bench.now).calls, 0);
}

/// Peers' failure: a half-open breaker whose probes got lost, or outlived the window, admits nobody again.
#[test]
fn lost_probes_do_not_wedge() {
    let mut bench = Bench::new(|_| {});
    bench.trip_and_wait();
    for _ in 0..10 {
        while let Ok(lost) = bench.admit().0 {
            drop(lost);
        }
        bench.wait(60 * SECOND);
        assert_eq!(bench.admit().1, went(HalfOpen, Open));
        bench.wait_until_probing();
    }
    bench.call(Class::Success);
    bench.call(Class::Success);
    assert_eq!(bench.state(), Recovering);
}

// Recovering

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

#[test]
fn a_ramp_lets_a_share_through_that_grows_with_time() {
    let mut bench = recovering();
    let begun = bench.now;
    for (tenths, expected) in [(0, 10), (3, 10), (5, 10), (6, 12), (10, 20), (25, 50), (40, 80), (49, 98)] {
        bench.now = begun + tenths * 100 * MILLI;
        let passed = passing(&bench, 100).len();
        assert!(passed.abs_diff(expected) <= 1, "{passed} of 100 after {tenths} tenths of a second");
    }
}

#[test]
fn a_ramp_spreads_what_it_lets_through_evenly() {
    let mut bench = recovering();
    assert_eq!(passing(&bench, 40), [0, 10, 20, 30], "the first call, and every tenth");
    let mut bench_at = |time| {
        bench.wait(time);
        passing(&bench, 8)
    };
    assert_eq!(bench_at(2_500 * MILLI), [0, 2, 4, 6], "every other");
    assert_eq!(bench_at(1_250 * MILLI), [0, 1, 2, 4, 5, 6], "three of four");
}

#[test]
fn a_refusal_of_a_ramp_says_how_long_it_takes() {
    let mut bench = recovering();
    bench.calls(1, Class::Success);
    bench.wait(400 * MILLI);
    assert_eq!(bench.denied(), Some(4_600 * MILLI));
    bench.wait(4_600 * MILLI);
    assert!(!bench.machine.is_open_now(|| bench.now));
    let (admission, transition) = bench.admit();
    assert!(admission.is_ok());
    assert_eq!(transition, went(Recovering, Closed));
    assert_eq!(passing(&bench, 100).len(), 100);
}

#[test]
fn a_ramp_trips_by_the_usual_rules() {
    let bench = recovering();
    let trips = |class| {
        (0..200).find_map(|_| bench.admit().0.ok().and_then(|call| bench.record(call, class).transition))
    };
    assert_eq!(trips(Class::Success), None);
    assert_eq!(bench.machine.snapshot(bench.now).calls, 20, "a tenth");
    assert_eq!(trips(Class::Fault), went(Recovering, Open), "half of them failed");
    let wait = bench.denied().expect("an open breaker knows");
    assert!((SECOND..=2 * SECOND).contains(&wait), "{wait:?}: it opened for the second time");

    let mut bench = recovering();
    bench.wait(4_999 * MILLI);
    bench.calls(4, Class::Fault);
    assert_eq!(bench.call(Class::Fault), went(Recovering, Open), "failures in a row");
}

#[test]
fn calls_of_the_ramp_decide_nothing_once_it_is_over() {
    let mut bench = recovering();
    bench.wait(4_900 * MILLI);
    let late: Vec<_> = (0..50).filter_map(|_| bench.admit().0.ok()).collect();
    bench.wait(SECOND);
    assert_eq!(bench.admit().1, went(Recovering, Closed));
    for call in late {
        assert_eq!(bench.record(call, Class::Fault).transition, None);
    }
    assert_eq!(bench.machine.snapshot(bench.now).calls, 0);
}

#[test]
fn without_a_ramp_good_probes_close() {
    let mut bench = Bench::new(|config| (config.probes, config.ramp) = (1, Duration::ZERO));
    bench.trip_and_wait();
    assert_eq!(bench.call(Class::Success), went(HalfOpen, Closed));
}

#[test]
fn a_ramp_without_end_lets_its_least_share_through() {
    let mut bench = Bench::new(|config| (config.probes, config.ramp) = (1, Duration::MAX));
    bench.trip_and_wait();
    bench.call(Class::Success);
    bench.wait(1_000_000 * SECOND);
    assert_eq!(passing(&bench, 100).len(), 10);
}

#[test]
fn threads_get_no_more_through_a_ramp_than_its_share() {
    let mut bench = recovering();
    bench.wait(1_250 * MILLI);
    let passed = scoped(8, || (0..1_000).filter(|_| bench.admit().0.is_ok()).count());
    let passed: usize = passed.into_iter().sum();
    assert!(passed.abs_diff(2_000) <= 1, "{passed} of 8,000, and a quarter is due");
}

// Generations

/// Peers' failure: what was called before the outage decides about the recovery.
#[test]
fn stale_completions_decide_nothing() {
    let mut bench = Bench::new(|_| {});
    let stale: Vec<_> = (0..100).map(|_| bench.admitted()).collect();
    bench.trip_and_wait();
    let probe = bench.admitted();
    for (index, admission) in stale.into_iter().enumerate() {
        let class = if index % 2 == 0 { Class::Success } else { Class::Fault };
        let counted = bench.record(admission, class);
        assert!(counted.result.is_some(), "it is still told as what it was");
        assert_eq!(counted.transition, None);
    }
    assert_eq!(bench.state(), HalfOpen);
    assert_eq!(bench.record(probe, Class::Success).transition, None);
    assert_eq!(bench.call(Class::Success), went(HalfOpen, Recovering));
}

/// Peers' failure: a window that never slides lets an outage of yesterday trip today.
#[test]
fn history_older_than_the_window_has_no_say() {
    let mut bench = Bench::new(rates_only);
    bench.calls(19, Class::Fault);
    bench.wait(10 * SECOND);
    bench.calls(19, Class::Fault);
    bench.wait(10 * SECOND);
    bench.calls(1_000, Class::Success);
    bench.wait(10 * SECOND);
    bench.calls(19, Class::Fault);
    assert_eq!(bench.call(Class::Fault), went(Closed, Open), "a thousand old successes do not delay it");
}

#[test]
fn a_closed_breaker_begins_with_an_empty_window() {
    let mut bench = Bench::new(|config| config.ramp = Duration::ZERO);
    bench.trip_and_wait();
    bench.call(Class::Success);
    bench.call(Class::Success);
    bench.calls(4, Class::Fault);
    assert_eq!(bench.call(Class::Fault), went(Closed, Open));
}

// By hand

#[test]
fn forced_open_refuses_until_reset() {
    let mut bench = Bench::new(|_| {});
    let before = bench.admitted();
    assert_eq!(bench.machine.force_open(bench.now), went(Closed, ForcedOpen));
    assert_eq!(bench.machine.force_open(bench.now), None, "it already is");
    bench.wait(3_600 * SECOND);
    assert_eq!(bench.denied(), None, "nobody knows how long");
    assert!(bench.machine.is_open_now(|| bench.now));
    assert_eq!(bench.record(before, Class::Success).transition, None);
    assert_eq!(bench.machine.reset(bench.now), went(ForcedOpen, Closed));
    assert_eq!(bench.call(Class::Success), None);
}

#[test]
fn disabled_admits_and_counts_nothing() {
    let bench = Bench::new(|_| {});
    assert_eq!(bench.machine.disable(bench.now), went(Closed, Disabled));
    for _ in 0..100 {
        let counted = bench.record(bench.admitted(), Class::Fault);
        assert_eq!(counted, Counted { result: None, transition: None });
    }
    assert_eq!(bench.machine.snapshot(bench.now).calls, 0);
    assert!(!bench.machine.is_open_now(|| unreachable!("no clock")));
}

#[test]
fn reset_really_clears() {
    let mut bench = Bench::new(|config| config.probes = 1);
    bench.calls(4, Class::Fault);
    let before = bench.admitted();
    assert_eq!(bench.machine.reset(bench.now), None, "closed it was");
    assert_eq!(bench.machine.snapshot(bench.now).calls, 0);
    assert_eq!(bench.record(before, Class::Fault).transition, None);
    bench.calls(4, Class::Fault);
    for _ in 0..3 {
        bench.trip_and_wait();
        bench.call(Class::Fault);
        assert_eq!(bench.machine.reset(bench.now), went(Open, Closed));
    }
    bench.trip();
    assert!(bench.denied() <= Some(SECOND), "the exponent went with the rest");
}

#[test]
fn every_state_leads_by_hand_to_every_forced_one() {
    let in_state = |state| {
        let mut bench = Bench::new(|_| {});
        match state {
            Open => bench.trip(),
            HalfOpen => {
                bench.trip_and_wait();
                drop(bench.admitted());
            }
            Recovering => return recovering(),
            ForcedOpen => drop(bench.machine.force_open(bench.now)),
            Disabled => drop(bench.machine.disable(bench.now)),
            _ => {}
        }
        assert_eq!(bench.state(), state);
        bench
    };
    let expected = |from, to| if from == to { None } else { went(from, to) };
    for from in CircuitState::ALL {
        let bench = in_state(from);
        assert_eq!(bench.machine.force_open(bench.now), expected(from, ForcedOpen));
        let bench = in_state(from);
        assert_eq!(bench.machine.disable(bench.now), expected(from, Disabled));
        let bench = in_state(from);
        assert_eq!(bench.machine.reset(bench.now), expected(from, Closed));
        let bench = in_state(from);
        let by_hand = [ForcedOpen, Disabled].contains(&from);
        let trips = if by_hand { None } else { expected(from, Open) };
        assert_eq!(bench.machine.trip_for("a test", bench.now), trips);
    }
}

// Cost and time

#[test]
fn a_closed_breaker_reads_no_clock() {
    let bench = Bench::new(|_| {});
    assert!(bench.machine.admit(|| unreachable!("no clock")).0.is_ok());
    assert!(!bench.machine.is_open_now(|| unreachable!("no clock")));
}

#[test]
fn time_that_goes_back_wedges_nothing() {
    let mut bench = Bench::new(|_| {});
    bench.wait(3_600 * SECOND);
    bench.calls(30, Class::Success);
    bench.now -= 1_800 * SECOND;
    bench.calls(4, Class::Fault);
    assert_eq!(bench.call(Class::Fault), went(Closed, Open), "its own slices hold no other call");
    bench.wait_until_probing();
    assert!(bench.admit().0.is_ok());
    bench.now -= 3_600 * SECOND;
    bench.call(Class::Success);
    assert_eq!(bench.call(Class::Success), went(HalfOpen, Recovering));
    bench.now -= 1_800 * SECOND;
    assert_eq!(passing(&bench, 20).len(), 2);
    bench.wait(3_605 * SECOND);
    assert_eq!(bench.admit().1, went(Recovering, Closed));
}

#[test]
fn a_snapshot_tells_rates_and_times() {
    let mut bench = Bench::new(rates_only);
    assert_eq!(bench.machine.snapshot(bench.now).failure_rate(), None);
    bench.calls(3, Class::Success);
    bench.calls(1, Class::Fault);
    bench.wait(SECOND);
    let snapshot = bench.machine.snapshot(bench.now);
    assert_eq!((snapshot.state, snapshot.calls, snapshot.failures, snapshot.slow), (Closed, 4, 1, 0));
    assert_eq!(snapshot.failure_rate(), Some(Ratio::percent(25)));
    assert_eq!(snapshot.slow_rate(), Some(Ratio::ZERO));
    assert_eq!((snapshot.time_in_state, snapshot.next_probe), (SECOND, None));
    bench.trip();
    bench.wait(100 * MILLI);
    let snapshot = bench.machine.snapshot(bench.now);
    assert_eq!((snapshot.state, snapshot.calls, snapshot.time_in_state), (Open, 0, 100 * MILLI));
    assert_eq!(snapshot.next_probe, bench.denied());
    bench.wait(60 * SECOND);
    assert_eq!(bench.machine.snapshot(bench.now).next_probe, Some(Duration::ZERO));
}

#[test]
fn threads_trip_once_and_probe_within_the_limit() {
    for _ in 0..20 {
        let mut bench = Bench::new(|_| {});
        let trips = scoped(8, || bench.admit().0.ok().and_then(|a| bench.record(a, Class::Fault).transition));
        assert_eq!(trips.into_iter().flatten().collect::<Vec<_>>(), went(Closed, Open).as_slice());
        bench.wait_until_probing();
        let probes = scoped(8, || bench.admit());
        assert_eq!(probes.iter().filter_map(|probe| probe.1).count(), 1, "half-open is entered once");
        assert_eq!(probes.into_iter().filter_map(|probe| probe.0.ok()).map(drop).count(), 3);
    }
}

fn scoped<T: Send>(threads: usize, work: impl Fn() -> T + Sync) -> Vec<T> {
    std::thread::scope(|scope| {
        let handles: Vec<_> = (0..threads).map(|_| scope.spawn(&work)).collect();
        handles.into_iter().map(|handle| handle.join().expect("no panic")).collect()
    })
}
