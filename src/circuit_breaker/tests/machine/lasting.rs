//! What holds in every state: generations, what is done by hand, clocks and threads.

use super::*;

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
