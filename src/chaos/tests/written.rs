//! Experiments in the words of a file.

use proptest::{collection::vec, prelude::*, sample::Index};

use super::*;
use crate::{
    Priority,
    chaos::GameDay,
    fault::{Delay, Target, Unit},
    golden::Handle,
    slo::{ErrorBudget, Objective, Window},
};

/// The file of the documentation, which has every word.
fn documented() -> &'static str {
    let document = include_str!("../../../docs/chaos.md");
    let (_, file) = document.split_once("```toml\n").expect("there is a file");
    file.split_once("```").expect("it ends").0
}

fn written_in_code() -> GameDay {
    let share = |percent: f64| Ratio::from_percent(percent).expect("it is a ratio");
    let slow = Fault::latency(Delay::log_normal(40 * MILLI, 2 * SECOND))
        .target(Target::Priority(Priority::Sheddable).not())
        .sticky(Unit::Tenant)
        .at_most(50);
    let hypothesis = Hypothesis::new()
        .success(share(99.0))
        .answered(share(99.9))
        .latency(share(95.0), 300 * MILLI)
        .burn("payments", Window::Hour, 6.0)
        .probe("books");
    let ledger = Experiment::new("slow-ledger")
        .fault("ledger", slow)
        .hypothesis(hypothesis)
        .step(Step::new(share(1.0)).hold(60 * SECOND).min_calls(100).at_most(240 * SECOND))
        .step(Step::new(share(10.0)))
        .guard(Guard::errors(share(5.0)))
        .guard(Guard::slower(3.0))
        .guard(Guard::Slower { quantile: share(50.0), above: 1.5 })
        .guard(Guard::burn("payments", Window::Minutes5, 14.4))
        .guard(Guard::budget("payments", share(20.0)))
        .guard(Guard::breaker_opened("ledger"))
        .guard(Guard::probe("books"))
        .approved_by("ada")
        .allow_production("confirmed in staging on Thursday");
    let restarts = Experiment::new("ledger-restarts")
        .action("restart", "ledger")
        .hypothesis(Hypothesis::new().answered(share(99.0)))
        .step(Step::new(Ratio::ONE))
        .allow_production("as above")
        .guard(Guard::budget("payments", share(20.0)));
    GameDay::new("friday").experiment(ledger).experiment(restarts)
}

/// A lab in production that has all that the file names.
fn prepared(ledger: &Handle) -> Lab {
    let (done, budget) = (|| async { Ok(()) }, ErrorBudget::new(Objective::new("payments").target(99.0)));
    (0..1_000).for_each(|_| budget.record(true));
    Lab::production().reaching(ledger).budget(&budget).probe("books", done).action("restart", done, done)
}

fn text(value: &impl std::fmt::Debug) -> String {
    format!("{value:?}")
}

#[test]
fn the_documented_file_says_what_the_builders_say_and_so_does_its_json() {
    let day = GameDay::from_toml(documented()).expect("it is well");
    assert_eq!(text(&day), text(&written_in_code()));
    let value: serde_json::Value = toml::from_str(documented()).expect("it is TOML");
    let day = GameDay::from_json(&value.to_string()).expect("it is well");
    assert_eq!(text(&day), text(&written_in_code()));
}

#[tokio::test(start_paused = true)]
async fn a_day_that_is_read_is_held() {
    let ledger = ledger();
    // Beside a service that answers at once every delay is a guard's business.
    let file = documented().replace("going_on = false", "going_on = true");
    let report = prepared(ledger.calls.handle()).hold(GameDay::from_toml(&file).expect("it is well")).await;
    let report = report.expect("the lab has all of it");
    let names: Vec<_> = report.reports().iter().map(Report::experiment).collect();
    assert_eq!(names, ["slow-ledger", "ledger-restarts"]);
    let injected = ledger.calls.handle().counts().faults(crate::event::FaultKind::Latency);
    assert!(injected > 0, "{report}");
}

#[test]
fn one_experiment_is_written_at_the_top_and_at_the_ingress_if_it_says_so() {
    let toml = "name = \"x\"\nfaults = [{ stack = \"a\", hook = \"ingress\", effect = \"duplicate\" }]";
    let json = r#"{"name": "x", "faults": [{"stack": "a", "hook": "ingress", "effect": "duplicate"}]}"#;
    let meant = text(&Experiment::new("x").ingress_fault("a", Fault::duplicate()));
    assert_eq!(text(&Experiment::from_toml(toml).expect("it is well")), meant);
    assert_eq!(text(&Experiment::from_json(json).expect("it is well")), meant);
}

#[test]
fn flags_of_a_day_are_read() {
    let day = "name = \"x\"\nexperiments = []\nat_once = true\ngoing_on = true";
    assert_eq!(
        text(&GameDay::from_toml(day).expect("it is well")),
        text(&GameDay::new("x").at_once().going_on())
    );
}

#[test]
fn what_means_nothing_is_refused_with_its_place() {
    // What is put in the place of what, and where that is.
    let wrong = [
        ("share = 10\n", "share = 101\n", "experiments[0].steps[1].share"),
        ("share = 10\n", "share = nan\n", "experiments[0].steps[1].share"),
        ("share = 10\n", "share = 10\nlonger = true\n", "experiments[0].steps[1].longer"),
        ("hold = \"1m\"", "hold = \"soon\"", "experiments[0].steps[0].hold"),
        ("hold = \"1m\"", "hold = 60", "experiments[0].steps[0].hold"),
        ("min_calls = 100", "min_calls = -1", "experiments[0].steps[0].min_calls"),
        ("success = 99", "success = -1", "experiments[0].hypothesis.success"),
        ("within = \"300ms\"", "within = \"-1s\"", "experiments[0].hypothesis.latency[0].within"),
        ("over = \"1h\"", "over = \"7h\"", "experiments[0].hypothesis.burn[0].over"),
        (
            "{ errors = { above = 5 } }",
            "{ errors = { above = 500 } }",
            "experiments[0].guards[0].errors.above",
        ),
        ("{ slower = { above = 3 } }", "{ slower = {} }", "experiments[0].guards[1].slower"),
        ("above = 14.4", "above = inf", "experiments[0].guards[3].burn.above"),
        ("above = 3 }", "above = nan }", "experiments[0].guards[1].slower.above"),
        ("at_most = 6", "at_most = -inf", "experiments[0].hypothesis.burn[0].at_most"),
        ("{ probe = {", "{ asks = {", "experiments[0].guards[6]"),
        ("median = \"40ms\"", "median = \"40h\"", "experiments[0].faults[0].effect.latency"),
        ("sticky = \"tenant\"", "sticky = \"name\"", "experiments[0].faults[0].sticky"),
        ("sticky = \"tenant\"", "until = \"2999-01-01T00:00:00Z\"", "experiments[0].faults[0].until"),
        ("watching =", "watches =", "experiments[1].action.watches"),
        ("name = \"ledger-restarts\"", "", "experiments[1]"),
        ("name = \"friday\"", "", "text"),
        ("name = \"friday\"", "name = \"friday\"\nwhen = \"noon\"", "when"),
        ("going_on = false", "going_on = ", "line 3"),
    ];
    for (from, to, place) in wrong {
        let file = documented().replacen(from, to, 1);
        assert_ne!(file, documented(), "{from}");
        let error = GameDay::from_toml(&file).expect_err(&file);
        assert_eq!(error.field(), place, "{error}");
        let Ok(value) = toml::from_str::<serde_json::Value>(&file) else { continue };
        // JSON has no number that is none.
        if !to.contains("nan") && !to.contains("inf") {
            let error = GameDay::from_json(&value.to_string()).expect_err(&file);
            assert_eq!(error.field(), place, "{error}");
        }
    }
    let error = GameDay::from_json("{\"name\": \"x\", \"experiments\": []} {}").expect_err("there is more");
    assert_eq!(error.field(), "text");
}

#[test]
fn what_a_lab_refuses_has_its_place_in_the_file() {
    let registry = Registry::new();
    let calls = golden::client("ledger").timeout(SECOND).no_fallback().registry(&registry).calls();
    let lab = prepared(calls.handle());
    for (from, to, place) in [
        ("share = 10\n", "share = 0.5\n", "experiments[0].steps[1].share"),
        (
            "stack = \"ledger\"\nhook = \"service\"",
            "stack = \"ledger\"\nhook = \"ingress\"",
            "experiments[0].faults[0].hook",
        ),
        ("at_most = 6", "at_most = -6", "experiments[0].hypothesis.burn[0].at_most"),
        ("\"restart\"", "\"kill\"", "experiments[1].action.name"),
        ("name = \"friday\"", "name = \"\"", "name"),
    ] {
        let file = documented().replacen(from, to, 1);
        assert_ne!(file, documented(), "{from}");
        let day = GameDay::from_toml(&file).expect("its words are known");
        let held = futures::FutureExt::now_or_never(lab.hold(day)).expect("nothing is run");
        assert_eq!(held.expect_err(&file).field(), place);
    }
}

#[test]
fn a_text_that_is_too_long_or_too_deep_is_refused() {
    let long = format!("{}{}", documented(), "#".repeat(64 * 1024));
    let error = GameDay::from_toml(&long).expect_err("it is long");
    assert_eq!(error.to_string(), "text: it is longer than 65536 bytes");
    for (open, close) in [("{ not = ", "}"), ("{ all = [", "] }")] {
        let deep = format!("{}{{}}{}", open.repeat(6_000), close.repeat(6_000));
        let toml = documented().replace("{ not = { priority = \"sheddable\" } }", &deep);
        assert!(GameDay::from_toml(&toml).is_err());
    }
    for open in ["[", "{\"a\":"] {
        assert!(GameDay::from_json(&open.repeat(10_000)).is_err());
        let deep = format!("{{\"experiments\": {}", open.repeat(10_000));
        assert!(GameDay::from_json(&deep).is_err());
    }
}

#[tokio::test(start_paused = true)]
async fn no_value_is_too_large_to_be_run() {
    let ledger = ledger();
    let experiment = Experiment::from_toml(
        r#"
        name = "huge"
        steps = [{ share = 50, hold = "18446744073709551615s", at_most = "18446744073709551615s" }]
        hypothesis = { latency = [{ share = 0, within = "18446744073709551615s" }] }
        guards = [{ slower = { above = 1e308 } }, { slower = { quantile = 0, above = 1e-308 } }]
        [[faults]]
        stack = "ledger"
        effect = { latency = "18446744073709551615s" }
        at_most = 9223372036854775807
        "#,
    );
    let run = lab(&ledger).run(experiment.expect("it is well")).expect("it is valid");
    let grip = run.grip();
    let controller = tokio::spawn(run);
    sleep(100 * SECOND).await;
    assert!(!nothing_is_armed(&ledger));
    grip.abort("ada", "that is enough");
    let report = controller.await.expect("no panic");
    assert_eq!(report.verdict(), Verdict::Aborted, "{report}");
}

/// A text with some of its parts replaced.
fn edited(text: &str, edits: &[(Index, usize, String)]) -> String {
    let mut letters: Vec<char> = text.chars().collect();
    for (at, length, with) in edits {
        let from = at.index(letters.len() + 1);
        let to = (from + length).min(letters.len());
        letters.splice(from..to, with.chars());
    }
    letters.into_iter().collect()
}

proptest! {
    #[test]
    fn no_text_panics(
        edits in vec((any::<Index>(), 0..40_usize, ".{0,8}|[0-9e.+-]{1,30}|[\\[\\]{}=:\"',#]{1,4}"), 1..6),
        noise in ".{0,200}",
    ) {
        let value: serde_json::Value = toml::from_str(documented()).expect("it is TOML");
        for text in [edited(documented(), &edits), edited(&value.to_string(), &edits), noise] {
            let _ = (GameDay::from_toml(&text), Experiment::from_toml(&text));
            let _ = (GameDay::from_json(&text), Experiment::from_json(&text));
        }
    }
}
