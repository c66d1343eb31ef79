use std::{fmt, time::Duration};

use tokio::time::Instant;

use super::{
    Entry, Environment, Experiment, Lab,
    audit::Audit,
    hypothesis::Check,
    patterns::Patterns,
    run::Aborted,
    stats::{Difference, Tally},
};
use crate::{clock, fault::Outcomes, ratio::Ratio, slo::ErrorBudget};

/// What came of an experiment.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Verdict {
    /// The hypothesis held in spite of everything, and held afterwards.
    Confirmed,
    /// It did not hold, or did not hold again afterwards.
    Refuted,
    /// There were too few calls to tell, or nothing could be said for sure.
    Inconclusive,
    /// It was called off, by a guard or by somebody.
    Aborted,
    /// It was not begun: the steady state did not hold before, or it was not allowed.
    NotStarted,
}

impl Verdict {
    /// A stable identifier.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Confirmed => "confirmed",
            Self::Refuted => "refuted",
            Self::Inconclusive => "inconclusive",
            Self::Aborted => "aborted",
            Self::NotStarted => "not_started",
        }
    }
}

impl fmt::Display for Verdict {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// What is left of an experiment: its verdict, and what it rests on. As text it is Markdown, fit for a post-mortem;
/// [`to_json`](Self::to_json) is for machines.
#[derive(Clone, Debug)]
pub struct Report {
    pub(super) experiment: Experiment,
    pub(super) environment: Environment,
    pub(super) verdict: Verdict,
    pub(super) why: String,
    pub(super) began: std::time::SystemTime,
    pub(super) took: Duration,
    pub(super) before: Outcomes,
    pub(super) hit: Outcomes,
    pub(super) control: Option<Outcomes>,
    pub(super) after: Outcomes,
    pub(super) steps: Vec<StepFound>,
    pub(super) checks: Vec<(String, Check)>,
    pub(super) patterns: Vec<(String, Patterns)>,
    pub(super) budgets: Vec<BudgetSpent>,
    /// By how much the last injection came after the abort.
    pub(super) injected_after_abort: Option<Duration>,
    pub(super) not_undone: Option<String>,
    pub(super) audit: Vec<Entry>,
}

/// What became of the calls in one step.
#[derive(Clone, Debug)]
pub(super) struct StepFound {
    pub(super) share: Ratio,
    pub(super) hit: Outcomes,
    pub(super) control: Outcomes,
}

/// What was left of the budget of an objective, as a share of it.
#[derive(Clone, Debug)]
pub(super) struct BudgetSpent {
    pub(super) objective: String,
    pub(super) before: f64,
    pub(super) after: f64,
}

impl Report {
    /// The experiment's name.
    pub fn experiment(&self) -> &str {
        &self.experiment.name
    }

    /// The experiment itself.
    pub fn plan(&self) -> &Experiment {
        &self.experiment
    }

    /// What came of it.
    pub fn verdict(&self) -> Verdict {
        self.verdict
    }

    /// Why.
    pub fn why(&self) -> &str {
        &self.why
    }

    /// What became of the calls that were hit, over all steps; of an action, of all calls that were looked at.
    pub fn hit(&self) -> &Outcomes {
        &self.hit
    }

    /// What became of those that they are compared with; `None` of an action.
    pub fn control(&self) -> Option<&Outcomes> {
        self.control.as_ref()
    }

    /// By how much the last injection came after the run was called off; `None` unless it was.
    pub fn injected_after_abort(&self) -> Option<Duration> {
        self.injected_after_abort
    }

    /// All entries of its audit, in order.
    pub fn audit(&self) -> &[Entry] {
        &self.audit
    }

    /// By how much more of the calls that were hit failed.
    pub(super) fn difference(&self) -> Option<Difference> {
        let [hit, control] = [Some(&self.hit), self.control.as_ref()]
            .map(|calls| calls.map(|calls| Tally { total: calls.total(), bad: calls.failed() }));
        let both = hit.zip(control).filter(|(hit, control)| hit.total > 0 && control.total > 0);
        both.map(|(hit, control)| hit.against(control))
    }
}

/// What is found while an experiment runs.
pub(super) struct Findings {
    report: Report,
    lab: Lab,
    began: Instant,
    counted: Vec<(String, Patterns)>,
}

impl Findings {
    pub(super) fn begin(lab: &Lab, experiment: &Experiment) -> Self {
        let began = Instant::now();
        let budgets = lab.budgets.iter().map(|budget| BudgetSpent {
            objective: budget.objective().name().to_string(),
            before: budget.remaining(),
            after: budget.remaining(),
        });
        let report = Report {
            experiment: experiment.clone(),
            environment: lab.environment,
            verdict: Verdict::NotStarted,
            why: String::new(),
            began: clock::wall(began),
            took: Duration::ZERO,
            before: Outcomes::default(),
            hit: Outcomes::default(),
            control: experiment.action.is_none().then(Outcomes::default),
            after: Outcomes::default(),
            steps: Vec::new(),
            checks: Vec::new(),
            patterns: Vec::new(),
            budgets: budgets.collect(),
            injected_after_abort: None,
            not_undone: None,
            audit: Vec::new(),
        };
        let counted = patterns(lab, experiment);
        Self { report, lab: lab.clone(), began, counted }
    }

    /// How many steps are over.
    pub(super) fn steps(&self) -> usize {
        self.report.steps.len()
    }

    pub(super) fn baseline(&mut self, calls: &Outcomes, checks: &[Check]) {
        self.report.before = calls.clone();
        self.check("before", checks);
    }

    pub(super) fn step(&mut self, share: Ratio, hit: Outcomes, control: Outcomes, checks: &[Check]) {
        self.check(&format!("at {share}"), checks);
        self.report.hit.add(&hit);
        if let Some(all) = &mut self.report.control {
            all.add(&control);
        }
        self.report.steps.push(StepFound { share, hit, control });
    }

    pub(super) fn recovery(&mut self, calls: &Outcomes, checks: &[Check]) {
        self.report.after = calls.clone();
        self.check("after", checks);
    }

    pub(super) fn not_undone(&mut self, why: String) {
        self.report.not_undone = Some(why);
    }

    fn check(&mut self, when: &str, checks: &[Check]) {
        self.report.checks.extend(checks.iter().map(|check| (when.to_owned(), check.clone())));
    }

    pub(super) fn report(
        self,
        verdict: Verdict,
        why: String,
        late: Option<(Aborted, Duration)>,
        audit: &Audit,
    ) -> Report {
        let Self { mut report, lab, began, counted } = self;
        for spent in &mut report.budgets {
            spent.after = lab.find_budget(&spent.objective).map_or(spent.before, ErrorBudget::remaining);
        }
        let now = counted.into_iter().map(|(stack, before)| {
            let after = lab.places(&stack).next().map(|place| Patterns::read(&place.cells));
            let done = after.map(|after| after.since(before)).unwrap_or_default();
            (stack, done)
        });
        report.patterns = now.collect();
        report.injected_after_abort = late.map(|(_, late)| late);
        report.took = Instant::now().saturating_duration_since(began);
        (report.verdict, report.why, report.audit) = (verdict, why, audit.entries());
        report
    }
}

/// What the patterns of the stacks have done so far, each stack once.
fn patterns(lab: &Lab, experiment: &Experiment) -> Vec<(String, Patterns)> {
    let mut found: Vec<(String, Patterns)> = Vec::new();
    for stack in experiment.stacks() {
        if let Some(place) = lab.places(stack).next().filter(|_| found.iter().all(|(name, _)| name != stack))
        {
            found.push((stack.to_owned(), Patterns::read(&place.cells)));
        }
    }
    found
}
