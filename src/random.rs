//! Seedable randomness without a lock.
//!
//! `SplitMix64` (Steele, Lea, Flood: "Fast Splittable Pseudorandom Number Generators", OOPSLA 2014) over an atomic
//! counter: one `fetch_add` a number, any number of threads, and with a seed and one thread always the same sequence.
//! It spreads load and jitters delays; it is not for secrets.

use std::{
    hash::{BuildHasher, RandomState},
    time::Duration,
};

use crate::sync::{AtomicU64, Ordering};

const GOLDEN_GAMMA: u64 = 0x9e37_79b9_7f4a_7c15;

/// A source of random numbers for jitter and sampling.
#[derive(Debug)]
pub(crate) struct Random {
    state: AtomicU64,
}

impl Random {
    /// Always the same sequence for the same seed.
    pub(crate) fn seeded(seed: u64) -> Self {
        Self { state: AtomicU64::new(seed) }
    }

    /// A seed that differs in every process and at every call, from the keys the standard library draws for its hashes.
    pub(crate) fn from_entropy() -> Self {
        Self::seeded(RandomState::new().hash_one(GOLDEN_GAMMA))
    }

    /// Uniform over all of `u64`.
    pub(crate) fn next_u64(&self) -> u64 {
        let mut z = self.state.fetch_add(GOLDEN_GAMMA, Ordering::Relaxed).wrapping_add(GOLDEN_GAMMA);
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    /// Uniform in `[0, 1)`, with 53 bits.
    #[expect(clippy::cast_precision_loss, reason = "53 bits are what an f64 holds exactly")]
    pub(crate) fn unit(&self) -> f64 {
        (self.next_u64() >> 11) as f64 / (1_u64 << 53) as f64
    }

    /// Uniform over the numbers below `bound`, which is not zero; biased by less than one in 2³².
    pub(crate) fn below(&self, bound: u32) -> u32 {
        // The high half of 32 random bits times the bound (Lemire: "Fast Random Integer Generation in an Interval", 2019).
        let scaled = (self.next_u64() >> 32) * u64::from(bound);
        (scaled >> 32).try_into().expect("it is below the bound")
    }

    /// Uniform in `[low, high]`; `low` when the range is empty.
    pub(crate) fn duration(&self, low: Duration, high: Duration) -> Duration {
        low + high.saturating_sub(low).mul_f64(self.unit())
    }
}

/// A number that no other process and no other call will draw: 128 bits, under keys that the standard library takes
/// from the operating system. No seed fixes it, because what it names must stay unique, and no guess is to be feared
/// from it: it is a name and no secret.
#[cfg(any(feature = "http", feature = "setup"))]
pub(crate) fn unique() -> u128 {
    // The state above has 64 bits in all, and every seed lies on the same cycle: too little for names.
    let keys = RandomState::new();
    u128::from(keys.hash_one(0_u8)) << 64 | u128::from(keys.hash_one(1_u8))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[cfg(feature = "http")]
    #[test]
    fn a_unique_number_is_drawn_once() {
        let numbers: std::collections::HashSet<_> = (0..10_000).map(|_| unique()).collect();
        assert_eq!(numbers.len(), 10_000);
    }

    #[test]
    fn a_seed_fixes_the_sequence() {
        let (a, b) = (Random::seeded(7), Random::seeded(7));
        assert!((0..100).all(|_| a.next_u64() == b.next_u64()));
        assert_ne!(Random::seeded(7).next_u64(), Random::seeded(8).next_u64());
    }

    #[test]
    fn first_values_are_those_of_the_published_generator() {
        let random = Random::seeded(1_234_567);
        assert_eq!(random.next_u64(), 6_457_827_717_110_365_317);
        assert_eq!(random.next_u64(), 3_203_168_211_198_807_973);
    }

    #[test]
    fn unit_fills_its_range_evenly() {
        let random = Random::seeded(1);
        let mut buckets = [0_u32; 10];
        for _ in 0..100_000 {
            #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "0 <= unit < 1")]
            let bucket = (random.unit() * 10.0) as usize;
            buckets[bucket] += 1;
        }
        assert!(buckets.iter().all(|&n| (9_500..10_500).contains(&n)), "{buckets:?}");
    }

    #[test]
    fn duration_of_an_empty_range_is_its_low_end() {
        let second = Duration::from_secs(1);
        assert_eq!(Random::seeded(1).duration(second, Duration::ZERO), second);
    }
}
