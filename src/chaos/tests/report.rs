//! What a report says, to the letter.

use super::*;

/// The report without what no two runs have in common.
fn steady(report: &Report) -> String {
    let lines = report.to_string();
    let lines = lines.lines().map(|line| if line.starts_with("* began: ") { "* began: then" } else { line });
    lines.collect::<Vec<_>>().join("\n")
}

#[tokio::test(start_paused = true)]
async fn a_report_is_markdown_that_a_post_mortem_can_hold() {
    let ledger = ledger();
    let hypothesis = Hypothesis::new().success(Ratio::percent(99)).latency(Ratio::percent(99), 100 * MILLI);
    let experiment = experiment(Fault::latency(50 * MILLI)).hypothesis(hypothesis).approved_by("ada | bob");
    let report = run(&ledger, experiment).await;
    let expected = include_str!("report.md");
    assert_eq!(steady(&report), expected.trim_end(), "\n{}\n", steady(&report));
}

#[tokio::test(start_paused = true)]
async fn a_report_says_the_same_as_json() {
    let ledger = ledger();
    let report = run(&ledger, experiment(broken())).await;
    let json: serde_json::Value = serde_json::from_str(&report.to_json()).expect("it is JSON");
    assert_eq!(json["verdict"], "refuted");
    assert_eq!(json["hit"]["calls"], report.hit().total());
    assert_eq!(json["hit"]["bad"], report.hit().bad);
    assert_eq!(json["difference"]["estimate"], 1.0);
    assert_eq!(json["patterns"]["ledger"]["injected"], report.hit().total());
    assert_eq!(json["audit"].as_array().map(Vec::len), Some(report.audit().len()));
    assert_eq!(json["hypothesis"][0]["holds"], "yes");
    let plan = Experiment::from_json(&json["plan"].to_string()).expect("it is an experiment");
    assert_eq!(format!("{plan:?}"), format!("{:?}", report.plan()));
}

#[tokio::test(start_paused = true)]
async fn a_report_compares_nothing_with_no_calls() {
    let all = Experiment { steps: Vec::new(), ..experiment(Fault::latency(MILLI)) };
    let report = run(&ledger(), all.step(Step::new(Ratio::ONE).hold(20 * SECOND))).await;
    assert_eq!((report.verdict(), report.control().map(Outcomes::total)), (Verdict::Confirmed, Some(0)));
    assert!(!report.to_string().contains("less those of the control"), "{report}");
}

#[tokio::test(start_paused = true)]
async fn a_report_of_what_has_no_words_says_so() {
    let report = run(&ledger(), experiment(Fault::hook(|| async { Ok(()) }))).await;
    let why = "It cannot be written: faults[0].effect: a hook is code, and cannot be written";
    assert!(report.to_string().contains(why), "{report}");
    let json: serde_json::Value = serde_json::from_str(&report.to_json()).expect("it is JSON");
    assert_eq!((&json["plan"], &json["verdict"]), (&serde_json::Value::Null, &"confirmed".into()));
}
