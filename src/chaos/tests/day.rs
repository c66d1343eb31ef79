//! Several experiments with one report.

use super::*;
use crate::chaos::{DayReport, GameDay};

fn verdicts(report: &DayReport) -> Vec<(&str, Verdict)> {
    report.reports().iter().map(|report| (report.experiment(), report.verdict())).collect()
}

fn named(name: &str, fault: Fault) -> Experiment {
    Experiment { name: name.into(), ..experiment(fault) }
}

#[tokio::test(start_paused = true)]
async fn an_aborted_experiment_is_the_last_of_its_day_unless_it_is_to_go_on() {
    let ledger = ledger();
    let aborted = || named("down", broken()).guard(Guard::errors(Ratio::percent(5)));
    let day = || {
        let slow = named("slow", Fault::latency(MILLI));
        GameDay::new("friday").experiment(slow.clone()).experiment(aborted()).experiment(slow)
    };
    let report = lab(&ledger).hold(day()).await.expect("it is valid");
    assert_eq!(verdicts(&report), [("slow", Verdict::Confirmed), ("down", Verdict::Aborted)]);
    assert_eq!(report.skipped(), ["slow"]);
    assert!(report.to_string().starts_with("# friday\n\n| experiment | verdict | why |"), "{report}");
    let json: serde_json::Value = serde_json::from_str(&report.to_json()).expect("it is JSON");
    assert_eq!(json["reports"][1]["verdict"], "aborted");

    let report = lab(&ledger).hold(day().going_on()).await.expect("it is valid");
    assert_eq!((report.reports().len(), report.skipped().len()), (3, 0));
}

#[tokio::test(start_paused = true)]
async fn experiments_at_once_keep_to_their_stacks_and_a_day_with_a_wrong_one_does_not_begin() {
    let [a, b] = [(); 2].map(|()| ledger());
    let day = GameDay::new("both").at_once();
    let report =
        lab(&a).hold(day.clone().experiment(experiment(broken())).experiment(named("", broken()))).await;
    assert_eq!(
        report.map(drop).map_err(|error| error.field().to_owned()),
        Err("experiments[1].name".to_owned())
    );
    // Two experiments in one hook cannot be told apart: the second is not begun.
    let day = day.experiment(named("first", Fault::latency(MILLI))).experiment(named("second", broken()));
    let report = lab(&a).hold(day).await.expect("it is valid");
    assert_eq!(verdicts(&report)[1], ("second", Verdict::NotStarted), "{report}");
    assert!(nothing_is_armed(&a) && nothing_is_armed(&b));
}
