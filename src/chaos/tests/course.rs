//! How an experiment goes, and what comes of it.

use super::*;
use crate::{
    BoxError,
    slo::{ErrorBudget, Objective, Window},
};

#[tokio::test(start_paused = true)]
async fn a_hypothesis_that_holds_in_every_step_and_after_it_is_confirmed() {
    let ledger = ledger();
    let report = run(&ledger, experiment(Fault::latency(50 * MILLI)).approved_by("ada")).await;
    assert_eq!(report.verdict(), Verdict::Confirmed, "{report}");
    let (hit, control) = (report.hit(), report.control().expect("there is one"));
    // A hundred calls a second, 20 seconds a step, a tenth and a half of them.
    assert!((1_050..1_350).contains(&hit.total()), "{report}");
    assert!(control.total().abs_diff(hit.total()) < 150, "{report}");
    assert_eq!((hit.failed(), control.failed()), (0, 0));
    assert!(hit.quantile(Ratio::percent(1)) >= Some(50 * MILLI));
    assert!(control.quantile(Ratio::percent(99)) < Some(MILLI));
    let told = told(&report);
    assert_eq!(told[..4], ["created", "approved by ada", "started", "step 1: 10 %"]);
    assert!(told[4].starts_with("injected "), "{told:?}");
    assert_eq!(told[5], "step 2: 50 %");
    assert_eq!(told.last().map(String::as_str), Some("completed: confirmed"));
    assert!(report.audit().iter().zip(1..).all(|(entry, number)| entry.number == number));
    assert!(nothing_is_armed(&ledger));
}

#[tokio::test(start_paused = true)]
async fn a_hypothesis_that_does_not_hold_is_refuted_at_the_first_step_and_everything_is_undone() {
    let ledger = ledger();
    let report = run(&ledger, experiment(broken())).await;
    assert_eq!(report.verdict(), Verdict::Refuted, "{report}");
    assert!(report.why().starts_with("at 10 %: 99 % of the calls succeed"), "{}", report.why());
    assert!(!told(&report).contains(&"step 2: 50 %".to_owned()));
    assert_eq!(report.hit().bad, report.hit().total());
    assert_eq!(report.control().map(crate::fault::Outcomes::failed), Some(0));
    assert!(nothing_is_armed(&ledger));
}

#[tokio::test(start_paused = true)]
async fn a_guard_that_trips_aborts_at_once_and_for_good() {
    let ledger = ledger();
    let report = run(&ledger, experiment(broken()).guard(Guard::errors(Ratio::percent(20)))).await;
    assert_eq!(report.verdict(), Verdict::Aborted, "{report}");
    assert_eq!(report.injected_after_abort(), Some(Duration::ZERO));
    // The bound of one side is over 20 % after a few calls, long before the step is judged.
    assert!((1..100).contains(&report.hit().total()), "{report}");
    let told = told(&report);
    let at = told.iter().position(|entry| entry.starts_with("guard tripped: errors above control"));
    assert!(
        at.is_some_and(|at| told[at..].iter().any(|entry| entry.starts_with("aborted by guard"))),
        "{told:?}"
    );
    assert_eq!(judged_in_steps(&report), ["| at 10 % | 99 % of the calls succeed | 0 of"], "{report}");
    let injected = ledger.calls.handle().counts().faults(crate::event::FaultKind::Error);
    sleep(10 * SECOND).await;
    assert_eq!(ledger.calls.handle().counts().faults(crate::event::FaultKind::Error), injected);
}

/// What the report says of the hypothesis while calls were hit, without how many they were.
fn judged_in_steps(report: &Report) -> Vec<String> {
    let text = report.to_string();
    let rows = text.lines().filter(|line| line.starts_with("| at "));
    rows.map(|row| row[..row.rfind(" of ").expect("so many of so many") + 3].to_owned()).collect()
}

#[tokio::test(start_paused = true)]
async fn what_was_seen_before_is_not_told_of_a_step_that_was_called_off_unjudged() {
    let ledger = ledger();
    let run = lab(&ledger).run(experiment(broken())).expect("it is valid");
    let grip = run.grip();
    let controller = tokio::spawn(run);
    while ledger.calls.handle().counts().faults(crate::event::FaultKind::Error) == 0 {
        sleep(10 * MILLI).await;
    }
    grip.abort("ada", "that is enough");
    let report = controller.await.expect("no panic");
    assert_eq!(report.verdict(), Verdict::Aborted, "{report}");
    assert!(report.hit().total() > 0 && judged_in_steps(&report).is_empty(), "{report}");
}

#[tokio::test(start_paused = true)]
async fn a_steady_state_that_does_not_hold_before_is_no_experiment() {
    let ledger = ledger();
    ledger.calls.handle().faults().arm(broken());
    let report = run(&ledger, experiment(Fault::latency(MILLI))).await;
    assert_eq!(report.verdict(), Verdict::NotStarted, "{report}");
    assert_eq!(report.hit().total(), 0);
    assert_eq!(ledger.calls.handle().faults().armed().len(), 1, "what others armed stays");
}

#[tokio::test(start_paused = true)]
async fn too_few_calls_say_nothing() {
    let ledger = ledger();
    let few = experiment(Fault::latency(MILLI)).step(Step::new(Ratio::ONE).min_calls(1_000_000).hold(SECOND));
    let report = run(&ledger, few).await;
    assert_eq!((report.verdict(), report.why()), (Verdict::Inconclusive, "too few calls at 100 %"));
    ledger.traffic.abort();
    let report = run(&ledger, experiment(Fault::latency(MILLI))).await;
    assert_eq!((report.verdict(), report.why()), (Verdict::NotStarted, "too few calls before it began"));
}

#[tokio::test(start_paused = true)]
async fn a_system_that_does_not_recover_refutes_it() {
    let ledger = ledger();
    let left_behind = ledger.calls.clone();
    let action = move || {
        left_behind.handle().faults().arm(broken());
        async { Ok(()) }
    };
    // It does no harm while it lasts, and leaves something behind when it is undone.
    let lab = lab(&ledger).action("restart", || async { Ok(()) }, action);
    let restart = Experiment::new("restart").action("restart", "ledger").step(Step::new(Ratio::ONE));
    let report =
        lab.run(restart.hypothesis(Hypothesis::new().success(Ratio::percent(99)))).expect("valid").await;
    assert_eq!(report.verdict(), Verdict::Refuted, "{report}");
    assert!(report.why().starts_with("it did not recover"), "{}", report.why());
    assert!(report.control().is_none());
    assert!(
        report.to_string().contains("\n| meanwhile |") && !report.to_string().contains("## Steps"),
        "{report}"
    );
    assert!(!told(&report).iter().any(|entry| entry.starts_with("injected")), "{report}");
}

#[tokio::test(start_paused = true)]
async fn an_action_is_undone_however_it_ends() {
    for begins in [true, false] {
        let (ledger, log) = (ledger(), Arc::new(Mutex::new(Vec::new())));
        let [at_begin, at_end] = [(); 2].map(|()| Arc::clone(&log));
        let begin = move || {
            lock(&at_begin).push("begin");
            async move { if begins { Ok(()) } else { Err(BoxError::from("no such process")) } }
        };
        let end = move || {
            lock(&at_end).push("end");
            async { Ok(()) }
        };
        let lab = lab(&ledger).action("kill", begin, end);
        let hypothesis = Hypothesis::new().success(Ratio::percent(99));
        let kill = Experiment::new("kill").action("kill", "ledger").step(Step::new(Ratio::ONE));
        let report = lab.run(kill.hypothesis(hypothesis)).expect("it is valid").await;
        let expected = if begins { Verdict::Confirmed } else { Verdict::Aborted };
        assert_eq!((report.verdict(), &lock(&log)[..]), (expected, &["begin", "end"][..]), "{report}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_run_that_is_dropped_while_it_undoes_its_action_leaves_nothing_half_undone() {
    let (ledger, log) = (ledger(), Arc::new(Mutex::new(Vec::new())));
    let at_end = Arc::clone(&log);
    let end = move || {
        let log = Arc::clone(&at_end);
        async move {
            lock(&log).push("begins");
            sleep(20 * SECOND).await;
            lock(&log).push("is undone");
            Ok(())
        }
    };
    let lab = lab(&ledger).action("kill", || async { Ok(()) }, end);
    let hypothesis = Hypothesis::new().success(Ratio::percent(99));
    let kill = Experiment::new("kill").action("kill", "ledger").step(Step::new(Ratio::ONE));
    let run = tokio::spawn(lab.run(kill.hypothesis(hypothesis)).expect("it is valid"));
    while lock(&log).is_empty() {
        sleep(SECOND).await;
    }
    run.abort();
    sleep(40 * SECOND).await;
    assert_eq!(lock(&log)[..], ["begins", "is undone"]);
}

#[tokio::test(start_paused = true)]
async fn an_action_that_does_not_end_to_begin_is_called_off() {
    let (ledger, log) = (ledger(), Arc::new(Mutex::new(Vec::new())));
    let [at_begin, at_end] = [(); 2].map(|()| Arc::clone(&log));
    let begin = move || {
        lock(&at_begin).push("begin");
        std::future::pending()
    };
    let end = move || {
        lock(&at_end).push("end");
        async { Ok(()) }
    };
    let lab = lab(&ledger).action("kill", begin, end);
    let hypothesis = Hypothesis::new().success(Ratio::percent(99));
    let kill = Experiment::new("kill").action("kill", "ledger").step(Step::new(Ratio::ONE));
    let run = lab.run(kill.hypothesis(hypothesis)).expect("it is valid");
    let (grip, run) = (run.grip(), tokio::spawn(run));
    while lock(&log).is_empty() {
        sleep(SECOND).await;
    }
    grip.abort("ada", "it takes too long");
    let report = run.await.expect("it does not panic");
    assert_eq!((report.verdict(), &lock(&log)[..]), (Verdict::Aborted, &["begin", "end"][..]), "{report}");
    assert_eq!(report.why(), "by ada: it takes too long");
}

#[tokio::test(start_paused = true)]
async fn a_probe_that_finds_something_or_does_not_answer_trips_its_guard() {
    for answers in [true, false] {
        let ledger = ledger();
        let handle = ledger.calls.handle().clone();
        let lab = lab(&ledger).probe("books", move || {
            let is_hit = handle.counts().faults(crate::event::FaultKind::Latency) > 0;
            async move {
                match is_hit {
                    false => Ok(()),
                    true if answers => Err("they do not balance".into()),
                    true => std::future::pending().await,
                }
            }
        });
        let guarded = experiment(Fault::latency(MILLI)).guard(Guard::probe("books"));
        let report = lab.run(guarded).expect("it is valid").await;
        assert_eq!(report.verdict(), Verdict::Aborted, "{report}");
        let value = if answers { "they do not balance" } else { "no answer" };
        assert!(report.why().contains(value), "{}", report.why());
    }
}

#[tokio::test(start_paused = true)]
async fn a_budget_that_burns_and_a_breaker_that_opens_trip_their_guards() {
    let budget = ErrorBudget::new(Objective::new("payments").target(99.0));
    (0..10_000).for_each(|_| budget.record(true));
    let ledger = ledger_of(CircuitBreakerLayer::new(), Faults::seeded(7));
    let lab = lab(&ledger).budget(&budget);
    let burning = budget.clone();
    let lab = lab.audit(move |entry| {
        if let Happened::Step { .. } = entry.what {
            (0..10_000).for_each(|_| burning.record(false));
        }
    });
    let slow = || experiment(Fault::latency(MILLI));
    let report = lab.run(slow().guard(Guard::burn("payments", Window::Minutes5, 14.4))).expect("valid").await;
    assert_eq!(report.verdict(), Verdict::Aborted, "{report}");
    let report = lab.run(slow().guard(Guard::budget("payments", Ratio::percent(10)))).expect("valid").await;
    assert_eq!(report.verdict(), Verdict::NotStarted, "{report}");
    assert!(report.why().starts_with("budget of payments before it began: -"), "{}", report.why());
    let opens = experiment(broken()).step(Step::new(Ratio::ONE)).guard(Guard::breaker_opened("ledger"));
    let report = lab.run(opens.hypothesis(Hypothesis::new().success(Ratio::ZERO))).expect("valid").await;
    assert_eq!(report.verdict(), Verdict::Aborted, "{report}");
    assert!(report.why().starts_with("by guard: breaker of ledger opened"), "{}", report.why());
}

#[test]
fn what_cannot_be_is_refused_by_the_name_of_its_field() {
    let registry = Registry::new();
    let calls = golden::client("ledger").timeout(SECOND).no_fallback().registry(&registry).calls();
    let (lab, step) = (Lab::staging().reaching(calls.handle()), Step::new(Ratio::percent(10)));
    let fine = || experiment(broken());
    assert!(lab.run(fine()).is_ok());
    let wrong = [
        ("name", Experiment { name: String::new(), ..fine() }),
        ("faults", Experiment::new("x").hypothesis(Hypothesis::new().success(Ratio::ONE)).step(step)),
        ("faults[1].stack", fine().fault("quotes", broken())),
        ("faults[1].hook", fine().ingress_fault("ledger", broken())),
        ("steps", Experiment { steps: Vec::new(), ..fine() }),
        ("steps[2].share", fine().step(step)),
        ("steps[2].hold", fine().step(Step::new(Ratio::ONE).hold(Duration::ZERO))),
        ("baseline", fine().baseline(Duration::ZERO)),
        ("hypothesis", fine().hypothesis(Hypothesis::new())),
        ("hypothesis.probes[0]", fine().hypothesis(Hypothesis::new().probe("books"))),
        (
            "hypothesis.burn[0].objective",
            fine().hypothesis(Hypothesis::new().burn("login", Window::Hour, 1.0)),
        ),
        ("guards[0].objective", fine().guard(Guard::budget("login", Ratio::ONE))),
        ("guards[0].stack", fine().guard(Guard::breaker_opened("quotes"))),
        ("guards[0].name", fine().guard(Guard::probe("books"))),
        ("guards[0].above", fine().guard(Guard::slower(f64::NAN))),
        ("guards[0]", fine().step(Step::new(Ratio::ONE)).guard(Guard::errors(Ratio::ZERO))),
    ];
    for (field, experiment) in wrong {
        assert_eq!(
            lab.run(experiment).map(drop).map_err(|error| error.field().to_owned()),
            Err(field.to_owned())
        );
    }
    let production = Lab::production().reaching(calls.handle());
    assert_eq!(
        production.run(fine()).map(drop).map_err(|error| error.to_string()),
        Err("guards: in production there is at least one".to_owned())
    );
    let unsaid = fine().guard(Guard::errors(Ratio::percent(5))).allow_production(" ");
    assert_eq!(
        production.run(unsaid).map(drop).map_err(|error| error.to_string()),
        Err("allow_production: a reason is said".to_owned())
    );
}

#[tokio::test(start_paused = true)]
async fn production_has_to_be_allowed_aloud() {
    let ledger = ledger();
    let lab = Lab::production().reaching(ledger.calls.handle());
    let guarded = || experiment(Fault::latency(MILLI)).guard(Guard::errors(Ratio::percent(5)));
    let report = lab.run(guarded()).expect("it is valid").await;
    assert_eq!((report.verdict(), report.why()), (Verdict::NotStarted, "it is not allowed in production"));
    let report = lab.run(guarded().allow_production("confirmed in staging")).expect("it is valid").await;
    assert_eq!(report.verdict(), Verdict::Confirmed);
    assert!(told(&report).contains(&"allowed in production: confirmed in staging".to_owned()));
}
