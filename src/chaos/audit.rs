use std::{fmt, sync::Arc, time::SystemTime};

use tokio::time::Instant;

use super::Verdict;
use crate::{
    clock,
    sync::{Mutex, lock},
};

/// One line of the audit of an experiment.
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub struct Entry {
    /// Its number in the experiment, counted from 1, without a gap.
    pub number: u64,
    /// The experiment.
    pub experiment: String,
    /// When it was written.
    pub at: SystemTime,
    /// What happened.
    pub what: Happened,
}

/// What happens in an experiment.
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub enum Happened {
    /// A lab was given it.
    Created,
    /// Somebody had approved it.
    Approved {
        /// Who.
        by: String,
    },
    /// It was let run in production.
    AllowedInProduction {
        /// For what reason.
        reason: String,
    },
    /// It began to check the steady state.
    Started,
    /// A step began.
    Step {
        /// Its number, counted from 1.
        step: usize,
        /// Which share is hit, as a number from 0 to 1.
        share: f64,
    },
    /// What was injected so far; at the end of each step that has faults, and where a run is dropped.
    Injected {
        /// Calls that were hit, each fault counted.
        hit: u64,
    },
    /// A guard tripped, or could not be evaluated.
    GuardTripped {
        /// Which.
        guard: String,
        /// What it saw.
        value: String,
        /// What is allowed.
        limit: String,
    },
    /// It was called off: no call is hit any more. What an action did is undone next.
    Aborted {
        /// By whom: a person, a guard, the kill switch, its task.
        by: String,
        /// Why.
        why: String,
    },
    /// Its lease ran out, because nobody renewed it: everything had ended by itself.
    Expired,
    /// It is over.
    Completed {
        /// With this verdict.
        verdict: Verdict,
    },
}

impl fmt::Display for Happened {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Created => f.write_str("created"),
            Self::Approved { by } => write!(f, "approved by {by}"),
            Self::AllowedInProduction { reason } => write!(f, "allowed in production: {reason}"),
            Self::Started => f.write_str("started"),
            Self::Step { step, share } => write!(f, "step {step}: {} %", (share * 1e6).round() / 1e4),
            Self::Injected { hit } => write!(f, "injected {hit}"),
            Self::GuardTripped { guard, value, limit } => {
                write!(f, "guard tripped: {guard}: {value} (limit {limit})")
            }
            Self::Aborted { by, why } => write!(f, "aborted by {by}: {why}"),
            Self::Expired => f.write_str("expired"),
            Self::Completed { verdict } => write!(f, "completed: {verdict}"),
        }
    }
}

/// Hears of every entry, when it is written.
pub(super) type AuditSink = Arc<dyn Fn(&Entry) + Send + Sync>;

/// The audit of one experiment.
pub(super) struct Audit {
    experiment: String,
    sinks: Vec<AuditSink>,
    entries: Mutex<Vec<Entry>>,
}

impl Audit {
    pub(super) fn new(experiment: &str, sinks: Vec<AuditSink>) -> Self {
        Self { experiment: experiment.into(), sinks, entries: Mutex::new(Vec::new()) }
    }

    pub(super) fn write(&self, what: Happened) {
        let entry = {
            // Numbered under the lock, so that the numbers are in order.
            let mut entries = lock(&self.entries);
            let entry = Entry {
                number: entries.len() as u64 + 1,
                experiment: self.experiment.clone(),
                at: clock::wall(Instant::now()),
                what,
            };
            entries.push(entry.clone());
            entry
        };
        let Entry { number, experiment, what, .. } = &entry;
        tracing::info!(target: "moneta_resilience::chaos", experiment = experiment.as_str(), number, "{what}");
        for sink in &self.sinks {
            sink(&entry);
        }
    }

    pub(super) fn is_completed(&self) -> bool {
        let entries = lock(&self.entries);
        entries.last().is_some_and(|entry| matches!(entry.what, Happened::Completed { .. }))
    }

    pub(super) fn entries(&self) -> Vec<Entry> {
        lock(&self.entries).clone()
    }
}
