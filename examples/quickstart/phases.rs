//! The day in five phases.

use std::{ops::Range, time::Duration};

use crate::{measure::Call, upstream::Weather};

/// A stretch of the run.
#[derive(Clone, Debug)]
pub(crate) struct Phase {
    pub(crate) name: &'static str,
    /// What happens, for the person who watches.
    pub(crate) story: &'static str,
    pub(crate) weather: Weather,
    pub(crate) span: Range<Duration>,
}

impl Phase {
    /// The calls that were due in this phase.
    pub(crate) fn calls<'a>(&self, calls: &'a [Call]) -> impl Iterator<Item = &'a Call> {
        let span = self.span.clone();
        calls.iter().filter(move |call| span.contains(&call.due))
    }
}

/// All phases, one after the other from zero; the last one is the recovery.
pub(crate) fn all() -> [Phase; 5] {
    let mut end = 0;
    let mut phase = |name, seconds, weather, story| {
        let begin = end;
        end += seconds;
        Phase { name, story, weather, span: Duration::from_secs(begin)..Duration::from_secs(end) }
    };
    [
        phase("healthy", 6, Weather::Fair, "market-data answers in a few milliseconds"),
        phase("slow upstream", 6, Weather::Slow, "a fault is armed that holds each answer back for 800 ms"),
        phase("healthy again", 8, Weather::Fair, "the fault is disarmed"),
        phase("hard outage", 8, Weather::Down, "market-data is killed, listener and connections are gone"),
        phase("recovery", 20, Weather::Fair, "market-data listens again"),
    ]
}

/// How long all of them take.
pub(crate) fn length() -> Duration {
    all().iter().map(|phase| phase.span.end).max().unwrap_or_default()
}
