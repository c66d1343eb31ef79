//! What the patterns of a stack did, from its counts.

use crate::{
    cells::Cells,
    error::Reason,
    event::{BreakerResult, CircuitState, FaultKind, RetryResult},
};

const NAMES: [&str; 10] = [
    "injected",
    "retries",
    "recovered",
    "hedges",
    "breaker_opened",
    "breaker_refused",
    "bulkhead_refused",
    "shed",
    "timeouts",
    "fallbacks",
];

/// How often each pattern did something, by [`NAMES`].
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Patterns([u64; NAMES.len()]);

impl Patterns {
    pub(super) fn read(cells: &Cells) -> Self {
        let opened = [CircuitState::Closed, CircuitState::HalfOpen];
        Self([
            FaultKind::ALL.iter().map(|&fault| cells.faults(fault)).sum(),
            cells.retries_scheduled(),
            cells.retries(RetryResult::Recovered),
            cells.hedges_sent(),
            opened.into_iter().map(|from| cells.transitions(from, CircuitState::Open)).sum(),
            cells.breaker(BreakerResult::Rejected),
            cells.bulkhead_refused(),
            cells.load_shed(Reason::Throttled) + cells.load_shed(Reason::Shed),
            cells.attempts_timed_out() + cells.deadlines_exceeded(),
            cells.fallbacks_served(),
        ])
    }

    pub(super) fn since(self, before: Self) -> Self {
        Self(std::array::from_fn(|index| self.0[index].saturating_sub(before.0[index])))
    }

    /// The name of each, and how often.
    pub(super) fn each(self) -> impl Iterator<Item = (&'static str, u64)> {
        NAMES.into_iter().zip(self.0)
    }
}
