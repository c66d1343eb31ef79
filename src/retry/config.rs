use std::{fmt, sync::Arc, time::Duration};

use tokio::time::Instant;

use super::Backoff;
use crate::{
    budget::RetryBudget, call::later, class::Class, classify::never_processed, error::BoxError,
    event::GaveUp, latency::Quantile, random::Random,
};

/// How long an attempt must at least have, until it is known how long one takes.
const USEFUL: Duration = Duration::from_millis(1);

/// How much later than the backoff would be a dependency's hint can make the next attempt.
const MOST_BY_HINT: Duration = Duration::from_secs(5);

/// The knobs of a retry; each is documented at its setter on [`RetryLayer`](super::RetryLayer).
#[derive(Clone, Debug)]
pub(crate) struct RetryConfig {
    pub(crate) attempts: u32,
    pub(crate) backoff: Backoff,
    pub(crate) throttled_backoff: Backoff,
    /// `None`: what half of the successful attempts take.
    pub(crate) min_useful_attempt: Option<Duration>,
    pub(crate) trust_hints: bool,
    pub(crate) never_processed: NeverProcessed,
    /// `None`: each policy has one of its own.
    pub(crate) budget: Option<RetryBudget>,
    /// `None`: from entropy.
    pub(crate) seed: Option<u64>,
}

impl Default for RetryConfig {
    fn default() -> Self {
        Self {
            attempts: 3,
            backoff: Backoff::full_jitter(Duration::from_millis(50)),
            throttled_backoff: Backoff::full_jitter(Duration::from_secs(1)),
            min_useful_attempt: None,
            trust_hints: false,
            never_processed: NeverProcessed::default(),
            budget: None,
            seed: None,
        }
    }
}

/// An attempt that did not succeed, and what surrounds it.
#[derive(Clone, Copy, Debug)]
pub(super) struct Failed {
    pub(super) class: Class,
    /// How many attempts there were, this one included.
    pub(super) made: u32,
    /// Whether the request may be sent again.
    pub(super) repeatable: bool,
    /// The delay before this attempt, zero before the first.
    pub(super) previous: Duration,
    pub(super) now: Instant,
    pub(super) deadline: Option<Instant>,
}

/// Which errors say that the service has not even begun.
#[derive(Clone)]
pub(crate) struct NeverProcessed(Arc<Judge>);

type Judge = dyn Fn(&BoxError) -> bool + Send + Sync;

impl NeverProcessed {
    pub(super) fn by(judge: impl Fn(&BoxError) -> bool + Send + Sync + 'static) -> Self {
        Self(Arc::new(judge))
    }

    pub(super) fn says(&self, error: &BoxError) -> bool {
        (self.0)(error)
    }
}

impl Default for NeverProcessed {
    fn default() -> Self {
        Self::by(never_processed)
    }
}

impl fmt::Debug for NeverProcessed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("NeverProcessed").finish_non_exhaustive()
    }
}

impl RetryConfig {
    /// The questions after a failed attempt, in their order: the delay before the next one, or the first "no".
    ///
    /// The budget is asked last, so that whatever else says no charges nothing.
    pub(super) fn next(
        &self,
        failed: &Failed,
        budget: &RetryBudget,
        random: &Random,
        latency: &Quantile,
    ) -> Result<Duration, GaveUp> {
        if !failed.class.is_retryable() || failed.class.retry_after() == Some(Class::NEVER) {
            return Err(GaveUp::Class);
        }
        if !failed.repeatable {
            return Err(GaveUp::NotRepeatable);
        }
        if failed.made >= self.attempts {
            return Err(GaveUp::Exhausted);
        }
        let delay = self.delay(failed, random);
        let attempt = self.min_useful_attempt.or_else(|| latency.estimate()).unwrap_or(USEFUL);
        let useful = later(failed.now, delay.saturating_add(attempt));
        if failed.deadline.is_some_and(|deadline| useful > deadline) {
            return Err(GaveUp::Deadline);
        }
        if !budget.withdraw(failed.now) {
            return Err(GaveUp::Budget);
        }
        Ok(delay)
    }

    /// The backoff, moved later by what the dependency asked for.
    fn delay(&self, failed: &Failed, random: &Random) -> Duration {
        let backoff = match failed.class {
            Class::Throttled { .. } => &self.throttled_backoff,
            _ => &self.backoff,
        };
        let computed = backoff.delay(failed.made - 1, failed.previous, random);
        match failed.class.retry_after() {
            None => computed,
            Some(hint) if self.trust_hints => computed.max(hint),
            Some(hint) => hint.clamp(computed, computed.saturating_add(MOST_BY_HINT)),
        }
    }
}
