//! Open, half-open, recovering.

use super::*;

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

#[test]
fn a_probe_is_overtaken_when_its_call_has_no_time_left_unless_something_else_was_said() {
    for (said, millis) in [(None, 20_000), (Some(2 * SECOND), 2_000)] {
        let mut bench = Bench::new(|config| config.probe_timeout = said);
        bench.trip_and_wait();
        let hanging = |left| bench.machine.admit(|| (bench.now, Some(bench.now + left))).0.expect("a probe");
        let _hanging = [60, 20, 40].map(|left| hanging(left * SECOND));
        assert_eq!(bench.denied(), Some(millis * MILLI));
        bench.wait((millis - 1) * MILLI);
        assert_eq!((bench.denied(), bench.state()), (Some(MILLI), HalfOpen));
        bench.wait(MILLI);
        assert_eq!(bench.admit().1, went(HalfOpen, Open));
    }
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
