use std::time::Duration;

use crate::{event::CircuitState, ratio::Ratio};

/// What a circuit breaker knows at one moment.
///
/// The counts are those of the window in the current state: every transition begins at zero, and only a closed or a
/// recovering breaker counts.
#[derive(Clone, Copy, Debug, PartialEq)]
#[non_exhaustive]
pub struct CircuitBreakerSnapshot {
    /// The state as the last call left it: an open breaker whose time is over stays open until somebody calls.
    pub state: CircuitState,
    /// Calls in the window whose outcome is known.
    pub calls: u64,
    /// Those that failed.
    pub failures: u64,
    /// Those that succeeded too late.
    pub slow: u64,
    /// Calls in the window that were dropped before their outcome was known. They are not among `calls`; under
    /// [`AbandonedPolicy::AsFailure`](super::AbandonedPolicy::AsFailure) they are failures like any other instead.
    pub abandoned: u64,
    /// What it was [tripped](super::CircuitBreakerHandle::trip) for, while it is open from that; `None` otherwise.
    pub reason: Option<&'static str>,
    /// How long the breaker has been in this state.
    pub time_in_state: Duration,
    /// When an open breaker lets the next probe through, counted from now. `None` in other states.
    pub next_probe: Option<Duration>,
}

impl CircuitBreakerSnapshot {
    /// The share of calls that failed; `None` without calls.
    pub fn failure_rate(&self) -> Option<Ratio> {
        self.rate(self.failures)
    }

    /// The share of calls that succeeded too late; `None` without calls.
    pub fn slow_rate(&self) -> Option<Ratio> {
        self.rate(self.slow)
    }

    #[expect(clippy::cast_precision_loss, reason = "there are no 2^53 calls in a window")]
    fn rate(&self, part: u64) -> Option<Ratio> {
        Ratio::new(part as f64 / self.calls as f64).ok()
    }
}
