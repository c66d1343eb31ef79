use tokio::time::Instant;

use super::{CircuitBreakerSnapshot, policy::Breaker};
use crate::event::CircuitState;

/// A circuit breaker while it runs. Clones are the same one.
#[derive(Clone, Debug)]
pub struct CircuitBreakerHandle {
    breaker: Breaker,
}

impl CircuitBreakerHandle {
    pub(super) fn new(breaker: Breaker) -> Self {
        Self { breaker }
    }

    /// The state as the last call left it: an open breaker whose time is over stays open until somebody calls.
    pub fn state(&self) -> CircuitState {
        self.breaker.machine.state()
    }

    /// State, counts and times at one moment.
    pub fn snapshot(&self) -> CircuitBreakerSnapshot {
        self.breaker.machine.snapshot(Instant::now())
    }

    /// Refuses every call until [`reset`](Self::reset) or [`disable`](Self::disable).
    pub fn force_open(&self) {
        self.breaker.tell(self.breaker.machine.force_open(Instant::now()));
    }

    /// Lets every call through and counts none, until [`reset`](Self::reset) or [`force_open`](Self::force_open).
    pub fn disable(&self) {
        self.breaker.tell(self.breaker.machine.disable(Instant::now()));
    }

    /// Closes the breaker and really clears it: counts, streaks, the growth of the open time. Calls that are on their way
    /// count for nothing any more.
    pub fn reset(&self) {
        self.breaker.tell(self.breaker.machine.reset(Instant::now()));
    }
}
