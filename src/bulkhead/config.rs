use std::time::Duration;

use super::ConcurrencyLimit;

/// The numbers of a bulkhead. The default is a client's.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct BulkheadConfig {
    /// How many calls may be in flight.
    pub(crate) limit: ConcurrencyLimit,
    /// How many more may wait for one of those to end.
    pub(crate) max_queue: usize,
    /// How long a call may wait. Its deadline may end the wait earlier.
    pub(crate) max_wait: Duration,
    /// Whether places are kept for the more important calls.
    pub(crate) priorities: bool,
    /// How many keys have a share of their own; `None` when all share all.
    pub(crate) keys: Option<usize>,
}

impl BulkheadConfig {
    /// In front of a dependency: a short queue evens out bursts.
    pub(crate) const CLIENT: Self = Self {
        limit: ConcurrencyLimit::Fixed(256),
        max_queue: 64,
        max_wait: Duration::from_millis(100),
        priorities: false,
        keys: None,
    };
}

impl Default for BulkheadConfig {
    fn default() -> Self {
        Self::CLIENT
    }
}
