use std::time::Duration;

use crate::{
    ratio::Ratio,
    window::{Counts, Extent, Sums},
};

/// What a circuit breaker trips on and how it comes back; the layer's setters write it.
#[derive(Clone, Debug)]
pub(crate) struct CircuitBreakerConfig {
    /// How long a call counts, or how many there are after it.
    pub(crate) window: Extent,
    /// Below this number of calls in the window no rate is looked at. At least 1.
    pub(crate) minimum_calls: u32,
    /// Over 0.
    pub(crate) failure_rate: Ratio,
    pub(crate) outage: Outage,
    /// Failures in a row, at least 1; `None` looks at rates alone.
    pub(crate) consecutive_failures: Option<u16>,
    pub(crate) slow: Option<Slow>,
    /// The first open time and the longest; the first is not over the longest.
    pub(crate) open_time: (Duration, Duration),
    /// At least 1.
    pub(crate) probes: u32,
    /// `None` for as long as the call of the probe has.
    pub(crate) probe_timeout: Option<Duration>,
    /// How long a breaker whose probes succeeded lets only a share through; zero lets all through at once.
    pub(crate) ramp: Duration,
    pub(crate) abandoned: AbandonedPolicy,
}

/// The rule for a sudden total outage, which looks at the newest two slices alone.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Outage {
    pub(crate) rate: Ratio,
    pub(crate) minimum_calls: u32,
}

/// The rule for a dependency that answers, too late.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Slow {
    pub(crate) duration: Duration,
    pub(crate) rate: Ratio,
}

impl Default for CircuitBreakerConfig {
    fn default() -> Self {
        Self {
            window: Extent::Time(Duration::from_secs(10)),
            minimum_calls: 20,
            failure_rate: Ratio::percent(50),
            outage: Outage { rate: Ratio::percent(90), minimum_calls: 20 },
            consecutive_failures: Some(5),
            slow: None,
            open_time: (Duration::from_secs(1), Duration::from_secs(10)),
            probes: 3,
            probe_timeout: None,
            ramp: Duration::from_secs(5),
            abandoned: AbandonedPolicy::default(),
        }
    }
}

/// What a call counts as that was dropped before its outcome was known.
///
/// It cannot tell why it was dropped: the user closed the page, or a limit outside the circuit breaker passed because
/// the dependency hangs. A limit *inside* it is an ordinary failure and needs no policy.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum AbandonedPolicy {
    /// As nothing, unless every call of the window was abandoned: then as failures. Impatient callers do not open the
    /// breaker of a dependency that answers others, and a limit outside cannot hide an outage.
    #[default]
    IfAll,
    /// As nothing.
    Ignore,
    /// As a failure.
    AsFailure,
}

/// Calls in a row that ended alike.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Streak {
    /// Failures since the last success.
    pub(super) failures: u16,
    /// Calls abandoned since the last outcome of any kind.
    pub(super) abandoned: u16,
}

impl CircuitBreakerConfig {
    /// Whether a closed breaker has seen enough.
    pub(super) fn trips(&self, sums: &Sums, streak: Streak) -> bool {
        let Sums { whole, newest } = *sums;
        if whole.calls > 0 || self.abandoned != AbandonedPolicy::IfAll {
            return self.trips_on(whole, newest, streak.failures);
        }
        let failed =
            |counts: Counts| Counts { calls: counts.abandoned, failures: counts.abandoned, ..counts };
        self.trips_on(failed(whole), failed(newest), streak.failures.saturating_add(streak.abandoned))
    }

    fn trips_on(&self, whole: Counts, newest: Counts, failures_in_a_row: u16) -> bool {
        let outage = newest.calls >= u64::from(self.outage.minimum_calls)
            && reaches(newest.failures, newest.calls, self.outage.rate);
        if whole.calls < self.fewest_calls() {
            return outage || self.consecutive_failures.is_some_and(|most| failures_in_a_row >= most);
        }
        outage
            || reaches(whole.failures, whole.calls, self.failure_rate)
            || self.slow.is_some_and(|slow| reaches(whole.slow, whole.calls, slow.rate))
    }

    /// The minimum of calls, or as many as a window of calls holds at any time.
    fn fewest_calls(&self) -> u64 {
        let most = match self.window {
            Extent::Time(_) => u32::MAX,
            Extent::Calls(calls) => calls - calls / 10 + 1,
        };
        self.minimum_calls.min(most).into()
    }

    /// How many failed probes settle that the dependency has not recovered: as many as make the failure rate of all
    /// probes reach its limit.
    pub(super) fn probes_to_open(&self) -> u32 {
        // The more have failed, the more of all that is, so halving the numbers that are left finds the first.
        let (mut fewest, mut most) = (1, self.probes);
        while fewest < most {
            let failed = fewest + (most - fewest) / 2;
            if reaches(failed.into(), self.probes.into(), self.failure_rate) {
                most = failed;
            } else {
                fewest = failed + 1;
            }
        }
        most
    }

    /// How many successful probes settle that it has: as many as leave too few to reach the limit.
    pub(super) fn probes_to_close(&self) -> u32 {
        self.probes - self.probes_to_open() + 1
    }

    /// How long a probe may take whose call has so much time left, before nobody waits for it.
    ///
    /// By default no call is overtaken that is in time: a dependency that takes long whenever it is well would be found hanging at
    /// each probe, and never come back. A limit without an end says nothing about that.
    pub(super) fn patience(&self, left: Option<Duration>) -> Duration {
        const LEAST: Duration = Duration::from_secs(5);
        const MOST: Duration = Duration::from_secs(600);

        self.probe_timeout.unwrap_or_else(|| left.unwrap_or_default().clamp(LEAST, MOST))
    }

    /// The open time before jitter when the breaker opens once more after having opened `times` without closing.
    pub(super) fn open_time_after(&self, times: u32) -> Duration {
        let (first, longest) = self.open_time;
        first.saturating_mul(1_u32.checked_shl(times).unwrap_or(u32::MAX)).min(longest)
    }
}

/// Whether a share is at least `limit`; the division gives 0.07 for 7 of 100, exactly as the literal does.
#[expect(clippy::cast_precision_loss, reason = "there are no 2^53 calls in a window")]
fn reaches(part: u64, whole: u64, limit: Ratio) -> bool {
    whole > 0 && part as f64 / whole as f64 >= limit.value()
}
