//! Whether an experiment can be.

use super::{Environment, Experiment, Guard, Lab, hypothesis::Burn};
use crate::{fault::Place, name::Name};

/// What is wrong with an experiment.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{field}: {why}")]
pub struct InvalidExperiment {
    field: String,
    why: String,
}

impl InvalidExperiment {
    pub(super) fn new(field: impl Into<String>, why: impl Into<String>) -> Self {
        Self { field: field.into(), why: why.into() }
    }

    pub(super) fn within(self, place: &str) -> Self {
        Self { field: format!("{place}.{}", self.field), ..self }
    }

    /// Where it is: `steps[1].share`.
    pub fn field(&self) -> &str {
        &self.field
    }
}

/// The first thing that is wrong.
pub(super) fn check(experiment: &Experiment, lab: &Lab) -> Result<(), InvalidExperiment> {
    name(&experiment.name)?;
    subject(experiment, lab)?;
    steps(experiment)?;
    hypothesis(experiment, lab)?;
    guards(experiment, lab)?;
    let reason = experiment.production.as_deref().unwrap_or("none is needed");
    require(!reason.trim().is_empty(), || "allow_production".into(), "a reason is said")
}

pub(super) fn name(name: &str) -> Result<(), InvalidExperiment> {
    Name::new(name).map(drop).map_err(|error| InvalidExperiment::new("name", error.to_string()))
}

fn require(holds: bool, field: impl FnOnce() -> String, why: &str) -> Result<(), InvalidExperiment> {
    if holds { Ok(()) } else { Err(InvalidExperiment::new(field(), why)) }
}

fn subject(experiment: &Experiment, lab: &Lab) -> Result<(), InvalidExperiment> {
    let Experiment { faults, action, .. } = experiment;
    let one = faults.is_empty() != action.is_none();
    require(one, || "faults".into(), "an experiment has faults, or an action, and not both")?;
    for (index, injection) in faults.iter().enumerate() {
        let mut places = lab.places(&injection.stack).peekable();
        require(
            places.peek().is_some(),
            || format!("faults[{index}].stack"),
            "the lab reaches no such stack",
        )?;
        let reached = injection.hook == Place::Service || places.all(|place| place.ingress.is_some());
        require(reached, || format!("faults[{index}].hook"), "calls do not come in to this stack")?;
    }
    if let Some(action) = action {
        let known = lab.actions.contains_key(&action.name);
        require(known, || "action.name".into(), "the lab knows no such action")?;
        let watched = lab.places(&action.watching).next().is_some();
        require(watched, || "action.watching".into(), "the lab reaches no such stack")?;
    }
    Ok(())
}

fn steps(experiment: &Experiment) -> Result<(), InvalidExperiment> {
    let steps = &experiment.steps;
    require(!steps.is_empty(), || "steps".into(), "an experiment has at least one step")?;
    require(!experiment.baseline.is_zero(), || "baseline".into(), "the steady state is looked at first")?;
    require(!experiment.recovery.is_zero(), || "recovery".into(), "a recovery takes time")?;
    for (index, step) in steps.iter().enumerate() {
        let at = |field: &str| format!("steps[{index}].{field}");
        require(step.share.value() > 0.0, || at("share"), "a step hits somebody")?;
        require(!step.hold.is_zero(), || at("hold"), "a step is held for some time")?;
        require(step.min_calls > 0, || at("min_calls"), "nothing is known of no calls")?;
        let grows = index == 0 || steps[index - 1].share <= step.share;
        require(grows, || at("share"), "shares do not shrink: who was hit would be so no more")?;
    }
    Ok(())
}

fn hypothesis(experiment: &Experiment, lab: &Lab) -> Result<(), InvalidExperiment> {
    let hypothesis = &experiment.hypothesis;
    require(!hypothesis.says_nothing(), || "hypothesis".into(), "it says nothing that could be wrong")?;
    for (index, Burn { objective, at_most, .. }) in hypothesis.burn.iter().enumerate() {
        let at = |field: &str| format!("hypothesis.burn[{index}].{field}");
        let known = lab.find_budget(objective).is_some();
        require(known, || at("objective"), "the lab has no budget of this objective")?;
        require(
            at_most.is_finite() && *at_most >= 0.0,
            || at("at_most"),
            "a burn rate is a number from 0 on",
        )?;
    }
    for (index, probe) in hypothesis.probes.iter().enumerate() {
        let known = lab.probes.contains_key(probe);
        require(known, || format!("hypothesis.probes[{index}]"), "the lab has no such probe")?;
    }
    Ok(())
}

fn guards(experiment: &Experiment, lab: &Lab) -> Result<(), InvalidExperiment> {
    let guarded = lab.environment != Environment::Production || !experiment.guards.is_empty();
    require(guarded, || "guards".into(), "in production there is at least one")?;
    for (index, guard) in experiment.guards.iter().enumerate() {
        let at = |field: &str| format!("guards[{index}].{field}");
        if let Guard::Burn { objective, .. } | Guard::Budget { objective, .. } = guard {
            let known = lab.find_budget(objective).is_some();
            require(known, || at("objective"), "the lab has no budget of this objective")?;
        }
        if let Guard::Burn { above, .. } | Guard::Slower { above, .. } = guard {
            require(above.is_finite() && *above >= 0.0, || at("above"), "a limit is a number from 0 on")?;
        }
        if let Guard::BreakerOpened { stack } = guard {
            let known = lab.places(stack).next().is_some();
            require(known, || at("stack"), "the lab reaches no such stack")?;
        }
        if let Guard::Probe { name } = guard {
            require(lab.probes.contains_key(name), || at("name"), "the lab has no such probe")?;
        }
        let compared = !guard.compares() || experiment.has_control();
        let why = "there is no control group to compare with: at a share over a half, or of an action";
        require(compared, || format!("guards[{index}]"), why)?;
    }
    Ok(())
}
