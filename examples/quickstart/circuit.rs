//! Listens to the golden client's circuit breaker.

use std::sync::{Mutex, MutexGuard, PoisonError};

use moneta_resilience::{
    Name,
    event::{CircuitState, Event},
    observer::{Interest, Sink},
};
use tokio::time::Instant;

/// A change of the breaker's state.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Transition {
    pub(crate) at: Instant,
    pub(crate) from: CircuitState,
    pub(crate) to: CircuitState,
}

/// The transitions of one breaker, oldest first.
#[derive(Debug, Default)]
pub(crate) struct Circuit(Mutex<Vec<Transition>>);

impl Circuit {
    /// All transitions so far.
    pub(crate) fn transitions(&self) -> Vec<Transition> {
        self.lock().clone()
    }

    /// The state it is in.
    pub(crate) fn state(&self) -> CircuitState {
        self.lock().last().map_or(CircuitState::Closed, |last| last.to)
    }

    fn lock(&self) -> MutexGuard<'_, Vec<Transition>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Sink for Circuit {
    fn interest(&self) -> Interest {
        Interest::TRANSITIONS
    }

    fn record(&self, _pipeline: &Name, event: &Event) {
        if let Event::BreakerTransition { from, to } = *event {
            self.lock().push(Transition { at: Instant::now(), from, to });
        }
    }
}
