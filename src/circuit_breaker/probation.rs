//! The few calls that a half-open breaker lets through, and what they decide.

use std::time::Duration;

use tokio::time::Instant;

use super::{config::CircuitBreakerConfig, mark::Mark};

/// The probes of one half-open time. Lives under the machine's lock.
#[derive(Debug)]
pub(super) struct Probation {
    /// Probes in all.
    limit: u32,
    successes_to_close: u32,
    failures_to_open: u32,
    /// Until when somebody waits for the probes on their way, in no order.
    in_flight: Vec<Instant>,
    succeeded: u32,
    failed: u32,
    abandoned_in_a_row: u32,
}

/// What the probes settled.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Verdict {
    Recovered,
    Failing,
}

impl Probation {
    pub(super) fn new(config: &CircuitBreakerConfig) -> Self {
        Self {
            limit: config.probes,
            successes_to_close: config.probes_to_close(),
            failures_to_open: config.probes_to_open(),
            in_flight: Vec::new(),
            succeeded: 0,
            failed: 0,
            abandoned_in_a_row: 0,
        }
    }

    /// Begins a probe that somebody waits for `until` then, or says how long those on their way may still take.
    pub(super) fn begin(&mut self, now: Instant, until: Instant) -> Result<(), Duration> {
        if self.is_full() {
            return Err(self.next_overdue().unwrap_or(until).saturating_duration_since(now));
        }
        self.in_flight.push(until);
        Ok(())
    }

    /// Ends a probe that somebody waited for `until` then. The verdict falls as soon as the probes that are left cannot change it.
    pub(super) fn end(&mut self, until: Instant, mark: Mark) -> Option<Verdict> {
        if let Some(index) = self.in_flight.iter().position(|&probe| probe == until) {
            self.in_flight.swap_remove(index);
        }
        match mark {
            Mark::Nothing => return None,
            Mark::Abandoned => {
                self.abandoned_in_a_row += 1;
                return (self.abandoned_in_a_row >= self.limit).then_some(Verdict::Failing);
            }
            Mark::Success => self.succeeded += 1,
            Mark::Slow | Mark::Failure | Mark::Throttled => self.failed += 1,
        }
        self.abandoned_in_a_row = 0;
        if self.failed >= self.failures_to_open {
            Some(Verdict::Failing)
        } else if self.succeeded >= self.successes_to_close {
            Some(Verdict::Recovered)
        } else {
            None
        }
    }

    /// Whether every probe is on its way or done.
    pub(super) fn is_full(&self) -> bool {
        self.in_flight.len() as u64 + u64::from(self.succeeded) + u64::from(self.failed)
            >= u64::from(self.limit)
    }

    /// Whether a probe has been on its way for so long that nobody waits for it any more.
    pub(super) fn is_overdue(&self, now: Instant) -> bool {
        self.next_overdue().is_some_and(|until| until <= now)
    }

    pub(super) fn clear(&mut self) {
        self.in_flight.clear();
        (self.succeeded, self.failed, self.abandoned_in_a_row) = (0, 0, 0);
    }

    fn next_overdue(&self) -> Option<Instant> {
        self.in_flight.iter().min().copied()
    }
}
