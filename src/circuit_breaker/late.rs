use std::time::Duration;

use tokio::time::Instant;

use super::{CircuitBreakerHandle, machine::Admission, policy::count};
use crate::{class::Class, event::CircuitState};

/// Leave to tell a breaker later that a call which it has counted as a success ended badly after all.
#[derive(Debug)]
pub(crate) struct Late(Admission);

impl CircuitBreakerHandle {
    /// `None` unless the breaker is closed or recovering: its probes settle what becomes of it, or somebody has.
    pub(crate) fn late(&self) -> Option<Late> {
        let word = self.machine.word();
        let counts = matches!(word.state(), CircuitState::Closed | CircuitState::Recovering);
        counts.then_some(Late(Admission { word, probe: None }))
    }

    /// Counts the call once more, as what it has turned out to be, unless the breaker has changed its state meanwhile.
    pub(crate) fn record_late(&self, Late(admission): Late, class: Class) {
        let counted = self.machine.record(admission, class, || Duration::ZERO, Instant::now());
        count(&self.observer, &self.machine, counted);
    }
}
