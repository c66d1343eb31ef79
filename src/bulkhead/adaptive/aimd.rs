use std::{ops::RangeInclusive, time::Duration};

use super::super::limit::Bounds;

/// A limit that grows by one as long as calls go well, and loses a tenth when the dependency is overloaded.
///
/// Additive increase, multiplicative decrease: the law by which independent senders converge on a fair share of what
/// there is (Chiu and Jain, "Analysis of the Increase and Decrease Algorithms for Congestion Avoidance in Computer
/// Networks", 1989; it governs TCP). With `L` the limit,
///
/// * a round trip that went well, in which the calls in flight were at some time half of `L` or more: `L + 1`;
/// * a refusal, a timeout, or a latency over the [threshold](Self::latency_threshold): `⌊0.9·L⌋`.
///
/// It needs a dependency that *says* that it is overloaded. Without one, or a threshold, `L` grows until calls time
/// out; [`Gradient`](super::super::Gradient) sees a queue by what it does to the latency.
///
/// # Defaults
///
/// | setting | default |
/// |---|---|
/// | [`bounds`](Self::bounds) | 1 to 1000 |
/// | [`start`](Self::start) | 20 |
/// | [`latency_threshold`](Self::latency_threshold) | none |
#[derive(Clone, Copy, Debug, PartialEq)]
#[must_use = "a law does nothing until a bulkhead has it"]
pub struct Aimd {
    pub(in super::super) bounds: Bounds,
    threshold: Duration,
}

impl Default for Aimd {
    fn default() -> Self {
        Self::new()
    }
}

impl Aimd {
    /// The law with its defaults.
    pub const fn new() -> Self {
        Self { bounds: Bounds::DEFAULT, threshold: Duration::MAX }
    }

    /// What the limit never leaves. Default 1 to 1000.
    ///
    /// # Panics
    ///
    /// When the range is empty or begins with zero.
    #[track_caller]
    pub fn bounds(self, bounds: RangeInclusive<usize>) -> Self {
        Self { bounds: self.bounds.within(bounds), ..self }
    }

    /// The limit to begin with, or the nearest within the bounds. Default 20.
    ///
    /// # Panics
    ///
    /// When `limit` is zero.
    #[track_caller]
    pub fn start(self, limit: usize) -> Self {
        Self { bounds: self.bounds.starting_at(limit), ..self }
    }

    /// Takes a successful call that was slower than this as a sign of overload, too. Default: none is too slow.
    ///
    /// # Panics
    ///
    /// When `latency` is zero: every call would be too slow.
    #[track_caller]
    pub fn latency_threshold(self, latency: Duration) -> Self {
        assert!(!latency.is_zero(), "with a threshold of zero every call would be too slow");
        Self { threshold: latency, ..self }
    }

    pub(super) fn threshold(&self) -> Duration {
        self.threshold
    }

    /// The limit after a round trip that went well, with `peak` calls in flight.
    pub(super) fn after_round(&self, limit: usize, peak: usize) -> usize {
        let used = peak.saturating_mul(2) >= limit;
        self.bounds.clamp(limit + usize::from(used))
    }

    pub(super) fn after_overload(&self, limit: usize) -> usize {
        self.bounds.clamp(limit * 9 / 10)
    }
}
