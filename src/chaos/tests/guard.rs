//! When a guard trips.

use super::*;
use crate::{
    chaos::readings::Readings,
    slo::{ErrorBudget, Objective, Window},
};

/// What a guard says of these calls.
fn says(guard: &Guard, hit: &Outcomes, control: &Outcomes) -> Option<String> {
    guard.look(hit, control, &Readings::default()).map(|trip| trip.value)
}

#[test]
fn a_few_slow_calls_of_a_few_are_no_sign_and_many_are() {
    let guard = Guard::slower(3.0);
    let control = calls(&[(200, Outcome::Success, MILLI)]);
    let hit = |fast, slow| calls(&[(fast, Outcome::Success, MILLI), (slow, Outcome::Success, SECOND)]);
    // One in a hundred may be as slow: to see one of ten takes no more than chance, one time in ten.
    for (fast, slow, trips) in [(0, 1, false), (9, 1, false), (30, 1, false), (0, 2, true), (20, 3, true)] {
        assert_eq!(says(&guard, &hit(fast, slow), &control).is_some(), trips, "{slow} of {}", fast + slow);
    }
}

#[test]
fn what_has_nothing_to_be_compared_with_counts_as_tripped_once_there_are_calls() {
    let none = Outcomes::default();
    for guard in [Guard::errors(Ratio::percent(5)), Guard::slower(3.0)] {
        for (calls_made, expected) in [(0, None), (19, None), (20, Some("no answer"))] {
            for outcome in [Outcome::Success, Outcome::Fault] {
                let hit = calls(&[(calls_made, outcome, MILLI)]);
                assert_eq!(says(&guard, &hit, &none).as_deref(), expected, "{guard} of {calls_made}");
            }
        }
    }
}

#[test]
fn guards_with_no_answer_count_as_tripped() {
    let none = Outcomes::default();
    for guard in [
        Guard::burn("payments", Window::Hour, 14.4),
        Guard::budget("payments", Ratio::percent(10)),
        Guard::breaker_opened("ledger"),
        Guard::probe("books"),
    ] {
        assert_eq!(says(&guard, &none, &none).as_deref(), Some("no answer"), "{guard}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_budget_that_heard_of_no_call_has_no_answer() {
    let ledger = ledger();
    let budget = ErrorBudget::new(Objective::new("payments").target(99.0));
    for guard in [Guard::burn("payments", Window::Minutes5, 14.4), Guard::budget("payments", Ratio::ZERO)] {
        let run = || lab(&ledger).budget(&budget).run(experiment(Fault::latency(MILLI)).guard(guard.clone()));
        let report = run().expect("it is valid").await;
        assert_eq!(report.verdict(), Verdict::NotStarted, "{report}");
        assert!(report.why().ends_with("before it began: no answer"), "{}", report.why());
    }
}

#[tokio::test(start_paused = true)]
async fn what_answers_late_but_before_anything_is_done_is_in_time() {
    let ledger = ledger();
    let budget = ErrorBudget::new(Objective::new("payments").target(99.0));
    let counting = budget.clone();
    tokio::spawn(async move {
        sleep(20 * SECOND).await;
        (0..1_000).for_each(|_| counting.record(true));
    });
    let guarded = experiment(Fault::latency(MILLI)).guard(Guard::burn("payments", Window::Hour, 14.4));
    let report = lab(&ledger).budget(&budget).run(guarded).expect("it is valid").await;
    assert_eq!(report.verdict(), Verdict::Confirmed, "{report}");
}
