//! Who is told of alerts, and when.

use std::{
    sync::{Arc, OnceLock},
    time::Duration,
};

use tokio::time::advance;

use crate::{
    event::{Event, Severity},
    name::Name,
    observer::{Interest, Observer, Sink},
    record::Tape,
    registry::Registry,
    slo::{ErrorBudget, Objective, Window},
    tally::Count,
};

const SECOND: Duration = Duration::from_secs(1);
const HOUR: Duration = Duration::from_secs(3_600);

/// A budget that tells a tape.
fn imports() -> (ErrorBudget, Arc<Tape>) {
    told_of(Objective::new("imports").target(99.9))
}

fn told_of(objective: Objective) -> (ErrorBudget, Arc<Tape>) {
    let tape = Arc::new(Tape::new());
    let observer = Observer::unnamed("imports").sink(tape.clone());
    (ErrorBudget::new(objective).observer(observer), tape)
}

/// The alerts on a tape: their long windows in hours, and whether they began.
fn told(tape: &Tape) -> Vec<(Severity, u64, bool)> {
    let alert = |event| match event {
        Event::BudgetAlert { slo: "imports", severity, window, firing } => {
            (severity, window.as_secs() / 3_600, firing)
        }
        other => panic!("a budget tells of nothing but its alerts: {other:?}"),
    };
    tape.events().into_iter().map(alert).collect()
}

const PAGES: [(Severity, u64); 2] = [(Severity::Page, 1), (Severity::Page, 6)];
const TICKETS: [(Severity, u64); 2] = [(Severity::Ticket, 24), (Severity::Ticket, 72)];

fn all(firing: bool) -> Vec<(Severity, u64, bool)> {
    PAGES.into_iter().chain(TICKETS).map(|(severity, window)| (severity, window, firing)).collect()
}

/// What is read when the metrics of the process are.
fn exported(budget: &ErrorBudget) -> Count {
    let registry = Registry::new();
    budget.export_to(&registry);
    registry.objectives()[0].1.events
}

#[tokio::test(start_paused = true)]
async fn a_budget_that_is_fed_by_hand_tells_its_observer_when_an_alert_begins_and_when_it_ends() {
    let (budget, tape) = imports();
    (0..100).for_each(|_| budget.record(false));
    assert_eq!(told(&tape), [], "nobody has settled yet");
    advance(SECOND).await;
    budget.record(true);
    assert_eq!(told(&tape), all(true));
    budget.record(true);
    advance(SECOND).await;
    budget.record(true);
    assert_eq!(told(&tape).len(), 4, "once");
    tape.clear();
    advance(7 * HOUR).await;
    budget.record(true);
    assert_eq!(told(&tape), all(false), "the short windows are calm");
}

#[tokio::test(start_paused = true)]
async fn whoever_asks_finds_what_began() {
    let asks: [fn(&ErrorBudget); 10] = [
        |budget| budget.record(true),
        |budget| _ = budget.remaining(),
        |budget| _ = budget.burn(Window::Hour),
        |budget| _ = budget.alerts(),
        |budget| _ = budget.gate(),
        |budget| _ = budget.counts(Window::Hour),
        |budget| budget.feed(1.0, 0.0, SECOND),
        |budget| _ = budget.snapshot(),
        |budget| assert!(budget.restore(&ErrorBudget::new(budget.objective().clone()).snapshot()).is_ok()),
        |budget| _ = exported(budget),
    ];
    for (index, ask) in asks.into_iter().enumerate() {
        let (budget, tape) = imports();
        (0..100).for_each(|_| budget.record(false));
        advance(SECOND).await;
        ask(&budget);
        ask(&budget);
        assert_eq!(told(&tape), all(true), "{index}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_restored_outage_is_told_at_once() {
    let (before, _) = imports();
    (0..100).for_each(|_| before.record(false));
    let (after, tape) = imports();
    after.restore(&before.snapshot()).expect("it is of the same");
    assert_eq!(told(&tape), all(true));
}

#[tokio::test(start_paused = true)]
async fn a_run_that_is_missing_is_told_when_the_metrics_are_read() {
    let (report, tape) = told_of(Objective::new("imports").target(99.0).by("06:00", "UTC"));
    advance(24 * HOUR).await;
    assert_eq!(exported(&report).bad, 1);
    assert_eq!(told(&tape), all(true));
}

#[tokio::test(start_paused = true)]
async fn a_sink_may_ask_the_budget_that_tells_it() {
    struct Curious(OnceLock<ErrorBudget>);
    impl Sink for Curious {
        fn interest(&self) -> Interest {
            Interest::ALERTS
        }

        fn record(&self, pipeline: &Name, _: &Event) {
            let budget = self.0.get().expect("it is given before anything is counted");
            budget.record(true);
            assert!(budget.counts(Window::Hour).1 == 100 && budget.alerts().count() == 4);
            panic!("{pipeline}: and its panics are its own")
        }
    }
    let curious = Arc::new(Curious(OnceLock::new()));
    let observer = Observer::unnamed("imports").sink(curious.clone());
    let budget = ErrorBudget::new(Objective::new("imports")).observer(observer);
    assert!(curious.0.set(budget.clone()).is_ok());
    (0..100).for_each(|_| budget.record(false));
    advance(SECOND).await;
    budget.record(true);
    advance(SECOND).await;
    assert_eq!(budget.counts(Window::Hour), (5, 100), "it was told of four alerts");
}
