use std::ops::RangeInclusive;

use super::{Aimd, Gradient, machine::MOST};

/// How many calls a bulkhead lets in at once: a fixed number, or one that adapts.
///
/// ```
/// use moneta_resilience::bulkhead::{Aimd, BulkheadLayer, Gradient};
///
/// let fixed = BulkheadLayer::new(20);
/// let by_latency = BulkheadLayer::new(Gradient::new());
/// let by_refusals = BulkheadLayer::new(Aimd::new().bounds(5..=200).start(50));
/// # drop((fixed, by_latency, by_refusals));
/// ```
#[derive(Clone, Copy, Debug, PartialEq)]
#[non_exhaustive]
pub enum ConcurrencyLimit {
    /// This many.
    Fixed(usize),
    /// As many as the additive-increase, multiplicative-decrease law finds.
    Aimd(Aimd),
    /// As many as the latency gradient finds.
    Gradient(Gradient),
}

impl ConcurrencyLimit {
    /// The limit to begin with.
    pub(super) fn start(self) -> usize {
        match self {
            Self::Fixed(limit) => limit,
            Self::Aimd(aimd) => aimd.bounds.start(),
            Self::Gradient(gradient) => gradient.bounds.start(),
        }
    }
}

impl From<usize> for ConcurrencyLimit {
    fn from(limit: usize) -> Self {
        Self::Fixed(limit)
    }
}

impl From<Aimd> for ConcurrencyLimit {
    fn from(aimd: Aimd) -> Self {
        Self::Aimd(aimd)
    }
}

impl From<Gradient> for ConcurrencyLimit {
    fn from(gradient: Gradient) -> Self {
        Self::Gradient(gradient)
    }
}

/// Where a limit that adapts begins, and what it never leaves.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Bounds {
    least: usize,
    most: usize,
    start: usize,
}

impl Bounds {
    pub(super) const DEFAULT: Self = Self { least: 1, most: 1000, start: 20 };

    #[track_caller]
    pub(super) fn within(self, bounds: RangeInclusive<usize>) -> Self {
        let (least, most) = bounds.into_inner();
        assert!(least > 0, "a limit of zero would refuse every call; give it a lower bound above zero");
        assert!(least <= most, "no limit lies between {least} and {most}");
        Self { least: least.min(MOST), most: most.min(MOST), ..self }
    }

    #[track_caller]
    pub(super) fn starting_at(self, start: usize) -> Self {
        assert!(start > 0, "a limit of zero would refuse every call; begin above zero");
        Self { start, ..self }
    }

    pub(super) fn start(self) -> usize {
        self.clamp(self.start)
    }

    pub(super) fn clamp(self, limit: usize) -> usize {
        limit.clamp(self.least, self.most)
    }
}
