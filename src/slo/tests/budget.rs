use std::time::Duration;

use proptest::{collection::vec, prelude::*};
use tokio::time::{Instant, advance};

use crate::{
    fnv::fnv,
    name::Name,
    registry::Registry,
    slo::{BurnRule, ErrorBudget, InvalidSnapshot, Objective, Severity, Snapshot, Window},
};

const SECOND: Duration = Duration::from_secs(1);
const MINUTE: Duration = Duration::from_secs(60);
const HOUR: Duration = Duration::from_secs(3_600);

fn login() -> ErrorBudget {
    ErrorBudget::new(Objective::new("login").target(99.9))
}

/// So many outcomes evenly over a time, in steps of a second. One in `bad_every` is bad.
async fn run(budget: &ErrorBudget, time: Duration, per_second: u64, bad_every: u64) {
    for second in 0..time.as_secs() {
        for n in 0..per_second {
            budget.record((second * per_second + n) % bad_every != 0);
        }
        advance(SECOND).await;
    }
}

/// The text of a snapshot of these lines, with the hash that it has to have.
fn sealed(lines: &[&str]) -> String {
    let text = lines.join("\n");
    format!("{text}\n{:016x}\n", fnv(text.as_bytes()))
}

fn firing(budget: &ErrorBudget) -> Vec<String> {
    budget.alerts().map(|rule| format!("{} {rule}", rule.severity.as_str())).collect()
}

#[tokio::test(start_paused = true)]
async fn what_was_counted_shows_a_second_later_and_in_every_window() {
    let budget = login();
    run(&budget, SECOND, 1_000, 1_000).await;
    for window in Window::ALL {
        assert_eq!(budget.counts(window), (999, 1), "{window:?}");
        assert!((budget.burn(window) - 1.0).abs() < 1e-9, "{window:?}: {}", budget.burn(window));
    }
    assert!(budget.remaining().abs() < 1e-9, "{}", budget.remaining());
}

#[tokio::test(start_paused = true)]
async fn what_was_counted_leaves_each_window_in_its_time_and_the_idle_budget_is_whole() {
    let budget = login();
    run(&budget, SECOND, 1_000, 10).await;
    let start = Instant::now();
    for window in Window::ALL {
        advance((start + window.duration() * 9 / 10).saturating_duration_since(Instant::now())).await;
        assert_eq!(budget.counts(window), (900, 100), "{window:?} holds it");
        advance((start + window.duration() * 11 / 10).saturating_duration_since(Instant::now())).await;
        assert_eq!(budget.counts(window), (0, 0), "{window:?} has lost it");
        assert_eq!(budget.burn(window).to_bits(), 0.0_f64.to_bits(), "no NaN");
    }
    assert_eq!(budget.remaining().to_bits(), 1.0_f64.to_bits());
}

#[tokio::test(start_paused = true)]
async fn a_burst_before_a_long_silence_is_as_old_as_it_is() {
    let budget = login();
    for _ in 0..200 {
        budget.record(false);
    }
    advance(5 * HOUR).await;
    // The first to come after it settles what nobody has looked at since.
    budget.record(true);
    advance(SECOND).await;
    assert_eq!(budget.counts(Window::Hour), (1, 0));
    assert_eq!(budget.counts(Window::Hours6), (1, 200));
    assert_eq!(firing(&budget), ["ticket 3d/6h 1"], "all other short windows are calm");
}

#[tokio::test(start_paused = true)]
async fn two_percent_bad_page_within_the_hour_and_resolve_after_it() {
    let budget = login();
    run(&budget, 6 * HOUR, 2, u64::MAX).await;
    run(&budget, 30 * MINUTE, 2, 50).await;
    assert!(budget.alerts().all(|rule| rule.long != Window::Hour), "burn 10 over the hour so far");
    run(&budget, 20 * MINUTE, 2, 50).await;
    assert!(firing(&budget).contains(&"page 1h/5m 14.4".to_owned()), "{:?}", firing(&budget));
    run(&budget, 6 * MINUTE, 2, u64::MAX).await;
    assert!(budget.alerts().all(|rule| rule.long != Window::Hour), "the short window is calm");
}

#[tokio::test(start_paused = true)]
async fn few_events_wake_nobody() {
    let budget = login();
    for _ in 0..99 {
        budget.record(false);
    }
    advance(SECOND).await;
    assert!(firing(&budget).is_empty());
    budget.record(false);
    advance(SECOND).await;
    assert_eq!(firing(&budget).len(), BurnRule::ALL.len());
    assert_eq!(budget.alerts().next().map(|rule| rule.severity), Some(Severity::Page));
    assert!(firing(&login().min_events(0)).is_empty(), "nothing is not over anything");
}

#[tokio::test(start_paused = true)]
async fn a_restart_keeps_the_budget_and_what_is_old_is_older_after_it() {
    let before = login();
    run(&before, 10 * MINUTE, 10, 100).await;
    let text = before.snapshot().to_string();
    advance(HOUR + 10 * SECOND).await;
    let after = login();
    run(&after, SECOND, 1_000, 1_000).await;
    after.restore(&text.parse().expect("it is whole")).expect("it is of the same");
    assert_eq!(after.counts(Window::Days30), (5_940 + 999, 60 + 1));
    assert_eq!(after.counts(Window::Hours2), (5_940 + 999, 60 + 1));
    assert_eq!(after.counts(Window::Hour), (999, 1), "it was more than an hour ago");
    assert!((after.remaining() - (1.0 - 61.0 / 7_000.0 / 0.001)).abs() < 1e-6, "{}", after.remaining());
    let foreign = ErrorBudget::new(Objective::new("logout"));
    let refused = foreign.restore(&text.parse().expect("it is whole")).expect_err("it is another's");
    assert_eq!(refused.to_string(), "the snapshot is of the objective \"login\", and not of \"logout\"");
    assert_eq!(foreign.counts(Window::Days30), (0, 0));
}

/// Jobs live for a minute, services until the next release. None of them lives as long as the slices of a month are.
#[tokio::test(start_paused = true)]
async fn a_budget_grows_old_however_often_its_process_begins_anew() {
    for (lives, rests, window) in [
        (45 * SECOND, 22 * SECOND, Window::Hour),
        (2 * SECOND, 58 * SECOND, Window::Hours6),
        (7 * MINUTE, 2 * MINUTE, Window::Days3),
        (50 * MINUTE, SECOND, Window::Days30),
    ] {
        let before = login();
        run(&before, SECOND, 1_000, 10).await;
        let (mut text, start) = (before.snapshot().to_string(), Instant::now());
        let (mut held, mut gone) = (false, false);
        while start.elapsed() < window.duration() * 11 / 10 {
            let budget = login();
            budget.restore(&text.parse().expect("it is whole")).expect("it is of the same");
            advance(lives).await;
            let share = start.elapsed().as_secs_f64() / window.duration().as_secs_f64();
            if (0.9..0.95).contains(&share) {
                held = true;
                assert_eq!(budget.counts(window), (900, 100), "{window:?} holds it");
            } else if share > 1.05 {
                gone = true;
                assert_eq!(budget.counts(window), (0, 0), "{window:?} has lost it");
            }
            text = budget.snapshot().to_string();
            advance(rests).await;
        }
        assert!(held && gone, "{window:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn no_jump_of_a_clock_breaks_the_books() {
    let budget = login();
    run(&budget, SECOND, 1_000, 1_000).await;
    let earlier = Instant::now();
    advance(200 * 24 * HOUR).await;
    budget.record(true);
    // A thread that read its clock long ago, and the wall clock of a snapshot from the future.
    budget.record_at(false, earlier);
    advance(SECOND).await;
    assert_eq!(budget.counts(Window::Days30), (1, 1));
    let text = budget.snapshot().to_string();
    let mut lines: Vec<&str> = text.lines().collect();
    lines[2] = "18446744073709551615";
    let future: Snapshot = sealed(&lines[..7]).parse().expect("it is whole");
    budget.restore(&future).expect("it is of the same");
    assert_eq!(budget.counts(Window::Minutes5), (2, 2), "as old as it was");
    lines[2] = "0";
    budget.restore(&sealed(&lines[..7]).parse().expect("it is whole")).expect("it is of the same");
    assert_eq!(budget.counts(Window::Days30), (2, 2), "from long ago");
}

#[tokio::test(start_paused = true)]
async fn a_snapshot_that_was_cut_or_changed_is_refused() {
    let budget = login();
    run(&budget, SECOND, 10, 5).await;
    let text = budget.snapshot().to_string();
    assert_eq!(text.parse(), Ok(budget.snapshot()));
    let lines: Vec<&str> = text.lines().collect();
    for kept in 0..text.len() {
        assert_eq!(text[..kept].parse::<Snapshot>(), Err(InvalidSnapshot), "{kept} bytes");
    }
    for at in 0..text.len() {
        let changed = if text.as_bytes()[at] == b'7' { "8" } else { "7" };
        let changed = format!("{}{changed}{}", &text[..at], &text[at + 1..]);
        assert_eq!(changed.parse::<Snapshot>(), Err(InvalidSnapshot), "{changed}");
    }
    for kept in 0..lines.len() - 1 {
        assert_eq!(sealed(&lines[..kept]).parse::<Snapshot>(), Err(InvalidSnapshot), "{kept} lines");
    }
    for (from, to) in [
        ("budget 1", "budget 2"),
        ("login", ""),
        ("0:8/2", "0:8"),
        ("0:8/2", "720:8/2"),
        ("0:8/2", "0:8/2 0:8/2"),
        ("0:8/2", "0:8/-2"),
        ("0:8/2", "0:18446744073709551615/2"),
    ] {
        let text = lines[..7].join("\n");
        assert!(text.contains(from), "{text}");
        assert_eq!(
            sealed(&[&text.replace(from, to)]).parse::<Snapshot>(),
            Err(InvalidSnapshot),
            "{from} for {to}"
        );
    }
    assert_eq!(sealed(&[&lines[..7], &["more"]].concat()).parse::<Snapshot>(), Err(InvalidSnapshot));
    assert_eq!(text.replace('\n', "\r\n").parse::<Snapshot>(), Err(InvalidSnapshot));
}

#[tokio::test(start_paused = true)]
async fn a_run_that_was_missed_between_two_processes_is_a_step_of_the_exported_total() {
    let report = || ErrorBudget::new(Objective::new("report").by("06:00", "UTC"));
    let before = report().snapshot();
    advance(2 * 24 * HOUR).await;
    let (after, registry) = (report(), Registry::new());
    after.export_to(&registry);
    after.restore(&before).expect("it is of the same");
    assert_eq!(after.counts(Window::Days30), (0, 2));
    let bad = || registry.objectives()[0].1.events.bad;
    assert_eq!([bad(), bad(), bad()], [0, 2, 2], "a rate is of what changes");
}

#[tokio::test(start_paused = true)]
async fn a_snapshot_of_calls_is_none_of_daily_runs() {
    let (calls, runs) = (login(), ErrorBudget::new(Objective::new("login").by("06:00", "UTC")));
    let refused = runs.restore(&calls.snapshot()).expect_err("it counts something else");
    assert_eq!(refused.to_string(), "the snapshot counts calls, and the objective of that name daily runs");
    let refused = calls.restore(&runs.snapshot()).expect_err("it counts something else");
    assert_eq!(refused.to_string(), "the snapshot counts daily runs, and the objective of that name calls");
}

/// The most that a snapshot can say, in every slice.
#[tokio::test(start_paused = true)]
async fn no_number_of_restores_overflows_the_books_and_they_heal() {
    const MOST: u64 = 1 << 48;
    let ring = |len: u64| (0..len).map(|age| format!("{age}:{MOST}/{MOST}")).collect::<Vec<_>>().join(" ");
    let rings = [360, 360, 432, 720].map(ring).join("\n");
    let budget = login();
    let text = budget.snapshot().to_string();
    let head: Vec<&str> = text.lines().take(3).collect();
    let hostile: Snapshot = sealed(&[&head[..], &[&*rings]].concat()).parse().expect("it is whole");
    for _ in 0..200 {
        budget.restore(&hostile).expect("it is of the same");
    }
    assert_eq!(budget.counts(Window::Days30), (720 * MOST, 720 * MOST));
    assert!((budget.burn(Window::Days30) - 500.0).abs() < 1e-6, "half of all was bad: {budget:?}");
    let own = budget.snapshot();
    assert_eq!(own.to_string().parse(), Ok(own), "what it says itself is whole");
    (0..10).for_each(|_| budget.record(true));
    advance(31 * 24 * HOUR).await;
    budget.record(true);
    assert_eq!(Window::ALL.map(|window| budget.counts(window)), [(1, 0); 8]);
}

#[test]
fn no_outcome_is_lost_between_threads_that_count_and_settle() {
    let budget = login();
    std::thread::scope(|scope| {
        for thread in 0..4_u32 {
            let budget = budget.clone();
            scope.spawn(move || {
                let start = Instant::now();
                for n in 0..20_000_u32 {
                    // Each thread has its own idea of the time, and they settle all the while.
                    budget.record_at(n % 4 != 0, start + SECOND * (n / 100 + thread));
                }
            });
        }
    });
    assert_eq!(budget.counts(Window::Days30), (60_000, 20_000));
}

proptest! {
    #[test]
    fn no_bytes_are_taken_for_a_snapshot_that_nobody_took(text in "\\PC*", lines in vec("[0-9:/ a-z-]{0,20}", 0..9)) {
        prop_assert_eq!(text.parse::<Snapshot>(), Err(InvalidSnapshot));
        let lines: Vec<_> = lines.iter().map(String::as_str).collect();
        prop_assert_eq!(sealed(&lines).parse::<Snapshot>(), Err(InvalidSnapshot));
    }

    #[test]
    fn a_snapshot_keeps_every_name(name in "\\PC{1,16}") {
        prop_assume!(Name::new(&name).is_ok());
        let snapshot = ErrorBudget::new(Objective::new(&name)).snapshot();
        prop_assert_eq!(snapshot.to_string().parse(), Ok(snapshot));
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    /// What is settled once a second, and read off atomics, is what a list of all outcomes says.
    #[test]
    fn the_budget_agrees_with_a_list_of_everything(steps in vec((0..7_200_u64, 0..30_u32, 0..3_u32), 1..40)) {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_time().start_paused(true).build();
        runtime.expect("it needs nothing").block_on(async {
            let budget = login().min_events(20);
            let start = Instant::now();
            let mut all = Vec::new();
            for (gap, good, bad) in steps {
                advance(SECOND * u32::try_from(gap + 1).expect("it is small")).await;
                let now = start.elapsed().as_secs() / 10;
                for n in 0..good + bad {
                    budget.record(n < good);
                    all.push((now, n < good));
                }
                advance(SECOND).await;
                let now = start.elapsed().as_secs() / 10;
                for (window, width, len) in
                    [(Window::Minutes5, 1, 30), (Window::Hour, 1, 360), (Window::Hours6, 6, 360), (Window::Days3, 60, 432)]
                {
                    let inside = all.iter().filter(|(at, _)| now / width - at / width < len);
                    let (good, bad): (Vec<bool>, Vec<bool>) = inside.map(|&(_, good)| good).partition(|good| *good);
                    prop_assert_eq!(budget.counts(window), (good.len() as u64, bad.len() as u64), "{:?}", window);
                }
            }
            Ok(())
        })?;
    }
}

/// What `promtool` finds on the same day, by the rules that are generated for the same objective.
#[tokio::test(start_paused = true)]
async fn the_process_and_prometheus_find_the_same_burn_rates() {
    const DAY: &str = include_str!("../../../tests/slo/login.test.yml");
    let (first, _) = DAY.split_once("\n  - name: a burn that is exactly").expect("the next day follows");
    let burn_rates = first.split("- expr: abs(slo:bad:ratio_rate1h / 0.001 / ").skip(1).map(|expectation| {
        let (burn, rest) = expectation.split_once(' ').expect("a number, and how far it may be off");
        let at = rest.split_once("eval_time: ").and_then(|(_, rest)| rest.lines().next()).expect("a time");
        let (hours, minutes) = at.split_once('h').expect("hours, and minutes if there are some");
        let minutes = minutes.strip_suffix('m').map_or(0, |minutes| minutes.parse().expect("a number"));
        (60 * hours.parse::<u64>().expect("a number") + minutes, burn.parse::<f64>().expect("a number"))
    });
    let burn_rates: Vec<_> = burn_rates.collect();
    assert_eq!(burn_rates.len(), 4);

    let budget = login();
    for minute in 1..=9 * 60 + 30 {
        // One in fifty is bad from hour 6 to hour 9.
        for _ in 0..10 {
            for n in 0..50 {
                budget.record(n > 0 || !(361..=540).contains(&minute));
            }
            advance(MINUTE / 10).await;
        }
        for (_, theirs) in burn_rates.iter().filter(|&&(at, _)| at == minute) {
            let ours = budget.burn(Window::Hour);
            assert!((ours / theirs - 1.0).abs() < 0.01, "minute {minute}: {ours}, and not {theirs}");
        }
    }
}
