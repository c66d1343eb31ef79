use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::{readings::Readings, stats::Tally, written::number};
use crate::{
    fault::{Outcomes, length},
    ratio::Ratio,
    slo::Window,
};

/// The steady state: what holds while all is well, and is expected to hold in spite of the experiment.
///
/// Of calls it is judged by what their callers notice: before and after by all calls that the experiment is about, meanwhile by those
/// that it hits.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
#[must_use = "a hypothesis is one of an experiment"]
pub struct Hypothesis {
    pub(super) success: Option<Ratio>,
    pub(super) answered: Option<Ratio>,
    pub(super) latency: Vec<Latency>,
    pub(super) burn: Vec<Burn>,
    pub(super) probes: Vec<String>,
}

/// So many of the calls take no longer than that.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Latency {
    share: Ratio,
    #[serde(with = "length")]
    within: Duration,
}

/// A budget burns no faster than that.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Burn {
    pub(super) objective: String,
    over: Window,
    #[serde(with = "number")]
    pub(super) at_most: f64,
}

/// What came of one check.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Holds {
    /// It does.
    Yes,
    /// It cannot be said: there are too few calls, or there was no answer.
    Unclear,
    /// It does not, and that is no chance.
    No,
}

/// One check, and what came of it.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Check {
    pub(super) holds: Holds,
    /// What was expected.
    pub(super) what: String,
    /// What was seen instead, or also.
    pub(super) seen: String,
}

impl Hypothesis {
    /// One that says nothing yet.
    pub fn new() -> Self {
        Self::default()
    }

    /// At least this share of the calls ends as asked.
    pub fn success(mut self, share: Ratio) -> Self {
        self.success = Some(share);
        self
    }

    /// At least this share of the calls is answered, be it by a fallback.
    pub fn answered(mut self, share: Ratio) -> Self {
        self.answered = Some(share);
        self
    }

    /// This share of the calls takes no longer than that. Latencies are told apart to a sixteenth.
    pub fn latency(mut self, share: Ratio, within: Duration) -> Self {
        self.latency.push(Latency { share, within });
        self
    }

    /// The error budget of this objective burns no faster than that over a window.
    pub fn burn(mut self, objective: &str, over: Window, at_most: f64) -> Self {
        self.burn.push(Burn { objective: objective.into(), over, at_most });
        self
    }

    /// The [probe](super::Lab::probe) of this name finds nothing wrong.
    pub fn probe(mut self, name: &str) -> Self {
        self.probes.push(name.into());
        self
    }

    pub(super) fn says_nothing(&self) -> bool {
        *self == Self::default()
    }

    /// Judges what became of some calls, and what was read beside them.
    pub(super) fn judge(&self, calls: &Outcomes, readings: &Readings) -> Vec<Check> {
        let total = calls.total();
        let mut checks = Vec::new();
        let mut share = |what: String, at_least: Ratio, good: u64| {
            let tally = Tally { total, bad: total - good.min(total) };
            let seen = format!("{} of {total}", total - tally.bad);
            checks.push(Check { holds: at_most(tally, 1.0 - at_least.value()), what, seen });
        };
        if let Some(ratio) = self.success {
            share(format!("{ratio} of the calls succeed"), ratio, calls.good);
        }
        if let Some(ratio) = self.answered {
            share(format!("{ratio} of the calls are answered"), ratio, calls.answered());
        }
        for &Latency { share: ratio, within } in &self.latency {
            let good = total.saturating_sub(calls.slower_than(within));
            share(format!("{ratio} of the calls take {within:?} at most"), ratio, good);
        }
        for Burn { objective, over, at_most } in &self.burn {
            let burn = readings.burn(objective, *over);
            let holds = match burn {
                None => Holds::Unclear,
                Some(burn) if burn <= *at_most => Holds::Yes,
                Some(_) => Holds::No,
            };
            let what = format!("{objective} burns at {at_most} at most over {}", over.as_str());
            checks.push(Check {
                holds,
                what,
                seen: burn.map_or("nothing".into(), |burn| format!("{burn:.2}")),
            });
        }
        for probe in &self.probes {
            let (holds, seen) = match readings.probe(probe) {
                Some(Ok(())) => (Holds::Yes, "nothing wrong".into()),
                Some(Err(why)) => (Holds::No, why.clone()),
                None => (Holds::Unclear, "no answer".into()),
            };
            checks.push(Check { holds, what: format!("probe {probe:?} finds nothing wrong"), seen });
        }
        checks
    }
}

/// Whether the share of bad ones is at most this. To say that it is not takes 99 % of confidence: it is asked several times.
fn at_most(tally: Tally, limit: f64) -> Holds {
    if tally.total > 0 && tally.share() <= limit {
        Holds::Yes
    } else if tally.is_surely_above(limit) {
        Holds::No
    } else {
        Holds::Unclear
    }
}

/// What all checks say together.
pub(super) fn all(checks: &[Check]) -> Holds {
    checks.iter().map(|check| check.holds).max().unwrap_or(Holds::Yes)
}
