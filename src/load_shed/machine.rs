//! What was asked and what was accepted lately, and what follows for the next call: no clock, no I/O.

use std::time::Duration;

use tokio::time::Instant;

use crate::{
    random::Random,
    ratio::Ratio,
    sync::{AtomicU64, Ordering},
    window::{Counts, Extent, Kind, SLICES, Window},
};

/// The numbers of a throttle.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct ThrottleConfig {
    /// K: how many times what the other side accepts is sent. At least 1.
    pub(super) ratio: f64,
    pub(super) window: Duration,
    /// Requests a second below which nothing is refused.
    pub(super) min_rate: u32,
    /// The greatest probability.
    pub(super) max_refused: Ratio,
    /// Fixes what is drawn, for tests.
    pub(super) seed: Option<u64>,
}

impl Default for ThrottleConfig {
    fn default() -> Self {
        Self {
            ratio: 2.0,
            window: Duration::from_secs(120),
            min_rate: 1,
            max_refused: Ratio::percent(95),
            seed: None,
        }
    }
}

impl ThrottleConfig {
    /// The probability with which a call is refused after these.
    ///
    /// In the window a request is a call, and one that was not accepted is a failure besides.
    #[expect(clippy::cast_precision_loss, reason = "counts far below 2⁵³")]
    pub(super) fn probability(&self, counts: Counts) -> f64 {
        let (requests, accepts) = (counts.calls as f64, (counts.calls - counts.failures) as f64);
        if requests < f64::from(self.min_rate) * self.window.as_secs_f64() {
            return 0.0;
        }
        ((requests - self.ratio * accepts) / (requests + 1.0)).clamp(0.0, self.max_refused.value())
    }
}

/// Counts and decides. It takes no lock.
#[derive(Debug)]
pub(super) struct Machine {
    config: ThrottleConfig,
    window: Window,
    /// From which slice on nothing in the window was refused. Up to then it has to be summed up, from then on not: while all
    /// is well, a call costs one load.
    clean_from: AtomicU64,
    random: Random,
}

impl Machine {
    pub(super) fn new(config: ThrottleConfig, origin: Instant) -> Self {
        Self {
            config,
            window: Window::laned(Extent::Time(config.window), origin),
            clean_from: AtomicU64::new(0),
            random: config.seed.map_or_else(Random::from_entropy, Random::seeded),
        }
    }

    /// Whether a call may be sent. One that may not is counted as a request that was not accepted.
    pub(super) fn admit(&self, now: Instant) -> bool {
        let slice = self.window.slice_at(now);
        if slice >= self.clean_from.load(Ordering::Relaxed) {
            return true;
        }
        let probability = self.config.probability(self.window.sums(0, slice).whole);
        let admitted = probability <= 0.0 || self.random.unit() >= probability;
        if !admitted {
            self.refused(slice);
        }
        admitted
    }

    /// A call was answered: with what it was asked for or another failure, or with a refusal.
    pub(super) fn answered(&self, accepted: bool, now: Instant) {
        let slice = self.window.slice_at(now);
        if accepted {
            self.window.count(0, slice, &[Kind::Call]);
        } else {
            self.refused(slice);
        }
    }

    fn refused(&self, slice: u64) {
        self.window.count(0, slice, &[Kind::Call, Kind::Failure]);
        self.clean_from.fetch_max(slice + SLICES as u64, Ordering::Relaxed);
    }
}
