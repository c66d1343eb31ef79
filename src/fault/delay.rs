use std::time::Duration;

use crate::random::Random;

/// How long a call is made to wait: a length, or a law by which each call draws its own.
///
/// ```
/// use std::time::Duration;
/// use moneta_resilience::fault::Delay;
///
/// let jittery = Delay::uniform(Duration::from_millis(50), Duration::from_millis(150));
/// let long_tailed = Delay::log_normal(Duration::from_millis(40), Duration::from_secs(2));
/// # assert_ne!(jittery, long_tailed);
/// ```
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Delay(pub(super) Law);

#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) enum Law {
    Fixed(Duration),
    Uniform { low: Duration, high: Duration },
    LogNormal { median: Duration, p99: Duration },
}

impl Delay {
    /// Always the same.
    pub const fn fixed(delay: Duration) -> Self {
        Self(Law::Fixed(delay))
    }

    /// Any length from `low` to `high`, all as likely.
    ///
    /// # Panics
    ///
    /// When `low` is longer than `high`.
    #[track_caller]
    pub const fn uniform(low: Duration, high: Duration) -> Self {
        assert!(low.as_nanos() <= high.as_nanos(), "the low end of a delay is not above its high end");
        Self(Law::Uniform { low, high })
    }

    /// As real latencies are: half of the calls wait longer than `median`, one in a hundred longer than `p99`, and a few
    /// much longer. The longest that can be drawn is some `median · (p99 / median)^3.7`.
    ///
    /// # Panics
    ///
    /// When `median` is zero or longer than `p99`.
    #[track_caller]
    pub const fn log_normal(median: Duration, p99: Duration) -> Self {
        assert!(!median.is_zero(), "the median of a log-normal delay is above zero");
        assert!(
            median.as_nanos() <= p99.as_nanos(),
            "the median of a delay is not above its 99th percentile"
        );
        Self(Law::LogNormal { median, p99 })
    }

    pub(super) fn draw(self, random: &Random) -> Duration {
        /// The 99th percentile of the standard normal distribution.
        const Z99: f64 = 2.326_347_874_040_841;
        match self.0 {
            Law::Fixed(delay) => delay,
            Law::Uniform { low, high } => random.duration(low, high),
            Law::LogNormal { median, p99 } => {
                let sigma = (p99.as_secs_f64() / median.as_secs_f64()).ln() / Z99;
                let drawn = median.as_secs_f64() * (sigma * normal(random)).exp();
                Duration::try_from_secs_f64(drawn).unwrap_or(Duration::MAX)
            }
        }
    }
}

impl From<Duration> for Delay {
    fn from(delay: Duration) -> Self {
        Self::fixed(delay)
    }
}

/// A number of the standard normal distribution (Box, Muller: "A Note on the Generation of Random Normal Deviates", 1958).
fn normal(random: &Random) -> f64 {
    // 1 - [0, 1) is never zero, whose logarithm there is none of.
    let radius = (-2.0 * (1.0 - random.unit()).ln()).sqrt();
    radius * (std::f64::consts::TAU * random.unit()).cos()
}

#[cfg(test)]
mod tests {
    use super::*;

    const MS: Duration = Duration::from_millis(1);

    fn drawn(delay: Delay) -> Vec<Duration> {
        let random = Random::seeded(7);
        let mut drawn: Vec<_> = (0..100_000).map(|_| delay.draw(&random)).collect();
        drawn.sort();
        drawn
    }

    #[test]
    fn a_fixed_delay_is_always_the_same() {
        assert!(drawn(MS.into()).iter().all(|&delay| delay == MS));
    }

    #[test]
    fn a_uniform_delay_fills_its_range_evenly() {
        let drawn = drawn(Delay::uniform(100 * MS, 200 * MS));
        for tenth in 0..=10_u32 {
            let at = drawn[(tenth as usize * 10_000).min(drawn.len() - 1)];
            let expected = (100 + 10 * tenth) * MS;
            assert!(at.abs_diff(expected) < MS, "{at:?} instead of {expected:?}");
        }
    }

    #[test]
    fn a_log_normal_delay_has_the_median_and_the_tail_it_was_asked_for() {
        let drawn = drawn(Delay::log_normal(40 * MS, 2_000 * MS));
        let (median, p99) = (drawn[50_000].as_secs_f64(), drawn[99_000].as_secs_f64());
        assert!((median / 0.040 - 1.0).abs() < 0.03, "{median}");
        assert!((p99 / 2.0 - 1.0).abs() < 0.05, "{p99}");
    }

    #[test]
    fn no_delay_is_too_long_to_be_told() {
        let random = Random::seeded(7);
        let wild = Delay::log_normal(Duration::from_nanos(1), Duration::MAX);
        assert!((0..10_000).map(|_| wild.draw(&random)).any(|delay| delay == Duration::MAX));
    }
}
