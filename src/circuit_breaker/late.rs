use std::time::Duration;

use tokio::time::Instant;

use super::{CircuitBreakerHandle, machine::Admission, policy::count};
use crate::class::Class;

/// Leave to tell a closed breaker later that a call which it has counted as a success ended badly after all.
#[derive(Debug)]
pub(crate) struct Late(Admission);

impl CircuitBreakerHandle {
    /// `None` while the breaker is not closed: then its probes settle what becomes of it.
    pub(crate) fn late(&self) -> Option<Late> {
        let word = self.machine.word();
        word.admits_all().then_some(Late(Admission { word, probe: None }))
    }

    /// Counts the call once more, as what it has turned out to be, unless the breaker has changed its state meanwhile.
    pub(crate) fn record_late(&self, Late(admission): Late, class: Class) {
        let counted = self.machine.record(admission, class, || Duration::ZERO, Instant::now());
        count(&self.observer, counted);
    }
}
