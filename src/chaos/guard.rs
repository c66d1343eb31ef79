use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::{
    readings::Readings,
    stats::{ONE_SIDED_99, Tally},
    written::number,
};
use crate::{fault::Outcomes, ratio::Ratio, slo::Window};

/// What calls an experiment off, at once and for good. It is looked at with every tick of the [lab](super::Lab::every); one that
/// cannot be evaluated, or has no fresh answer, counts as tripped: a budget that heard of no call over the window, a probe that does not
/// answer in time, twenty calls that are hit with none to compare them with.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "snake_case")]
#[non_exhaustive]
pub enum Guard {
    /// The error budget of an objective burns faster than this. One over a short window sees an outage, one over a long window what
    /// goes on for too long.
    Burn {
        /// The objective's name.
        objective: String,
        /// Over which window.
        over: Window,
        /// Which burn rate is too much.
        #[serde(with = "number")]
        above: f64,
    },
    /// Less than this is left of the error budget of an objective.
    Budget {
        /// The objective's name.
        objective: String,
        /// Which share of the budget is to be left.
        below: Ratio,
    },
    /// The calls that are hit fail more often than those that are not, by more than this share of all, with a confidence of 99 % on
    /// one side. To be answered by a fallback is not to fail.
    Errors {
        /// Which difference is too much.
        above: Ratio,
    },
    /// The calls that are hit are slower: more of them than should be exceed this many times what the others need, with a confidence
    /// of 99 % on one side.
    Slower {
        /// Which quantile is compared.
        #[serde(default = "p99")]
        quantile: Ratio,
        /// How many times slower is too much.
        #[serde(with = "number")]
        above: f64,
    },
    /// The circuit breaker of a stack of this name opened.
    BreakerOpened {
        /// The name of the stack.
        stack: String,
    },
    /// The [probe](super::Lab::probe) of this name finds something wrong.
    Probe {
        /// Its name.
        name: String,
    },
}

const fn p99() -> Ratio {
    Ratio::percent(99)
}

/// So many calls are hit before it matters that there are none to compare them with: both groups are of one size, so chance
/// does that one time in a million.
const ALONE: u64 = 20;

/// A guard that tripped.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Trip {
    pub(super) guard: String,
    pub(super) value: String,
    pub(super) limit: String,
    /// Whether it has no answer.
    pub(super) is_blind: bool,
}

impl Guard {
    /// The error budget of an objective burns faster than `above` over a window.
    pub fn burn(objective: &str, over: Window, above: f64) -> Self {
        Self::Burn { objective: objective.into(), over, above }
    }

    /// Less than `below` is left of the error budget of an objective.
    pub fn budget(objective: &str, below: Ratio) -> Self {
        Self::Budget { objective: objective.into(), below }
    }

    /// The calls that are hit fail more often than those that are not, by more than this share.
    pub fn errors(above: Ratio) -> Self {
        Self::Errors { above }
    }

    /// The 99th percentile of the calls that are hit is more than so many times that of the others.
    pub fn slower(above: f64) -> Self {
        Self::Slower { quantile: p99(), above }
    }

    /// The circuit breaker of a stack of this name opened.
    pub fn breaker_opened(stack: &str) -> Self {
        Self::BreakerOpened { stack: stack.into() }
    }

    /// The probe of this name finds something wrong.
    pub fn probe(name: &str) -> Self {
        Self::Probe { name: name.into() }
    }

    /// Whether it compares with a control group. While nothing is done there is none.
    pub(super) fn compares(&self) -> bool {
        matches!(self, Self::Errors { .. } | Self::Slower { .. })
    }

    /// Whether it trips.
    pub(super) fn look(&self, hit: &Outcomes, control: &Outcomes, readings: &Readings) -> Option<Trip> {
        let trip = |value: Option<String>, limit: String| {
            let is_blind = value.is_none();
            let value = value.unwrap_or_else(|| "no answer".into());
            Some(Trip { guard: self.to_string(), value, limit, is_blind })
        };
        if self.compares() && control.total() == 0 {
            return if hit.total() < ALONE { None } else { trip(None, "calls to compare with".into()) };
        }
        match self {
            Self::Burn { objective, over, above } => {
                let burn = readings.burn(objective, *over);
                if burn.is_some_and(|burn| burn <= *above) {
                    return None;
                }
                trip(burn.map(|burn| format!("{burn:.2}")), above.to_string())
            }
            Self::Budget { objective, below } => {
                let left = readings.remaining(objective);
                if left.is_some_and(|left| left >= below.value()) {
                    return None;
                }
                trip(left.map(|left| format!("{:.1} %", left * 100.0)), below.to_string())
            }
            Self::Errors { above } => {
                let [hit, control] =
                    [hit, control].map(|calls| Tally { total: calls.total(), bad: calls.failed() });
                let difference = hit.above(control, ONE_SIDED_99);
                if difference.low <= above.value() {
                    return None;
                }
                let value =
                    format!("{:.1} %, at least {:.1} %", difference.estimate * 100.0, difference.low * 100.0);
                trip(Some(value), above.to_string())
            }
            Self::Slower { quantile, above } => {
                let usual = control.quantile(*quantile)?;
                // So many times may be longer than time is.
                let limit = Duration::try_from_secs_f64(usual.as_secs_f64() * above).unwrap_or(Duration::MAX);
                let slow = Tally { total: hit.total(), bad: hit.slower_than(limit) };
                if !slow.is_surely_above(1.0 - quantile.value()) {
                    return None;
                }
                trip(hit.quantile(*quantile).map(|seen| format!("{seen:?}")), format!("{limit:?}"))
            }
            Self::BreakerOpened { stack } => match readings.opened(stack) {
                Some(0) => None,
                opened => trip(opened.map(|times| format!("{times} times")), "never".into()),
            },
            Self::Probe { name } => match readings.probe(name) {
                Some(Ok(())) => None,
                answer => trip(answer.and_then(|answer| answer.clone().err()), "nothing wrong".into()),
            },
        }
    }
}

impl std::fmt::Display for Guard {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Burn { objective, over, .. } => write!(f, "burn of {objective} over {}", over.as_str()),
            Self::Budget { objective, .. } => write!(f, "budget of {objective}"),
            Self::Errors { .. } => f.write_str("errors above control"),
            Self::Slower { quantile, .. } => write!(f, "latency of {quantile} beside control"),
            Self::BreakerOpened { stack } => write!(f, "breaker of {stack} opened"),
            Self::Probe { name } => write!(f, "probe {name}"),
        }
    }
}
