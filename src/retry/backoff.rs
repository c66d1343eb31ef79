use std::{fmt, sync::Arc, time::Duration};

use crate::random::Random;

const CAP: Duration = Duration::from_secs(20);
/// No wait is longer; the clock can still tell it, and arithmetic in `f64` cannot overflow on it.
const LONGEST: Duration = Duration::from_secs(86_400 * 365 * 30);

/// How long to wait before the next attempt.
///
/// A dependency that fails has failed many callers at the same moment. If they all come back after the same delay,
/// they meet again, so a delay should be drawn, not computed. With `n` = 0 for the first retry:
///
/// | backoff | delay |
/// |---|---|
/// | [`full_jitter`](Self::full_jitter) | uniform in 0 … min(cap, base · 2ⁿ) |
/// | [`equal_jitter`](Self::equal_jitter) | half of min(cap, base · 2ⁿ), and as much again drawn uniformly |
/// | [`decorrelated_jitter`](Self::decorrelated_jitter) | min(cap, uniform in base … 3 · the delay before) |
/// | [`constant`](Self::constant) | the same each time |
/// | [`none`](Self::none) | zero |
/// | [`custom`](Self::custom) | what the function says |
///
/// The formulas are those of Marc Brooker's [Exponential Backoff And Jitter][aws] (AWS Architecture Blog, 2015), which
/// finds that full jitter does the least work in all and takes hardly longer. The cap is applied before the jitter:
/// after it, most late delays would be the cap itself, and the callers in step again.
///
/// [aws]: https://aws.amazon.com/blogs/architecture/exponential-backoff-and-jitter/
///
/// ```
/// use std::time::Duration;
/// use moneta_resilience::retry::{Backoff, RetryLayer};
///
/// let quick = Backoff::full_jitter(Duration::from_millis(5)).cap(Duration::from_millis(100));
/// let layer = RetryLayer::new().backoff(quick);
/// # let _ = layer;
/// ```
#[derive(Clone)]
pub struct Backoff {
    shape: Shape,
    cap: Duration,
}

#[derive(Clone)]
enum Shape {
    Full { base: Duration },
    Equal { base: Duration },
    Decorrelated { base: Duration },
    Constant { delay: Duration },
    Custom { delay: Arc<dyn Fn(u32) -> Duration + Send + Sync> },
}

impl Backoff {
    /// Uniform between zero and an exponential bound: the default of the retry layer, with a base of 50 ms, and of 1 s
    /// where the dependency asked for fewer calls.
    pub fn full_jitter(base: Duration) -> Self {
        Self { shape: Shape::Full { base }, cap: CAP }
    }

    /// Half of an exponential delay, and a random part of the other half: never returns at once.
    pub fn equal_jitter(base: Duration) -> Self {
        Self { shape: Shape::Equal { base }, cap: CAP }
    }

    /// Uniform between the base and three times the delay before, so that callers drift apart.
    pub fn decorrelated_jitter(base: Duration) -> Self {
        Self { shape: Shape::Decorrelated { base }, cap: CAP }
    }

    /// The same delay each time, without jitter and without a cap.
    ///
    /// Callers that failed together come back together; for a queue with one consumer that is fine.
    pub fn constant(delay: Duration) -> Self {
        Self { shape: Shape::Constant { delay }, cap: LONGEST }
    }

    /// No delay.
    pub fn none() -> Self {
        Self::constant(Duration::ZERO)
    }

    /// The delay that a function says, which is given 0 for the first retry. Without a cap.
    ///
    /// ```
    /// use std::time::Duration;
    /// use moneta_resilience::retry::Backoff;
    ///
    /// let linear = Backoff::custom(|retry| Duration::from_millis(100) * (retry + 1));
    /// # let _ = linear;
    /// ```
    pub fn custom(delay: impl Fn(u32) -> Duration + Send + Sync + 'static) -> Self {
        Self { shape: Shape::Custom { delay: Arc::new(delay) }, cap: LONGEST }
    }

    /// No delay is longer. Default: 20 s for the delays with jitter, none for the others.
    pub fn cap(mut self, cap: Duration) -> Self {
        self.cap = cap.min(LONGEST);
        self
    }

    /// The delay before a retry (0 is the first), after the delay before it.
    pub(crate) fn delay(&self, retry: u32, previous: Duration, random: &Random) -> Duration {
        let delay = match self.shape {
            Shape::Full { base } => random.duration(Duration::ZERO, self.exponential(base, retry)),
            Shape::Equal { base } => {
                let half = self.exponential(base, retry) / 2;
                half + random.duration(Duration::ZERO, half)
            }
            Shape::Decorrelated { base } => {
                let base = base.min(self.cap);
                random.duration(base, previous.max(base).saturating_mul(3).min(LONGEST))
            }
            Shape::Constant { delay } => delay,
            Shape::Custom { ref delay } => delay(retry),
        };
        delay.min(self.cap)
    }

    /// min(cap, base · 2ⁿ), for any n: doubling passes every cap, or stays at zero, within a hundred steps.
    fn exponential(&self, base: Duration, n: u32) -> Duration {
        let mut delay = base;
        for _ in 0..n {
            if delay >= self.cap || delay.is_zero() {
                break;
            }
            delay = delay.saturating_mul(2);
        }
        delay.min(self.cap)
    }
}

impl fmt::Debug for Backoff {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (name, base) = match self.shape {
            Shape::Full { base } => ("full_jitter", Some(base)),
            Shape::Equal { base } => ("equal_jitter", Some(base)),
            Shape::Decorrelated { base } => ("decorrelated_jitter", Some(base)),
            Shape::Constant { delay } => ("constant", Some(delay)),
            Shape::Custom { .. } => ("custom", None),
        };
        let mut tuple = f.debug_struct("Backoff");
        tuple.field("shape", &format_args!("{name}"));
        if let Some(base) = base {
            tuple.field("base", &base);
        }
        tuple.field("cap", &self.cap).finish()
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn durations() -> impl Strategy<Value = Duration> {
        prop_oneof![
            Just(Duration::ZERO),
            Just(Duration::MAX),
            (0_u64..10_000_000_000).prop_map(Duration::from_nanos),
            (any::<u64>(), 0_u32..1_000_000_000).prop_map(|(secs, nanos)| Duration::new(secs, nanos)),
        ]
    }

    fn retries() -> impl Strategy<Value = u32> {
        prop_oneof![0_u32..10, Just(31), Just(32), Just(64), Just(u32::MAX), any::<u32>()]
    }

    /// min(cap, base · 2ⁿ) with numbers that cannot overflow for n up to 32.
    fn bound(base: Duration, n: u32, cap: Duration) -> Duration {
        let nanos = base.as_nanos() << n.min(32);
        if nanos >= cap.as_nanos() { cap } else { base * 2_u32.pow(n) }
    }

    proptest! {
        #[test]
        fn every_shape_saturates_for_any_numbers(
            base in durations(), cap in durations(), previous in durations(), retry in retries(), seed: u64,
        ) {
            let random = Random::seeded(seed);
            for backoff in [
                Backoff::full_jitter(base).cap(cap),
                Backoff::equal_jitter(base).cap(cap),
                Backoff::decorrelated_jitter(base).cap(cap),
                Backoff::constant(base).cap(cap),
                Backoff::custom(move |_| base).cap(cap),
            ] {
                prop_assert!(backoff.delay(retry, previous, &random) <= cap);
            }
            prop_assert_eq!(Backoff::none().delay(retry, previous, &random), Duration::ZERO);
        }

        #[test]
        fn jitter_stays_in_its_range(
            base in 1_u64..2_000_000_000, cap in 1_u64..100_000_000_000, n in 0_u32..31, previous in durations(),
            seed: u64,
        ) {
            let (base, cap, random) = (Duration::from_nanos(base), Duration::from_nanos(cap), Random::seeded(seed));
            let bound = bound(base, n, cap);
            prop_assert!(Backoff::full_jitter(base).cap(cap).delay(n, previous, &random) <= bound);
            let equal = Backoff::equal_jitter(base).cap(cap).delay(n, previous, &random);
            prop_assert!(bound / 2 <= equal && equal <= bound);
            let decorrelated = Backoff::decorrelated_jitter(base).cap(cap).delay(n, previous, &random);
            let most = previous.max(base).saturating_mul(3).min(cap);
            prop_assert!(base.min(cap) <= decorrelated && decorrelated <= most);
        }
    }

    #[test]
    fn full_jitter_fills_its_range_evenly_because_the_cap_comes_first() {
        let backoff = Backoff::full_jitter(Duration::from_secs(1)).cap(Duration::from_secs(10));
        let random = Random::seeded(1);
        let mut seconds = [0_u32; 10];
        for _ in 0..100_000 {
            let delay = backoff.delay(20, Duration::ZERO, &random);
            seconds[usize::try_from(delay.as_secs()).expect("at most 10")] += 1;
        }
        assert!(seconds.iter().all(|&n| (9_500..10_500).contains(&n)), "{seconds:?}");
    }

    #[test]
    fn a_seed_fixes_the_delays() {
        let delays = |seed| {
            let random = Random::seeded(seed);
            let backoff = Backoff::full_jitter(Duration::from_millis(50));
            (0..10).map(move |n| backoff.delay(n, Duration::ZERO, &random)).collect::<Vec<_>>()
        };
        assert_eq!(delays(3), delays(3));
        assert_ne!(delays(3), delays(4));
    }
}
