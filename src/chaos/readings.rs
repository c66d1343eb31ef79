//! What is read beside the calls, at one moment.

use std::collections::BTreeMap;

use crate::slo::Window;

/// The answers of everything that an experiment asks. What is not in there has no answer.
#[derive(Clone, Debug, Default)]
pub(super) struct Readings {
    pub(super) burns: BTreeMap<(String, Window), f64>,
    pub(super) remaining: BTreeMap<String, f64>,
    /// How often breakers opened since the experiment began, by the names of their stacks.
    pub(super) opened: BTreeMap<String, u64>,
    pub(super) probes: BTreeMap<String, Result<(), String>>,
}

impl Readings {
    pub(super) fn burn(&self, objective: &str, window: Window) -> Option<f64> {
        self.burns.get(&(objective.to_owned(), window)).copied()
    }

    pub(super) fn remaining(&self, objective: &str) -> Option<f64> {
        self.remaining.get(objective).copied()
    }

    pub(super) fn opened(&self, stack: &str) -> Option<u64> {
        self.opened.get(stack).copied()
    }

    pub(super) fn probe(&self, name: &str) -> Option<&Result<(), String>> {
        self.probes.get(name)
    }
}
