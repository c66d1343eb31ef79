//! The course of an experiment: no clock, no I/O. It is shown what is seen and says what comes next.

use std::time::Duration;

use tokio::time::Instant;

use super::{
    Experiment, Verdict,
    guard::Trip,
    hypothesis::{Check, Holds, all},
    readings::Readings,
};
use crate::{call::later, fault::Outcomes};

/// What is seen at one moment.
pub(super) struct Seen<'a> {
    /// The calls that are hit since the phase began; before and after, all calls that the experiment is about.
    pub(super) hit: &'a Outcomes,
    /// Those that they are compared with.
    pub(super) control: &'a Outcomes,
    pub(super) readings: &'a Readings,
}

/// What comes next.
#[derive(Debug, PartialEq)]
pub(super) enum Next {
    /// Nothing: it goes on.
    Wait,
    /// This step begins.
    Step(usize),
    /// Everything is undone, and it is seen whether the steady state comes back.
    Recover,
    /// The window of the recovery begins anew.
    Again,
    /// A guard tripped: everything is undone at once.
    Abort(Trip),
    /// It is over.
    End(Verdict, String),
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Phase {
    Baseline,
    Step(usize),
    Recovery,
    Over,
}

#[derive(Debug)]
pub(super) struct Machine {
    experiment: Experiment,
    pub(super) phase: Phase,
    /// When the phase began.
    since: Instant,
    /// When it is judged next.
    due: Instant,
    /// What comes of it, if it recovers: refuted, and why.
    refuted: Option<String>,
    /// How the phase was judged last.
    pub(super) checks: Vec<Check>,
}

impl Machine {
    pub(super) fn new(experiment: Experiment, now: Instant) -> Self {
        let due = later(now, experiment.baseline);
        Self { experiment, phase: Phase::Baseline, since: now, due, refuted: None, checks: Vec::new() }
    }

    /// Looks at what is seen.
    pub(super) fn look(&mut self, seen: &Seen<'_>, now: Instant) -> Next {
        match self.phase {
            Phase::Over => Next::Wait,
            Phase::Recovery => self.recovery(seen, now),
            Phase::Baseline | Phase::Step(_) => match (self.tripped(seen), self.phase) {
                // What has no answer yet may have one when this phase is judged; until then nothing is done.
                (Some(trip), Phase::Baseline) if trip.is_blind && now < self.due => Next::Wait,
                (Some(Trip { guard, value, limit, is_blind }), Phase::Baseline) => {
                    let limit = if is_blind { String::new() } else { format!(" (limit {limit})") };
                    self.end(Verdict::NotStarted, format!("{guard} before it began: {value}{limit}"))
                }
                (Some(trip), _) => {
                    // For the report: what is known so far of this step, which is not over.
                    self.judge(seen);
                    self.phase = Phase::Over;
                    Next::Abort(trip)
                }
                (None, Phase::Step(index)) => self.step(index, seen, now),
                (None, _) => self.baseline(seen, now),
            },
        }
    }

    fn tripped(&self, seen: &Seen<'_>) -> Option<Trip> {
        let compares = self.phase != Phase::Baseline;
        let mut guards = self.experiment.guards.iter().filter(|guard| compares || !guard.compares());
        guards.find_map(|guard| guard.look(seen.hit, seen.control, seen.readings))
    }

    fn baseline(&mut self, seen: &Seen<'_>, now: Instant) -> Next {
        let length = self.experiment.baseline;
        if now < self.due {
            return Next::Wait;
        }
        let enough = seen.hit.total() >= self.least();
        match (self.judge(seen), enough) {
            (Holds::No, _) => self.end(Verdict::NotStarted, format!("before it began: {}", self.worst())),
            (Holds::Yes, true) => self.enter(0, now),
            _ if now - self.since < length.saturating_mul(4) => self.wait(length, now),
            (_, false) => self.end(Verdict::NotStarted, "too few calls before it began".into()),
            _ => self.end(Verdict::NotStarted, format!("unclear before it began: {}", self.worst())),
        }
    }

    fn step(&mut self, index: usize, seen: &Seen<'_>, now: Instant) -> Next {
        let step = self.experiment.steps[index];
        if now < self.due {
            return Next::Wait;
        }
        let compared = !self.experiment.has_control() || seen.control.total() >= step.min_calls;
        let enough = seen.hit.total() >= step.min_calls && compared;
        match (self.judge(seen), enough) {
            (Holds::No, true) => {
                self.refuted = Some(format!("at {}: {}", step.share, self.worst()));
                self.recover(now)
            }
            (Holds::Yes, true) if index + 1 < self.experiment.steps.len() => self.enter(index + 1, now),
            (Holds::Yes, true) => self.recover(now),
            _ if now - self.since < step.limit() => self.wait(step.hold, now),
            (_, false) => self.end(Verdict::Inconclusive, format!("too few calls at {}", step.share)),
            _ => self.end(Verdict::Inconclusive, format!("unclear at {}: {}", step.share, self.worst())),
        }
    }

    fn recovery(&mut self, seen: &Seen<'_>, now: Instant) -> Next {
        let length = self.experiment.recovery;
        if now < self.due {
            return Next::Wait;
        }
        let holds = match self.judge(seen) {
            Holds::Yes if seen.hit.total() < self.least() => Holds::Unclear,
            holds => holds,
        };
        match (holds, self.refuted.take()) {
            (Holds::Yes, None) => self.end(Verdict::Confirmed, "it held, and holds again".into()),
            (Holds::Yes, Some(why)) => self.end(Verdict::Refuted, why),
            (_, why) if now - self.since < length.saturating_mul(4) => {
                self.refuted = why;
                self.due = later(now, length);
                Next::Again
            }
            (_, Some(why)) => self.end(Verdict::Refuted, format!("{why}; and it did not recover")),
            (Holds::No, None) => self.end(Verdict::Refuted, format!("it did not recover: {}", self.worst())),
            (Holds::Unclear, None) => {
                self.end(Verdict::Inconclusive, format!("recovery is unclear: {}", self.worst()))
            }
        }
    }

    /// How many calls say something.
    fn least(&self) -> u64 {
        self.experiment.steps.first().map_or(0, |step| step.min_calls)
    }

    fn judge(&mut self, seen: &Seen<'_>) -> Holds {
        self.checks = self.experiment.hypothesis.judge(seen.hit, seen.readings);
        all(&self.checks)
    }

    /// What speaks most against the hypothesis.
    fn worst(&self) -> String {
        let worst = self.checks.iter().rev().max_by_key(|check| check.holds);
        worst.map_or_else(String::new, |check| format!("{}: {}", check.what, check.seen))
    }

    fn wait(&mut self, length: Duration, now: Instant) -> Next {
        self.due = later(now, length);
        Next::Wait
    }

    fn enter(&mut self, index: usize, now: Instant) -> Next {
        (self.phase, self.since) = (Phase::Step(index), now);
        self.due = later(now, self.experiment.steps[index].hold);
        Next::Step(index)
    }

    fn recover(&mut self, now: Instant) -> Next {
        (self.phase, self.since) = (Phase::Recovery, now);
        self.due = later(now, self.experiment.recovery);
        Next::Recover
    }

    fn end(&mut self, verdict: Verdict, why: String) -> Next {
        self.phase = Phase::Over;
        Next::End(verdict, why)
    }
}
