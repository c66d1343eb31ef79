use std::sync::Arc;

use tokio::time::Instant;

use super::{CircuitBreakerSnapshot, machine::Machine, policy::tell};
use crate::{event::CircuitState, observer::Observer};

/// A circuit breaker while it runs. Clones are the same one.
#[derive(Clone, Debug)]
pub struct CircuitBreakerHandle {
    pub(super) machine: Arc<Machine>,
    pub(super) observer: Observer,
}

impl CircuitBreakerHandle {
    pub(super) fn new(machine: Arc<Machine>, observer: Observer) -> Self {
        Self { machine, observer }
    }

    /// The state as the last call left it: an open breaker whose time is over stays open until somebody calls.
    pub fn state(&self) -> CircuitState {
        self.machine.state()
    }

    /// State, counts and times at one moment.
    pub fn snapshot(&self) -> CircuitBreakerSnapshot {
        self.machine.snapshot(Instant::now())
    }

    /// Refuses every call until [`reset`](Self::reset) or [`disable`](Self::disable).
    pub fn force_open(&self) {
        tell(&self.observer, self.machine.force_open(Instant::now()));
    }

    /// Lets every call through and counts none, until [`reset`](Self::reset) or [`force_open`](Self::force_open).
    pub fn disable(&self) {
        tell(&self.observer, self.machine.disable(Instant::now()));
    }

    /// Closes the breaker and really clears it: counts, streaks, the growth of the open time. Calls that are on their way
    /// count for nothing any more.
    pub fn reset(&self) {
        tell(&self.observer, self.machine.reset(Instant::now()));
    }
}
