//! What is done to a machine from outside of its calls.

use std::{task::Waker, time::Duration};

use tokio::time::Instant;

use super::{Machine, Transition};
use crate::{
    circuit_breaker::{
        config::CircuitBreakerConfig,
        snapshot::CircuitBreakerSnapshot,
        transitions::{CircuitTransition, Place},
    },
    event::CircuitState,
    sync::lock,
};

impl Machine {
    /// Refuses every call until [`reset`](Self::reset) or [`disable`](Self::disable).
    pub(crate) fn force_open(&self, now: Instant) -> Option<Transition> {
        self.force(CircuitState::ForcedOpen, now)
    }

    /// Admits every call and counts none until [`reset`](Self::reset) or [`force_open`](Self::force_open).
    pub(crate) fn disable(&self, now: Instant) -> Option<Transition> {
        self.force(CircuitState::Disabled, now)
    }

    /// Closes the breaker and forgets everything that it counted and everything that is on its way.
    pub(crate) fn reset(&self, now: Instant) -> Option<Transition> {
        let rare = &mut *lock(&self.rare);
        let transition = self.enter(rare, CircuitState::Closed, now);
        (transition.from != transition.to).then_some(transition)
    }

    fn force(&self, state: CircuitState, now: Instant) -> Option<Transition> {
        let rare = &mut *lock(&self.rare);
        (self.word().state() != state).then(|| self.enter(rare, state, now))
    }

    /// Opens the breaker for a reason from outside, as if it had tripped. It does nothing to one that is open already or
    /// in somebody's hands.
    pub(crate) fn trip_for(&self, reason: &'static str, now: Instant) -> Option<Transition> {
        let rare = &mut *lock(&self.rare);
        match self.word().state() {
            CircuitState::Closed | CircuitState::HalfOpen | CircuitState::Recovering => {
                Some(self.enter_for(Some(reason), rare, CircuitState::Open, now))
            }
            CircuitState::Open | CircuitState::ForcedOpen | CircuitState::Disabled => None,
        }
    }

    pub(crate) fn config(&self) -> &CircuitBreakerConfig {
        &self.config
    }

    /// The state as the last call left it: an open breaker whose time is over stays open until somebody calls.
    pub(crate) fn state(&self) -> CircuitState {
        self.word().state()
    }

    pub(crate) fn snapshot(&self, now: Instant) -> CircuitBreakerSnapshot {
        let rare = lock(&self.rare);
        let word = self.word();
        let counts = self.counting.counts(word, now);
        CircuitBreakerSnapshot {
            state: word.state(),
            calls: counts.calls,
            failures: counts.failures,
            slow: counts.slow,
            abandoned: counts.abandoned,
            time_in_state: now.saturating_duration_since(rare.since),
            reason: rare.reason,
            next_probe: (word.state() == CircuitState::Open).then(|| self.until_due(now)),
        }
    }

    /// Whether nothing is lost when the breaker is thrown away: it is closed, or time has long closed it, because nobody
    /// has asked it for `patience` after it would have let a call through.
    pub(crate) fn may_be_forgotten(&self, patience: Duration, now: Instant) -> bool {
        let longest = match self.state() {
            CircuitState::Closed => return true,
            CircuitState::Open | CircuitState::HalfOpen => self.config.open_time.1,
            CircuitState::Recovering => self.ramp.length(),
            CircuitState::ForcedOpen | CircuitState::Disabled => return false,
        };
        let since = lock(&self.rare).since;
        now.saturating_duration_since(since) >= patience.saturating_add(longest)
    }

    /// Keeps transitions from now on.
    pub(in crate::circuit_breaker) fn listen(&self) -> Place {
        lock(&self.rare).history.get_or_insert_default().join()
    }

    /// What a stream reads next. If that has not happened yet, the task is woken when it does.
    pub(in crate::circuit_breaker) fn next_transition(
        &self,
        place: &mut Place,
        waker: &Waker,
    ) -> Option<CircuitTransition> {
        // A waker is somebody else's code: it is cloned and dropped outside of the lock.
        let waker = waker.clone();
        let mut rare = lock(&self.rare);
        let history = rare.history.as_mut().expect("it is kept as long as there is a stream");
        let next = history.read(place);
        let needless = if next.is_none() { history.wait(place, waker) } else { Some(waker) };
        drop(rare);
        drop(needless);
        next
    }

    /// Ends a stream. The last one takes the history with it.
    pub(in crate::circuit_breaker) fn leave(&self, place: &Place) {
        let mut rare = lock(&self.rare);
        let waker = rare.history.as_mut().and_then(|history| history.forget(place));
        let history = rare.history.take_if(|history| history.leave());
        drop(rare);
        drop((waker, history));
    }

    /// Wakes whoever waits for a transition. Apart from making it, because it must not happen under the lock.
    pub(crate) fn wake_listeners(&self) {
        let waiting = lock(&self.rare).history.as_mut().map(|history| history.take_waiting());
        for (_, waker) in waiting.into_iter().flatten() {
            waker.wake();
        }
    }
}
