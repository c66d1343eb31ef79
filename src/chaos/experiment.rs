use std::{collections::BTreeSet, time::Duration};

use serde::{Deserialize, Serialize};

use super::{Guard, Hypothesis};
use crate::{
    fault::{Fault, Injects, Place, length},
    ratio::Ratio,
};

/// What is to be found out: what is done to which calls, what is expected to hold nevertheless, and when it is called off. A value:
/// nothing happens until a [`Lab`](super::Lab) runs it.
///
/// # Defaults
///
/// | setting | default |
/// |---|---|
/// | [`baseline`](Self::baseline), [`recovery`](Self::recovery) | 30 seconds each |
/// | [`guard`](Self::guard) | none; in production there has to be one |
/// | [`approved_by`](Self::approved_by) | nobody |
/// | [`allow_production`](Self::allow_production) | not allowed |
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
#[must_use = "an experiment does nothing until a lab runs it"]
pub struct Experiment {
    pub(super) name: String,
    #[serde(default)]
    pub(super) faults: Vec<Injection>,
    pub(super) action: Option<Acting>,
    #[serde(default)]
    pub(super) hypothesis: Hypothesis,
    #[serde(default)]
    pub(super) steps: Vec<Step>,
    #[serde(default)]
    pub(super) guards: Vec<Guard>,
    #[serde(default = "half_a_minute", with = "length")]
    pub(super) baseline: Duration,
    #[serde(default = "half_a_minute", with = "length")]
    pub(super) recovery: Duration,
    pub(super) approved_by: Option<String>,
    #[serde(rename = "allow_production")]
    pub(super) production: Option<String>,
}

/// A fault, and where it is armed.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(from = "Injects", into = "Injects")]
pub(super) struct Injection {
    pub(super) stack: String,
    pub(super) hook: Place,
    pub(super) fault: Fault,
}

impl From<Injects> for Injection {
    fn from(words: Injects) -> Self {
        Self { fault: words.fault(), stack: words.stack, hook: words.hook }
    }
}

impl From<Injection> for Injects {
    fn from(Injection { stack, hook, fault }: Injection) -> Self {
        Self::new(stack, hook, fault)
    }
}

/// Something that the lab knows how to do, and whose calls are looked at meanwhile.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Acting {
    pub(super) name: String,
    pub(super) watching: String,
}

impl Experiment {
    /// An experiment of this name, by which it is told of and by which units fall into its groups: 1 to 64 bytes without control
    /// characters.
    pub fn new(name: &str) -> Self {
        Self {
            name: name.into(),
            faults: Vec::new(),
            action: None,
            hypothesis: Hypothesis::new(),
            steps: Vec::new(),
            guards: Vec::new(),
            baseline: half_a_minute(),
            recovery: half_a_minute(),
            approved_by: None,
            production: None,
        }
    }

    /// Arms a fault in front of the service or the handler of the stacks of this name. Several may be armed at once.
    ///
    /// Its target, its unit and its bounds count. Whom it hits, its name and its end are the experiment's.
    pub fn fault(self, stack: &str, fault: Fault) -> Self {
        self.injecting(stack, Place::Service, fault)
    }

    /// Arms a fault where calls come in to the servers or consumers of this name.
    pub fn ingress_fault(self, stack: &str, fault: Fault) -> Self {
        self.injecting(stack, Place::Ingress, fault)
    }

    fn injecting(mut self, stack: &str, hook: Place, fault: Fault) -> Self {
        self.faults.push(Injection { stack: stack.into(), hook, fault: fault.of_an_experiment() });
        self
    }

    /// Does what the [lab](super::Lab::action) knows by this name, such as to kill a process, for as long as the steps last. What
    /// becomes of the calls of the stacks named `watching` is looked at: all of them, so that there is nothing to compare with.
    pub fn action(mut self, name: &str, watching: &str) -> Self {
        self.action = Some(Acting { name: name.into(), watching: watching.into() });
        self
    }

    /// What is expected to hold before, meanwhile and after.
    pub fn hypothesis(mut self, hypothesis: Hypothesis) -> Self {
        self.hypothesis = hypothesis;
        self
    }

    /// Adds a step of the ramp. Shares do not shrink from one to the next.
    pub fn step(mut self, step: Step) -> Self {
        self.steps.push(step);
        self
    }

    /// Adds what calls it off at once.
    pub fn guard(mut self, guard: Guard) -> Self {
        self.guards.push(guard);
        self
    }

    /// For how long the hypothesis is checked before anything is done; up to four times as long, if there are too few calls.
    /// Default: 30 seconds.
    pub fn baseline(mut self, length: Duration) -> Self {
        self.baseline = length;
        self
    }

    /// For how long it is checked after everything is undone; up to four times, if it does not hold yet. Default: 30 seconds.
    pub fn recovery(mut self, length: Duration) -> Self {
        self.recovery = length;
        self
    }

    /// Who has approved it, for the audit.
    pub fn approved_by(mut self, whom: &str) -> Self {
        self.approved_by = Some(whom.into());
        self
    }

    /// Lets it run in production as well, for a reason that is audited. Try it in staging first.
    pub fn allow_production(mut self, reason: &str) -> Self {
        self.production = Some(reason.into());
        self
    }

    /// Whether all that is compared is compared with a control group.
    pub(super) fn has_control(&self) -> bool {
        self.action.is_none() && self.steps.iter().all(|step| step.share.value() <= 0.5)
    }

    /// The probes that it asks, each once.
    pub(super) fn probes(&self) -> impl Iterator<Item = &str> {
        let guards = self.guards.iter().filter_map(|guard| match guard {
            Guard::Probe { name } => Some(name),
            _ => None,
        });
        let names: BTreeSet<&str> = self.hypothesis.probes.iter().chain(guards).map(String::as_str).collect();
        names.into_iter()
    }

    /// The stacks that it is about.
    pub(super) fn stacks(&self) -> impl Iterator<Item = &str> {
        let faults = self.faults.iter().map(|injection| injection.stack.as_str());
        faults.chain(self.action.iter().map(|action| action.watching.as_str()))
    }
}

/// A step of the ramp: which share of the units is hit, and for how long.
///
/// # Defaults
///
/// | setting | default |
/// |---|---|
/// | [`hold`](Self::hold) | 1 minute |
/// | [`min_calls`](Self::min_calls) | 100 in each group |
/// | [`at_most`](Self::at_most) | four times `hold` |
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
#[must_use = "a step is one of an experiment"]
pub struct Step {
    pub(super) share: Ratio,
    #[serde(default = "a_minute", with = "length")]
    pub(super) hold: Duration,
    #[serde(default = "a_hundred")]
    pub(super) min_calls: u64,
    #[serde(default, with = "length", skip_serializing_if = "Option::is_none")]
    pub(super) at_most: Option<Duration>,
}

const fn half_a_minute() -> Duration {
    Duration::from_secs(30)
}

const fn a_minute() -> Duration {
    Duration::from_secs(60)
}

const fn a_hundred() -> u64 {
    100
}

impl Step {
    /// A step that hits this share. As large a share is its control, up to half.
    pub const fn new(share: Ratio) -> Self {
        Self { share, hold: a_minute(), min_calls: a_hundred(), at_most: None }
    }

    /// For how long it is held before it is judged. Default: 1 minute.
    pub const fn hold(mut self, length: Duration) -> Self {
        self.hold = length;
        self
    }

    /// How many calls each group has before it is judged. Default: 100.
    pub const fn min_calls(mut self, calls: u64) -> Self {
        self.min_calls = calls;
        self
    }

    /// It is judged again after each further `hold`, while there are too few calls or nothing can be said for sure, and up to this
    /// length in all: then the experiment is inconclusive. Default: four times `hold`.
    pub const fn at_most(mut self, length: Duration) -> Self {
        self.at_most = Some(length);
        self
    }

    pub(super) fn limit(self) -> Duration {
        self.at_most.unwrap_or(self.hold.saturating_mul(4)).max(self.hold)
    }
}
