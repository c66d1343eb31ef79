//! How many calls may be made in which time.

use std::{fmt, time::Duration};

/// So many calls in a period, and how many of them may come at once.
///
/// It is refilled evenly, not at the end of the period: 10 calls a second are one more call every 100 ms, and never more
/// than the burst of them saved up.
///
/// ```
/// use std::time::Duration;
/// use moneta_resilience::Quota;
///
/// let quota = Quota::per_second(100).burst(20);
/// assert_eq!(quota.interval(), Duration::from_millis(10));
/// assert_eq!(quota, Quota::new(100, Duration::from_secs(1), 20)?);
/// assert!(Quota::new(0, Duration::from_secs(1), 1).is_err());
/// # Ok::<(), moneta_resilience::InvalidQuota>(())
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Quota {
    calls: u32,
    period: Duration,
    burst: u32,
}

impl Quota {
    /// The longest time in which a used-up quota may refill: a year.
    const LONGEST: Duration = Duration::from_secs(86_400 * 366);

    /// A quota from numbers that are known at run time only.
    ///
    /// # Errors
    ///
    /// [`InvalidQuota`] when `calls` or `burst` is zero, when there are more calls than nanoseconds in the period, or when
    /// a burst would take more than a year to come back.
    pub fn new(calls: u32, period: Duration, burst: u32) -> Result<Self, InvalidQuota> {
        let quota = Self { calls, period, burst };
        if calls == 0 || burst == 0 {
            return Err(InvalidQuota::Nothing);
        }
        if quota.interval().is_zero() {
            return Err(InvalidQuota::TooFast);
        }
        if quota.refill() > Self::LONGEST {
            return Err(InvalidQuota::TooSlow);
        }
        Ok(quota)
    }

    /// So many calls a second, all of which may come at once.
    ///
    /// # Panics
    ///
    /// When `calls` is zero, or above a billion.
    #[track_caller]
    pub fn per_second(calls: u32) -> Self {
        Self::per(calls, Duration::from_secs(1))
    }

    /// So many calls in each `period`, all of which may come at once.
    ///
    /// # Panics
    ///
    /// When it is no quota; see [`new`](Self::new).
    #[track_caller]
    pub fn per(calls: u32, period: Duration) -> Self {
        valid(Self::new(calls, period, calls))
    }

    /// How many calls may come at once, after a time without any; by default as many as in the period.
    ///
    /// # Panics
    ///
    /// When `burst` is zero, or takes more than a year to come back.
    #[must_use]
    #[track_caller]
    pub fn burst(self, burst: u32) -> Self {
        valid(Self::new(self.calls, self.period, burst))
    }

    /// How many calls may be made in a [`period`](Self::period).
    pub fn calls(self) -> u32 {
        self.calls
    }

    /// The time that the calls are counted in.
    pub fn period(self) -> Duration {
        self.period
    }

    /// How many calls may come at once.
    pub fn at_once(self) -> u32 {
        self.burst
    }

    /// From one call to the next at an even pace; whole nanoseconds, rounded down.
    pub fn interval(self) -> Duration {
        self.period / self.calls.max(1)
    }

    /// How long a burst that is used up takes to come back.
    pub(crate) fn refill(self) -> Duration {
        self.interval().saturating_mul(self.burst)
    }
}

#[track_caller]
fn valid(quota: Result<Quota, InvalidQuota>) -> Quota {
    match quota {
        Ok(quota) => quota,
        Err(invalid) => panic!("{invalid}"),
    }
}

impl fmt::Display for Quota {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} calls in {:?}, {} at once", self.calls, self.period, self.burst)
    }
}

/// The error of [`Quota::new`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum InvalidQuota {
    /// It has no calls, or no burst.
    #[error("a quota of zero would refuse every call; give it at least one")]
    Nothing,
    /// More calls than nanoseconds in the period.
    #[error("a quota has at most one call each nanosecond")]
    TooFast,
    /// A burst would take more than a year to come back.
    #[error("a quota that takes more than a year to come back is no limit of a rate")]
    TooSlow,
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: Duration = Duration::from_secs(1);

    #[test]
    fn numbers_that_are_no_quota_are_refused() {
        assert_eq!(Quota::new(0, SECOND, 1), Err(InvalidQuota::Nothing));
        assert_eq!(Quota::new(1, SECOND, 0), Err(InvalidQuota::Nothing));
        assert_eq!(Quota::new(1, Duration::ZERO, 1), Err(InvalidQuota::TooFast));
        assert_eq!(Quota::new(1_000_000_001, SECOND, 1), Err(InvalidQuota::TooFast));
        assert_eq!(Quota::new(1, Duration::MAX, 1), Err(InvalidQuota::TooSlow));
        assert_eq!(Quota::new(1, SECOND, u32::MAX), Err(InvalidQuota::TooSlow));
        assert_eq!(Quota::per_second(1_000_000_000).interval(), Duration::from_nanos(1));
    }

    #[test]
    #[should_panic(expected = "a quota of zero would refuse every call")]
    fn a_literal_of_zero_is_one_clear_error() {
        let _ = Quota::per_second(0);
    }
}
