//! All that is left to chance, from one seed.

use std::{
    sync::atomic::{AtomicU64, Ordering},
    time::Duration,
};

/// `SplitMix64`.
pub(crate) struct Chance(AtomicU64);

impl Chance {
    pub(crate) fn new(seed: u64) -> Self {
        Self(AtomicU64::new(seed))
    }

    fn next(&self) -> u64 {
        const GAMMA: u64 = 0x9e37_79b9_7f4a_7c15;
        let mut z = self.0.fetch_add(GAMMA, Ordering::Relaxed).wrapping_add(GAMMA);
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    /// One of so many, from 0.
    pub(crate) fn below(&self, many: usize) -> usize {
        usize::try_from(self.next() % many as u64).unwrap()
    }

    /// In so many cases of a hundred.
    pub(crate) fn percent(&self, cases: usize) -> bool {
        self.below(100) < cases
    }

    pub(crate) fn up_to(&self, longest: Duration) -> Duration {
        longest * u32::try_from(self.below(1001)).unwrap() / 1000
    }
}
