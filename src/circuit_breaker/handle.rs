use std::sync::Arc;

use tokio::time::Instant;

use super::{
    CircuitBreakerSnapshot, CircuitTransitions,
    machine::{Machine, Transition},
    policy::tell,
};
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

    /// The changes of state from now on.
    ///
    /// ```
    /// # #[tokio::main(flavor = "current_thread")] async fn main() {
    /// use futures::StreamExt;
    /// use moneta_resilience::{circuit_breaker::CircuitBreakerLayer, event::CircuitState};
    ///
    /// let breaker = CircuitBreakerLayer::new();
    /// let mut transitions = breaker.handle().transitions();
    /// breaker.handle().trip("the objective burns");
    ///
    /// let opened = transitions.next().await.expect("it has no end");
    /// assert_eq!((opened.from, opened.to), (CircuitState::Closed, CircuitState::Open));
    /// assert_eq!((opened.reason, opened.missed), (Some("the objective burns"), 0));
    /// # }
    /// ```
    pub fn transitions(&self) -> CircuitTransitions {
        CircuitTransitions::new(Arc::clone(&self.machine))
    }

    /// Opens the breaker for a reason that its calls do not show: the objective burns, the dependency says it goes down.
    /// It comes back as from any other trip, by probes.
    ///
    /// Says whether it opened. One that is open already stays open for as long as it would have, and one that is forced
    /// open or disabled stays in the hands of whoever did that.
    pub fn trip(&self, reason: &'static str) -> bool {
        let transition = self.machine.trip_for(reason, Instant::now());
        self.tell(transition);
        transition.is_some()
    }

    /// Refuses every call until [`reset`](Self::reset) or [`disable`](Self::disable).
    pub fn force_open(&self) {
        self.tell(self.machine.force_open(Instant::now()));
    }

    /// Lets every call through and counts none, until [`reset`](Self::reset) or [`force_open`](Self::force_open).
    pub fn disable(&self) {
        self.tell(self.machine.disable(Instant::now()));
    }

    /// Closes the breaker and really clears it: counts, streaks, the growth of the open time. Calls that are on their way
    /// count for nothing any more.
    pub fn reset(&self) {
        self.tell(self.machine.reset(Instant::now()));
    }

    /// The same breaker, which tells this observer what is done to it.
    #[cfg_attr(not(feature = "slo"), expect(dead_code, reason = "nothing else trips it"))]
    pub(crate) fn telling(self, observer: Observer) -> Self {
        Self { observer, ..self }
    }

    fn tell(&self, transition: Option<Transition>) {
        tell(&self.observer, &self.machine, transition);
    }
}
