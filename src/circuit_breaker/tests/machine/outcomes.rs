//! What each end of a call counts as.

use super::*;

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
