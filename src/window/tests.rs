use std::sync::atomic::{AtomicU64 as Shared, Ordering::Relaxed};

use proptest::prelude::*;

use super::*;

const SECOND: Duration = Duration::from_secs(1);

fn window() -> (Window, Instant) {
    let origin = Instant::now();
    (Window::laned(Extent::Time(10 * SECOND), origin), origin)
}

fn at(origin: Instant, seconds: f64) -> Instant {
    origin + Duration::from_secs_f64(seconds)
}

impl Window {
    fn count_at(&self, now: Instant, kinds: &[Kind]) {
        self.count(0, self.place(now), kinds);
    }

    fn calls_at(&self, now: Instant) -> u64 {
        self.sums(0, self.slice_at(now)).whole.calls
    }
}

#[test]
fn counts_leave_slice_by_slice() {
    let (window, origin) = window();
    for second in 0..10 {
        window.count_at(at(origin, f64::from(second)), &[Kind::Call]);
    }
    let left = |second: f64| window.calls_at(at(origin, second));
    assert_eq!([left(9.9), left(10.0), left(12.5), left(18.9), left(19.0)], [10, 9, 7, 1, 0]);
}

#[test]
fn an_idle_gap_expires_on_read() {
    let (window, origin) = window();
    window.count_at(origin, &[Kind::Call, Kind::Failure]);
    for turns in [1.0, 2.0, 10.0, 1_000.0] {
        assert_eq!(window.calls_at(at(origin, 10.0 * turns)), 0, "{turns} turns later");
    }
}

#[test]
fn a_slot_starts_anew_when_its_turn_comes() {
    let (window, origin) = window();
    (0..7).for_each(|_| window.count_at(at(origin, 3.0), &[Kind::Call]));
    window.count_at(at(origin, 13.0), &[Kind::Call]);
    assert_eq!(window.calls_at(at(origin, 13.0)), 1);
}

#[test]
fn a_late_count_of_a_slice_that_left_disturbs_nobody() {
    let (window, origin) = window();
    window.count_at(at(origin, 13.0), &[Kind::Call]);
    window.count_at(at(origin, 3.0), &[Kind::Call, Kind::Failure]);
    let sums = window.sums(0, window.slice_at(at(origin, 13.0)));
    assert_eq!(sums.whole, Counts { calls: 1, ..Counts::default() });
}

#[test]
fn newest_is_the_current_slice_and_the_one_before() {
    let (window, origin) = window();
    for second in [8.0, 9.5, 10.5] {
        window.count_at(at(origin, second), &[Kind::Call]);
    }
    assert_eq!(window.sums(0, window.slice_at(at(origin, 10.9))).newest.calls, 2);
}

#[test]
fn an_epoch_sees_nothing_of_the_others() {
    let (window, origin) = window();
    let slice = window.slice_at(origin);
    window.count(1, slice, &[Kind::Call]);
    window.count(2, slice, &[Kind::Call]);
    window.count(1, slice, &[Kind::Call, Kind::Slow]);
    assert_eq!(window.sums(1, slice), Sums::default());
    assert_eq!(window.sums(2, slice).whole, Counts { calls: 1, ..Counts::default() });
    window.clear();
    assert_eq!(window.sums(2, slice), Sums::default());
}

#[test]
fn every_epoch_follows_the_one_before_for_ever() {
    let (window, origin) = window();
    let slice = window.slice_at(origin);
    for epoch in (0..=u8::MAX).cycle().take(1_000) {
        window.count(epoch, slice, &[Kind::Call]);
        assert_eq!(window.sums(epoch, slice).whole.calls, 1, "epoch {epoch}");
    }
}

#[test]
fn turns_wrap_without_wedging() {
    let (window, _) = window();
    let last = (1_u64 << TURN_BITS) * SLICES as u64 - 1;
    for slice in last - 20..last + 20 {
        window.count(0, slice, &[Kind::Call]);
        assert!(window.sums(0, slice).newest.calls >= 1, "slice {slice}");
    }
    assert_eq!(window.sums(0, last + 19).whole.calls, 10);
}

#[test]
fn a_full_count_stays_full() {
    let full = 7 << COUNT_BITS | COUNT;
    assert_eq!(next(full, 7), Some(full));
}

#[test]
fn time_before_the_origin_is_the_first_slice() {
    let origin = Instant::now() + 100 * SECOND;
    let window = Window::shared(Extent::Time(10 * SECOND), origin);
    window.count_at(origin - SECOND, &[Kind::Call]);
    assert_eq!(window.calls_at(origin), 1);
}

#[test]
fn a_window_of_calls_holds_the_last_ones_however_old_they_are() {
    let origin = Instant::now();
    let window = Window::laned(Extent::Calls(50), origin);
    assert_eq!(window.calls_at(origin), 0);
    for call in 1..=1_000_u32 {
        window.count_at(at(origin, 3_600.0 * f64::from(call)), &[Kind::Call]);
        let held = window.calls_at(origin);
        assert_eq!(held, if call <= 50 { u64::from(call) } else { 46 + u64::from(call - 1) % 5 });
    }
    assert_eq!(window.calls_at(at(origin, 1e9)), 50, "nor does time take them");
}

#[test]
fn a_window_of_calls_begins_anew_with_its_epoch() {
    let window = Window::shared(Extent::Calls(50), Instant::now());
    let now = Instant::now();
    (0..33).for_each(|_| window.count(0, window.place(now), &[Kind::Call]));
    (0..7).for_each(|_| window.count(1, window.place(now), &[Kind::Call]));
    assert_eq!(window.sums(1, window.slice_at(now)).whole.calls, 7);
}

#[test]
fn threads_lose_no_call_of_a_window_of_calls() {
    let origin = Instant::now();
    let window = Window::laned(Extent::Calls(1_000), origin);
    std::thread::scope(|scope| {
        for _ in 0..8 {
            scope.spawn(|| (0..10_000).for_each(|_| window.count_at(origin, &[Kind::Call, Kind::Slow])));
        }
    });
    let sums = window.sums(0, window.slice_at(origin));
    assert_eq!((sums.whole.calls, sums.whole.slow, sums.newest.calls), (1_000, 1_000, 200));
}

/// Many threads race through 2,000 slices, all of them at every rotation; each count is in its slice afterwards.
#[test]
fn threads_lose_no_count_at_rotation() {
    const THREADS: u64 = 8;
    const SLICES_PASSED: u64 = 2_000;
    let (window, _) = window();
    let clock = Shared::new(0);
    let counted: Vec<_> = (0..SLICES_PASSED).map(|_| Shared::new(0)).collect();
    std::thread::scope(|scope| {
        for _ in 0..THREADS {
            scope.spawn(|| {
                loop {
                    let slice = clock.load(Relaxed);
                    if slice >= SLICES_PASSED {
                        break;
                    }
                    window.count(0, slice, &[Kind::Call, Kind::Failure]);
                    let tally = &counted[usize::try_from(slice).expect("a few thousand")];
                    tally.fetch_add(1, Relaxed);
                    // Somebody moves time on while others are in the middle of it.
                    if tally.load(Relaxed) > 50 {
                        let _ = clock.compare_exchange(slice, slice + 1, Relaxed, Relaxed);
                    }
                }
            });
        }
    });
    let expected: u64 = counted[counted.len() - SLICES..].iter().map(|count| count.load(Relaxed)).sum();
    let newest: u64 = counted[counted.len() - 2..].iter().map(|count| count.load(Relaxed)).sum();
    let sums = window.sums(0, SLICES_PASSED - 1);
    assert_eq!((sums.whole.calls, sums.whole.failures), (expected, expected));
    assert_eq!((sums.newest.calls, sums.newest.failures), (newest, newest));
}

#[derive(Clone, Copy, Debug)]
enum Step {
    Wait(Duration),
    Count(u8),
    /// A count that was timed earlier than those before it.
    Late(u8, Duration),
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let wait = prop_oneof![4 => 0_u64..1_500, 1 => 5_000_u64..25_000];
    let step = prop_oneof![
        wait.prop_map(|ms| Step::Wait(Duration::from_millis(ms))),
        (0_u8..4).prop_map(Step::Count),
        (0_u8..4, 0_u64..12_000).prop_map(|(what, ms)| Step::Late(what, Duration::from_millis(ms))),
    ];
    prop::collection::vec(step, 0..120)
}

fn kinds(what: u8) -> &'static [Kind] {
    match what {
        0 => &[Kind::Call],
        1 => &[Kind::Call, Kind::Failure],
        2 => &[Kind::Call, Kind::Slow],
        _ => &[Kind::Abandoned],
    }
}

/// The window as one would explain it: a list of what was counted and when.
fn reference(list: &[(u64, u8)], now: u64, slices: u64) -> Counts {
    let mut counts = Counts::default();
    for &(_, what) in list.iter().filter(|&&(when, _)| when <= now && when + slices > now) {
        counts.calls += u64::from(what < 3);
        counts.failures += u64::from(what == 1);
        counts.slow += u64::from(what == 2);
        counts.abandoned += u64::from(what == 3);
    }
    counts
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(256))]

    #[test]
    fn window_agrees_with_a_list(steps in steps(), striped: bool) {
        let origin = Instant::now();
        let window = if striped { Window::laned } else { Window::shared }(Extent::Time(10 * SECOND), origin);
        let (mut list, mut elapsed) = (Vec::new(), Duration::ZERO);
        for step in steps {
            let (what, when) = match step {
                Step::Wait(time) => { elapsed += time; continue }
                Step::Count(what) => (what, elapsed),
                Step::Late(what, late) => (what, elapsed.saturating_sub(late)),
            };
            window.count_at(origin + when, kinds(what));
            list.push((when.as_secs(), what));
            let slice = elapsed.as_secs();
            let expected = Sums {
                whole: reference(&list, slice, 10),
                newest: reference(&list, slice, 2),
            };
            prop_assert_eq!(window.sums(0, window.slice_at(origin + elapsed)), expected);
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(256))]

    #[test]
    fn window_of_calls_agrees_with_a_list(calls in 1_u32..70, what in prop::collection::vec(0_u8..4, 0..300)) {
        let now = Instant::now();
        let window = Window::laned(Extent::Calls(calls), now);
        let (mut list, size) = (Vec::new(), u64::from(calls.div_ceil(10)));
        for (call, what) in (0_u64..).zip(what) {
            window.count_at(now, kinds(what));
            list.push((call / size, what));
            let expected =
                Sums { whole: reference(&list, call / size, 10), newest: reference(&list, call / size, 2) };
            prop_assert_eq!(window.sums(0, window.slice_at(now)), expected);
        }
    }
}

/// Two threads come to a slot of the turn before, and a third call is late by a turn: both of the new turn count.
#[cfg(moneta_loom)]
#[test]
fn loom_no_count_is_lost_at_rotation() {
    let origin = Instant::now();
    loom::model(move || {
        let window = loom::sync::Arc::new(Window::shared(Extent::Time(10 * SECOND), origin));
        window.count(0, 3, &[Kind::Call]);
        let other = loom::sync::Arc::clone(&window);
        let thread = loom::thread::spawn(move || {
            other.count(0, 3, &[Kind::Call]);
            other.count(0, 13, &[Kind::Call]);
        });
        window.count(0, 13, &[Kind::Call]);
        thread.join().expect("no panic");
        assert_eq!(window.sums(0, 13).whole.calls, 2);
        assert_eq!(window.sums(0, 12).whole.calls, 0);
    });
}
