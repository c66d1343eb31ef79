use std::time::Duration;

use super::LeaseOver;

/// The times and rules of a layer.
#[derive(Clone, Copy, Debug)]
pub(super) struct IdempotencyConfig {
    pub(super) lease: Duration,
    pub(super) lease_over: LeaseOver,
    pub(super) retention: Duration,
    pub(super) run_limit: Duration,
    pub(super) max_wait: Duration,
    pub(super) store_timeout: Duration,
    pub(super) fail_open: bool,
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
