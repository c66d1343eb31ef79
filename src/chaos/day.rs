use std::fmt;

use futures::future::join_all;
use serde::{Deserialize, Serialize};

use super::{Experiment, InvalidExperiment, Lab, Report, Run, Verdict, markdown::text};

/// Several experiments of one lab, with one report.
///
/// In sequence by default: one that is aborted is followed by no other, because what it found is to be looked at first.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
#[must_use = "a game day does nothing until a lab holds it"]
pub struct GameDay {
    name: String,
    experiments: Vec<Experiment>,
    #[serde(default)]
    at_once: bool,
    #[serde(default, rename = "going_on")]
    goes_on: bool,
}

impl GameDay {
    /// A game day of this name, 1 to 64 bytes without control characters, with nothing on its list.
    pub fn new(name: &str) -> Self {
        Self { name: name.into(), experiments: Vec::new(), at_once: false, goes_on: false }
    }

    /// Adds an experiment.
    pub fn experiment(mut self, experiment: Experiment) -> Self {
        self.experiments.push(experiment);
        self
    }

    /// All experiments run at once, each for itself. Default: one after the other.
    pub fn at_once(mut self) -> Self {
        self.at_once = true;
        self
    }

    /// An experiment that is aborted is followed by the next nevertheless. Default: it is the last.
    pub fn going_on(mut self) -> Self {
        self.goes_on = true;
        self
    }
}

/// What came of a game day. As text it is Markdown.
#[derive(Clone, Debug)]
pub struct DayReport {
    name: String,
    reports: Vec<Report>,
    skipped: Vec<String>,
}

impl DayReport {
    /// The reports of the experiments that ran, in their order.
    pub fn reports(&self) -> &[Report] {
        &self.reports
    }

    /// The names of those that did not, because one before them was aborted.
    pub fn skipped(&self) -> &[String] {
        &self.skipped
    }

    /// The report as an object of JSON.
    pub fn to_json(&self) -> String {
        let reports: Vec<_> = self.reports.iter().map(Report::json).collect();
        serde_json::json!({"game_day": self.name, "reports": reports, "skipped": self.skipped}).to_string()
    }
}

impl fmt::Display for DayReport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "# {}\n\n| experiment | verdict | why |\n|---|---|---|", text(&self.name))?;
        for report in &self.reports {
            let [name, why] = [report.experiment(), report.why()].map(text);
            writeln!(f, "| {name} | {} | {why} |", report.verdict())?;
        }
        for skipped in &self.skipped {
            writeln!(f, "| {} | – | one before it was aborted |", text(skipped))?;
        }
        self.reports.iter().try_for_each(|report| write!(f, "\n{report}"))
    }
}

impl Lab {
    /// Runs the experiments of a game day.
    ///
    /// # Errors
    ///
    /// [`InvalidExperiment`] when one of them cannot be, with its place in the list, or the name of the day; then none is run.
    ///
    /// # Cancellation
    ///
    /// As of a [`Run`].
    pub async fn hold(&self, day: GameDay) -> Result<DayReport, InvalidExperiment> {
        let GameDay { name, experiments, at_once, goes_on } = day;
        super::check::name(&name)?;
        for (index, experiment) in experiments.iter().enumerate() {
            super::check::check(experiment, self)
                .map_err(|error| error.within(&format!("experiments[{index}]")))?;
        }
        let (mut reports, mut skipped) = (Vec::new(), Vec::new());
        if at_once {
            reports = join_all(experiments.into_iter().map(|one| Run::new(self.clone(), one))).await;
        } else {
            let mut stopped = false;
            for experiment in experiments {
                if stopped {
                    skipped.push(experiment.name);
                    continue;
                }
                let report = Run::new(self.clone(), experiment).await;
                stopped = !goes_on && report.verdict() == Verdict::Aborted;
                reports.push(report);
            }
        }
        Ok(DayReport { name, reports, skipped })
    }
}
