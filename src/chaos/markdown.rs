//! A report as people read it, and as machines do.

use std::{
    fmt::{self, Write as _},
    time::{Duration, SystemTime},
};

use serde_json::{Value, json};

use super::{Entry, Report, hypothesis::Holds, patterns::Patterns, report::StepFound};
use crate::{fault::Outcomes, ratio::Ratio};

/// The quantiles of a report.
const QUANTILES: [u8; 3] = [50, 90, 99];

impl Report {
    /// The report as an object of JSON: durations in seconds, shares from 0 to 1, times by RFC 3339.
    pub fn to_json(&self) -> String {
        self.json().to_string()
    }

    pub(super) fn json(&self) -> Value {
        let difference = self.difference().map(|found| {
            let (share, p_value) = (found.share, found.p_value);
            json!({"estimate": share.estimate, "low": share.low, "high": share.high, "p_value": p_value})
        });
        let steps = self.steps.iter().map(|step| {
            json!({"share": step.share.value(), "hit": group(&step.hit), "control": group(&step.control)})
        });
        let checks = self.checks.iter().map(|(when, check)| {
            json!({"when": when, "expected": check.what, "seen": check.seen, "holds": holds(check.holds)})
        });
        let patterns = self.patterns.iter().map(|(stack, done)| (stack.clone(), counts(*done)));
        let budgets = self.budgets.iter().map(|spent| {
            let (before, after) = (spent.before, spent.after);
            json!({"objective": spent.objective, "before": before, "after": after, "spent": before - after})
        });
        let audit = self.audit.iter().map(
            |entry| json!({"number": entry.number, "at": time(entry.at), "what": entry.what.to_string()}),
        );
        json!({
            "experiment": self.experiment.name,
            // Without one that has no words.
            "plan": serde_json::to_value(&self.experiment).ok(),
            "verdict": self.verdict.as_str(),
            "why": self.why,
            "environment": self.environment.as_str(),
            "approved_by": self.experiment.approved_by,
            "began": time(self.began),
            "took": self.took.as_secs_f64(),
            "before": group(&self.before),
            "hit": group(&self.hit),
            "control": self.control.as_ref().map(group),
            "after": group(&self.after),
            "difference": difference,
            "steps": steps.collect::<Vec<_>>(),
            "hypothesis": checks.collect::<Vec<_>>(),
            "patterns": patterns.collect::<serde_json::Map<_, _>>(),
            "budgets": budgets.collect::<Vec<_>>(),
            "injected_after_abort": self.injected_after_abort.map(|late| late.as_secs_f64()),
            "not_undone": self.not_undone,
            "audit": audit.collect::<Vec<_>>(),
        })
    }
}

fn group(calls: &Outcomes) -> Value {
    let [p50, p90, p99] = quantiles(calls).map(|latency| latency.map(|latency| latency.as_secs_f64()));
    let &Outcomes { good, degraded, bad, cancelled, .. } = calls;
    json!({
        "calls": calls.total(), "good": good, "degraded": degraded, "bad": bad, "cancelled": cancelled,
        "p50": p50, "p90": p90, "p99": p99,
    })
}

fn counts(done: Patterns) -> Value {
    done.each()
        .map(|(name, times)| (name.to_owned(), Value::from(times)))
        .collect::<serde_json::Map<_, _>>()
        .into()
}

fn quantiles(calls: &Outcomes) -> [Option<Duration>; 3] {
    QUANTILES.map(|percent| calls.quantile(Ratio::percent(percent)))
}

const fn holds(holds: Holds) -> &'static str {
    match holds {
        Holds::Yes => "yes",
        Holds::Unclear => "unclear",
        Holds::No => "no",
    }
}

fn time(at: SystemTime) -> String {
    jiff::Timestamp::try_from(at).map_or_else(|_| "unknown".into(), |at| format!("{at:.3}"))
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "# {}: {}\n\n{}\n", text(self.experiment()), self.verdict, text(&self.why))?;
        writeln!(f, "* environment: {}", self.environment.as_str())?;
        writeln!(f, "* approved by: {}", text(self.experiment.approved_by.as_deref().unwrap_or("nobody")))?;
        let took = Duration::from_millis(u64::try_from(self.took.as_millis()).unwrap_or(u64::MAX));
        writeln!(f, "* began: {}, took {took:?}", time(self.began))?;
        if let Some(late) = self.injected_after_abort {
            let late = if late.is_zero() { "none".into() } else { format!("up to {late:?} later") };
            writeln!(f, "* injections after it was called off: {late}")?;
        }
        if let Some(why) = &self.not_undone {
            writeln!(f, "* **not undone**: {}", text(why))?;
        }
        self.calls(f)?;
        self.evidence(f)?;
        self.written(f)?;
        writeln!(f, "\n## Audit\n")?;
        self.audit.iter().try_for_each(|entry| line(f, entry, &self.audit))
    }
}

impl Report {
    fn calls(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "\n## Calls\n")?;
        writeln!(f, "| | calls | as asked | degraded | failed | cancelled | p50 | p90 | p99 |")?;
        writeln!(f, "|---|---|---|---|---|---|---|---|---|")?;
        row(f, "before", &self.before)?;
        // Of an action it is not known which calls it hits.
        row(f, if self.control.is_some() { "hit" } else { "meanwhile" }, &self.hit)?;
        if let Some(control) = &self.control {
            row(f, "control", control)?;
        }
        row(f, "after", &self.after)?;
        if let Some(found) = self.difference() {
            let [estimate, low, high] =
                [found.share.estimate, found.share.low, found.share.high].map(|share| share * 100.0);
            let p = found.p_value;
            write!(f, "\nFailures of the calls that were hit, less those of the control: ")?;
            write!(f, "{estimate:+.2} percentage points ")?;
            writeln!(f, "({low:+.2} to {high:+.2} with 95 % confidence, p = {p:.3}).")?;
        }
        if !self.steps.is_empty() && self.control.is_some() {
            writeln!(f, "\n## Steps\n\n| share | hit | failed | control | failed |\n|---|---|---|---|---|")?;
            for StepFound { share, hit, control } in &self.steps {
                let [[hits, hits_failed], [controls, controls_failed]] =
                    [hit, control].map(|calls| [calls.total(), calls.failed()]);
                writeln!(f, "| {share} | {hits} | {hits_failed} | {controls} | {controls_failed} |")?;
            }
        }
        Ok(())
    }

    fn evidence(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "\n## Hypothesis\n\n| when | expected | seen | holds |\n|---|---|---|---|")?;
        for (when, check) in &self.checks {
            let (what, seen) = (text(&check.what), text(&check.seen));
            writeln!(f, "| {when} | {what} | {seen} | {} |", holds(check.holds))?;
        }
        writeln!(f, "\n## What the patterns did\n")?;
        for (stack, done) in &self.patterns {
            let mut line = String::new();
            for (name, times) in done.each().filter(|(_, times)| *times > 0) {
                write!(line, " {} {times},", name.replace('_', " "))?;
            }
            let line = if line.is_empty() { " nothing" } else { line.trim_end_matches(',') };
            writeln!(f, "* {}:{line}", text(stack))?;
        }
        if !self.budgets.is_empty() {
            writeln!(f, "\n## Error budgets\n\n| objective | left before | left after | spent |")?;
            writeln!(f, "|---|---|---|---|")?;
        }
        for spent in &self.budgets {
            let (before, after) = (spent.before * 100.0, spent.after * 100.0);
            let (objective, spent) = (text(&spent.objective), before - after);
            writeln!(f, "| {objective} | {before:.1} % | {after:.1} % | {spent:.1} % |")?;
        }
        Ok(())
    }

    fn written(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.experiment.to_toml() {
            Ok(plan) => writeln!(f, "\n## Plan\n\n````toml\n{}\n````", plan.trim_end()),
            Err(why) => writeln!(f, "\n## Plan\n\nIt cannot be written: {}", text(&why.to_string())),
        }
    }
}

fn row(f: &mut fmt::Formatter<'_>, name: &str, calls: &Outcomes) -> fmt::Result {
    let &Outcomes { good, degraded, bad, cancelled, .. } = calls;
    write!(f, "| {name} | {} | {good} | {degraded} | {bad} | {cancelled} |", calls.total())?;
    for latency in quantiles(calls) {
        match latency {
            Some(latency) => write!(f, " {latency:?} |")?,
            None => f.write_str(" – |")?,
        }
    }
    writeln!(f)
}

fn line(f: &mut fmt::Formatter<'_>, entry: &Entry, all: &[Entry]) -> fmt::Result {
    let first = all.first().map_or(entry.at, |first| first.at);
    let after = entry.at.duration_since(first).unwrap_or_default().as_secs_f64();
    writeln!(f, "{}. after {after:.1} s: {}", entry.number, text(&entry.what.to_string()))
}

/// Somebody's text, which is to end neither its line nor its cell.
pub(super) fn text(text: &str) -> String {
    text.replace(['\n', '\r'], " ").replace('|', "\\|")
}
