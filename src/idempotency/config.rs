use std::time::Duration;

use super::LeaseOver;

/// The times and rules of a layer.
#[derive(Clone, Copy, Debug)]
pub(crate) struct IdempotencyConfig {
    pub(crate) lease: Duration,
    pub(crate) lease_over: LeaseOver,
    pub(crate) retention: Duration,
    pub(crate) run_limit: Duration,
    pub(crate) max_wait: Duration,
    pub(crate) store_timeout: Duration,
    pub(crate) fail_open: bool,
}

impl Default for IdempotencyConfig {
    fn default() -> Self {
        Self {
            lease: Duration::from_secs(60),
            lease_over: LeaseOver::InDoubt,
            retention: Duration::from_secs(24 * 3600),
            run_limit: Duration::from_secs(30),
            max_wait: Duration::ZERO,
            store_timeout: Duration::from_secs(1),
            fail_open: false,
        }
    }
}
