//! How long calls take: a quantile of the latest latencies, kept without a lock.

use std::time::Duration;

use crate::{
    ratio::Ratio,
    sync::{AtomicU32, AtomicU64, Ordering},
};

/// Samples before the first estimate.
pub(crate) const WARM: u64 = 20;
/// Samples from one estimate to the next.
const REFRESH: u64 = 32;
/// Samples from one halving of all that was counted to the next.
const HALVE: u64 = 1024;

/// Buckets for each doubling of the latency, as a power of two: 16, so a bucket is at most a sixteenth wide.
const FINE: u32 = 4;
/// Doublings that are told apart above the first 16 microseconds: up to some nineteen hours.
const OCTAVES: u32 = 32;
const BUCKETS: usize = ((OCTAVES + 1) as usize) << FINE;

/// Stands for an estimate that there is not yet.
const NONE: u64 = u64::MAX;

/// A quantile of the latest latencies: a histogram with logarithmic buckets whose counts fade.
///
/// A sample is two relaxed adds; every 32nd also works out the estimate, and reading the estimate is one load. All
/// counts are halved every 1,024 samples, so what was seen a few thousand samples ago no longer matters. The estimate is
/// the upper edge of its bucket: never below the quantile, and above it by less than a sixteenth or a microsecond.
#[derive(Debug)]
pub(crate) struct Quantile {
    rank: Ratio,
    samples: AtomicU64,
    /// The estimate in microseconds.
    estimate: AtomicU64,
    buckets: [AtomicU32; BUCKETS],
}

// Relaxed everywhere: a bucket stands for itself alone, and an estimate that has missed the latest samples is as good.
impl Quantile {
    pub(crate) fn new(quantile: Ratio) -> Self {
        Self {
            rank: quantile,
            samples: AtomicU64::new(0),
            estimate: AtomicU64::new(NONE),
            buckets: std::array::from_fn(|_| AtomicU32::new(0)),
        }
    }

    pub(crate) fn quantile(&self) -> Ratio {
        self.rank
    }

    /// The quantile as it was last worked out; `None` before there were [`WARM`] samples.
    pub(crate) fn estimate(&self) -> Option<Duration> {
        let estimate = self.estimate.load(Ordering::Relaxed);
        (estimate != NONE).then(|| Duration::from_micros(estimate))
    }

    pub(crate) fn record(&self, latency: Duration) {
        self.buckets[bucket(micros(latency))].fetch_add(1, Ordering::Relaxed);
        // Each number is drawn once, so each piece of work below is done once.
        let sample = self.samples.fetch_add(1, Ordering::Relaxed) + 1;
        if sample == WARM || sample % REFRESH == 0 && sample > WARM {
            self.estimate.store(self.work_out(), Ordering::Relaxed);
        }
        if sample % HALVE == 0 {
            self.halve();
        }
    }

    fn work_out(&self) -> u64 {
        let counts: [u64; BUCKETS] =
            std::array::from_fn(|index| self.buckets[index].load(Ordering::Relaxed).into());
        rank(&counts, self.rank).map_or(NONE, upper_edge)
    }

    fn halve(&self) {
        for bucket in &self.buckets {
            // An update and no subtraction: should two threads halve at once, the count must not wrap.
            _ = bucket
                .fetch_update(Ordering::Relaxed, Ordering::Relaxed, |count| (count > 0).then_some(count / 2));
        }
    }
}

/// All latencies of a piece of work, in the same buckets: one relaxed add each, and nothing fades.
pub(crate) struct Histogram([AtomicU64; BUCKETS]);

/// What a [`Histogram`] held when it was read.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Latencies(Vec<u64>);

impl Default for Histogram {
    fn default() -> Self {
        Self(std::array::from_fn(|_| AtomicU64::new(0)))
    }
}

impl Histogram {
    pub(crate) fn record(&self, latency: Duration) {
        self.0[bucket(micros(latency))].fetch_add(1, Ordering::Relaxed);
    }

    pub(crate) fn read(&self) -> Latencies {
        Latencies(self.0.iter().map(|count| count.load(Ordering::Relaxed)).collect())
    }
}

impl Latencies {
    /// Never below the quantile, and above it by less than a sixteenth or a microsecond. `None` of nothing.
    pub(crate) fn quantile(&self, share: Ratio) -> Option<Duration> {
        rank(&self.0, share).map(|index| Duration::from_micros(upper_edge(index)))
    }

    #[cfg(feature = "chaos")]
    pub(crate) fn since(&self, before: &Self) -> Self {
        let counts = self.0.iter().zip(before.0.iter().chain(std::iter::repeat(&0)));
        Self(counts.map(|(now, before)| now.saturating_sub(*before)).collect())
    }

    #[cfg(feature = "chaos")]
    pub(crate) fn add(&mut self, others: &Self) {
        self.0.resize(self.0.len().max(others.0.len()), 0);
        self.0.iter_mut().zip(&others.0).for_each(|(count, more)| *count += more);
    }

    /// How many were above the limit, together with those in its bucket.
    pub(crate) fn above(&self, limit: Duration) -> u64 {
        self.0.iter().skip(bucket(micros(limit))).sum()
    }
}

fn micros(latency: Duration) -> u64 {
    u64::try_from(latency.as_micros()).unwrap_or(u64::MAX)
}

/// In which bucket a quantile is.
fn rank(counts: &[u64], share: Ratio) -> Option<usize> {
    let total: u64 = counts.iter().sum();
    #[expect(
        clippy::cast_precision_loss,
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "nobody counts 2⁵³ samples, and a ratio of them"
    )]
    let rank = ((total as f64 * share.value()).ceil() as u64).max(1);
    let mut below = 0;
    counts.iter().position(|count| {
        below += count;
        below >= rank
    })
}

/// The bucket of a latency in microseconds: the first 16 have one each, then 16 share every doubling.
fn bucket(micros: u64) -> usize {
    let octave = (micros | 1).ilog2().saturating_sub(FINE);
    if octave >= OCTAVES {
        return BUCKETS - 1;
    }
    #[expect(clippy::cast_possible_truncation, reason = "below BUCKETS, as the line above says")]
    let index = ((u64::from(octave) << FINE) + (micros >> octave)) as usize;
    index
}

/// The first latency in microseconds that a bucket leaves to the next one.
fn upper_edge(index: usize) -> u64 {
    let next = index as u64 + 1;
    // The inverse of `bucket`: there the first octave is doubled, being both below 16 and from 16 on.
    let octave = (next >> FINE).saturating_sub(1);
    (next - (octave << FINE)) << octave
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const SUB: u64 = 1 << FINE;

    fn of(samples: impl IntoIterator<Item = u64>, percent: u8) -> Option<Duration> {
        let quantile = Quantile::new(Ratio::percent(percent));
        samples.into_iter().for_each(|micros| quantile.record(Duration::from_micros(micros)));
        quantile.estimate()
    }

    #[test]
    fn there_is_no_estimate_before_twenty_samples() {
        assert_eq!(of(1..=19, 95), None);
        assert_eq!(of(1..=20, 95), Some(Duration::from_micros(20)));
    }

    #[test]
    fn every_latency_is_in_the_bucket_whose_edges_it_lies_between() {
        let mut lower = 0;
        for index in 0..BUCKETS - 1 {
            let upper = upper_edge(index);
            assert!(upper > lower, "bucket {index} is empty");
            assert_eq!((bucket(lower), bucket(upper - 1)), (index, index));
            assert!(upper - lower == 1 || (upper - lower) * SUB <= lower, "bucket {index} is too wide");
            lower = upper;
        }
        assert_eq!(bucket(lower), BUCKETS - 1);
        assert_eq!(bucket(u64::MAX), BUCKETS - 1);
    }

    #[test]
    fn what_was_seen_long_ago_fades() {
        let (fast, slow) = (1_000, 50_000);
        let slower = of(vec![fast; 4_096].into_iter().chain(vec![slow; 96]), 95);
        assert!(slower >= Some(Duration::from_micros(slow)), "{slower:?}");
        let faster = of(vec![slow; 4_096].into_iter().chain(vec![fast; 6_144]), 95);
        assert!(faster < Some(Duration::from_micros(2 * fast)), "{faster:?}");
    }

    #[test]
    fn a_sample_beyond_the_clock_breaks_nothing() {
        let quantile = Quantile::new(Ratio::percent(50));
        (0..WARM).for_each(|_| quantile.record(Duration::MAX));
        assert!(quantile.estimate().is_some());
    }

    #[test]
    fn no_count_is_lost_or_wrapped_between_threads() {
        let quantile = Quantile::new(Ratio::percent(95));
        std::thread::scope(|scope| {
            for _ in 0..8 {
                scope.spawn(|| (0..10_000).for_each(|_| quantile.record(Duration::from_millis(1))));
            }
        });
        let counted: u64 =
            quantile.buckets.iter().map(|count| u64::from(count.load(Ordering::Relaxed))).sum();
        assert!(counted <= 2 * HALVE + 8 * REFRESH, "{counted}");
        assert!(quantile.estimate() < Some(Duration::from_micros(1_100)));
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(256))]

        #[test]
        fn the_estimate_is_at_most_a_sixteenth_above_the_quantile(
            samples in proptest::collection::vec(0..10_000_000_u64, 32 * 4),
            percent in 1..100_u8,
        ) {
            let estimate = u64::try_from(of(samples.clone(), percent).expect("warm").as_micros()).expect("small");
            let mut sorted = samples;
            sorted.sort_unstable();
            let rank = (sorted.len() * usize::from(percent)).div_ceil(100).max(1);
            let exact = sorted[rank - 1];
            prop_assert!(estimate > exact && estimate <= exact + exact / SUB + 1, "{estimate} for {exact}");
        }
    }
}
