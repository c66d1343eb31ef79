//! When a breaker trips.

use super::*;

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
