//! Faults as they are written in a file.

use std::{borrow::Cow, time::SystemTime};

use serde::{Deserialize, Deserializer, Serialize, Serializer, de::Error as _, ser::Error as _};

use super::{Fault, Target, Unit, words::Words};
use crate::ratio::Ratio;

/// A fault and the hooks that it is for, in words; see `docs/faults.md`.
#[derive(Clone, Debug, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Written {
    /// The stacks; all where it is not said.
    pub(crate) pipeline: Option<String>,
    /// Which hook of theirs.
    #[serde(default)]
    pub(crate) hook: Place,
    effect: Effect,
    until: Until,
    #[serde(default = "all")]
    share: Ratio,
    target: Option<Target>,
    sticky: Option<Unit>,
    experiment: Option<String>,
    at_most: Option<usize>,
    #[serde(default)]
    on_delicate_calls: bool,
}

fn all() -> Ratio {
    Ratio::ONE
}

/// A hook of a stack.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Place {
    /// In front of the service or the handler.
    #[default]
    Service,
    /// Where calls come in.
    Ingress,
}

impl Written {
    /// The fault, unless its time is over at `wall`.
    pub(crate) fn fault(&self, wall: SystemTime) -> Option<Fault> {
        let lasts = self.until.0.duration_since(wall).ok().filter(|lasts| !lasts.is_zero())?;
        let (target, sticky) = (self.target.as_ref(), self.sticky.as_ref());
        let fault = self.effect.fault(target, sticky, self.at_most, self.on_delicate_calls);
        let mut fault = fault.on(self.share()).lasting(lasts);
        if let Some(experiment) = &self.experiment {
            fault = fault.experiment(experiment);
        }
        Some(fault)
    }

    /// The share of the calls that is hit.
    pub(crate) fn share(&self) -> Ratio {
        self.share
    }

    /// Whether the two differ in their share at most.
    pub(crate) fn is_but_for_its_share(&self, other: &Self) -> bool {
        Self { share: other.share, ..self.clone() } == *other
    }
}

/// A moment as RFC 3339 writes it, in UTC.
#[derive(Clone, Copy, Debug, PartialEq)]
struct Until(SystemTime);

impl<'de> Deserialize<'de> for Until {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = Cow::<str>::deserialize(deserializer)?;
        humantime::parse_rfc3339(&text).map(Self).map_err(D::Error::custom)
    }
}

/// A fault of an experiment. Its share, its name and its end are the experiment's.
#[cfg(feature = "chaos")]
#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Injects {
    pub(crate) stack: String,
    #[serde(default)]
    pub(crate) hook: Place,
    effect: Effect,
    target: Option<Target>,
    sticky: Option<Unit>,
    at_most: Option<usize>,
    #[serde(default)]
    on_delicate_calls: bool,
}

#[cfg(feature = "chaos")]
impl Injects {
    pub(crate) fn new(stack: String, hook: Place, fault: Fault) -> Self {
        Self {
            stack,
            hook,
            target: (fault.target != Target::everything()).then(|| fault.target.clone()),
            sticky: fault.unit.clone(),
            at_most: (fault.at_most != usize::MAX).then_some(fault.at_most),
            on_delicate_calls: fault.delicate,
            effect: Effect(fault),
        }
    }

    pub(crate) fn fault(&self) -> Fault {
        self.effect.fault(self.target.as_ref(), self.sticky.as_ref(), self.at_most, self.on_delicate_calls)
    }
}

/// What is done to a call, with nothing else said.
#[derive(Clone, Debug)]
struct Effect(Fault);

impl Effect {
    /// The fault that does this to these.
    fn fault(
        &self,
        target: Option<&Target>,
        sticky: Option<&Unit>,
        at_most: Option<usize>,
        on_delicate_calls: bool,
    ) -> Fault {
        let mut fault = self.0.clone();
        if let Some(target) = target {
            fault = fault.target(target.clone());
        }
        if let Some(unit) = sticky {
            fault = fault.sticky(unit.clone());
        }
        if let Some(calls) = at_most {
            fault = fault.at_most(calls);
        }
        if on_delicate_calls { fault.on_delicate_calls() } else { fault }
    }
}

impl PartialEq for Effect {
    fn eq(&self, other: &Self) -> bool {
        Words::of(&self.0.effect) == Words::of(&other.0.effect)
    }
}

impl Serialize for Effect {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        Words::of(&self.0.effect).map_err(S::Error::custom)?.serialize(serializer)
    }
}

impl<'de> Deserialize<'de> for Effect {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        Words::deserialize(deserializer)?.fault().map(Self).map_err(D::Error::custom)
    }
}
