//! The calls of an experiment: what became of those that it hits, and of those that it compares them with.
//!
//! A call is *enrolled* when it begins, in the group that it is in; the outermost policy of the stack, which tells how the call
//! ended for its caller, counts it there. So what is compared is what callers notice, after retries, breakers and fallbacks, and
//! a call counts also when a breaker keeps it from ever meeting the fault.
//!
//! Between the two stands the call's own [`Course`](crate::policy::Course).

use std::{fmt, sync::Arc, time::Duration};

use crate::{
    event::Outcome,
    latency::{Histogram, Latencies},
    ratio::Ratio,
    sync::{AtomicU64, Ordering},
};

/// What became of the calls of two groups.
#[derive(Default)]
pub(crate) struct Trial {
    hit: Counting,
    control: Counting,
}

/// Which of the two groups.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Group {
    /// Those that a fault hits.
    Hit,
    /// Those that it leaves alone, to compare.
    Control,
}

#[derive(Default)]
struct Counting {
    good: AtomicU64,
    degraded: AtomicU64,
    bad: AtomicU64,
    cancelled: AtomicU64,
    latency: Histogram,
}

/// What became of the calls of a group, as their callers saw it: with all attempts, fallbacks and refusals.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Outcomes {
    /// Calls that ended as asked, or by a fault of their callers.
    pub good: u64,
    /// Calls that a fallback answered.
    pub degraded: u64,
    /// Calls that failed, took too long, were refused or panicked.
    pub bad: u64,
    /// Calls whose callers went away before the answer.
    pub cancelled: u64,
    latency: Latencies,
}

impl Trial {
    /// What has become of the calls of a group so far.
    pub(crate) fn outcomes(&self, group: Group) -> Outcomes {
        let Counting { good, degraded, bad, cancelled, latency } = self.group(group);
        let [good, degraded, bad, cancelled] =
            [good, degraded, bad, cancelled].map(|count| count.load(Ordering::Relaxed));
        Outcomes { good, degraded, bad, cancelled, latency: latency.read() }
    }

    fn group(&self, group: Group) -> &Counting {
        match group {
            Group::Hit => &self.hit,
            Group::Control => &self.control,
        }
    }
}

impl fmt::Debug for Trial {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Trial").finish_non_exhaustive()
    }
}

impl Counting {
    // Relaxed: each number stands for itself, and whoever reads them while calls end sees some of a call's and not others.
    fn count(&self, outcome: Outcome, elapsed: Duration) {
        let count = match outcome {
            Outcome::Success | Outcome::CallerFault => &self.good,
            Outcome::Degraded => &self.degraded,
            Outcome::Cancelled => &self.cancelled,
            _ => &self.bad,
        };
        count.fetch_add(1, Ordering::Relaxed);
        self.latency.record(elapsed);
    }
}

impl Outcomes {
    /// All calls.
    pub fn total(&self) -> u64 {
        self.answered() + self.failed()
    }

    /// Those that got an answer, their own or a fallback's.
    pub fn answered(&self) -> u64 {
        self.good + self.degraded
    }

    /// Those that got none. A caller that goes away counts: to hang up is what callers do when a call takes too long.
    pub fn failed(&self) -> u64 {
        self.bad + self.cancelled
    }

    /// Which latency this share of the calls did not exceed: at most a sixteenth, or a microsecond, above it. `None` of no calls.
    ///
    /// Latencies are those of all calls, whatever became of them.
    pub fn quantile(&self, share: Ratio) -> Option<Duration> {
        self.latency.quantile(share)
    }

    /// How many calls took longer than this; within a sixteenth of it, also calls that took no longer.
    pub fn slower_than(&self, limit: Duration) -> u64 {
        self.latency.above(limit)
    }
}

#[cfg(feature = "chaos")]
impl Outcomes {
    /// What became of the calls that ended after this was read.
    pub(crate) fn since(&self, before: &Self) -> Self {
        Self {
            good: self.good.saturating_sub(before.good),
            degraded: self.degraded.saturating_sub(before.degraded),
            bad: self.bad.saturating_sub(before.bad),
            cancelled: self.cancelled.saturating_sub(before.cancelled),
            latency: self.latency.since(&before.latency),
        }
    }

    /// These calls, and others.
    pub(crate) fn add(&mut self, others: &Self) {
        self.good += others.good;
        self.degraded += others.degraded;
        self.bad += others.bad;
        self.cancelled += others.cancelled;
        self.latency.add(&others.latency);
    }
}

/// In which groups of which experiments a call is. In none costs one word.
#[derive(Debug, Default)]
pub(crate) struct Enrolled(Option<Box<Place>>);

#[derive(Debug)]
struct Place {
    trial: Arc<Trial>,
    group: Group,
    next: Enrolled,
}

impl Enrolled {
    /// Counts the call where it is enrolled, once.
    #[inline]
    pub(crate) fn tell(&mut self, outcome: Outcome, elapsed: Duration) {
        let mut next = self.0.take();
        while let Some(place) = next {
            place.trial.group(place.group).count(outcome, elapsed);
            next = place.next.0;
        }
    }

    /// Of several faults of one experiment, one that hits the call settles in which group it is.
    pub(crate) fn add(&mut self, trial: &Arc<Trial>, group: Group) {
        match &mut self.0 {
            None => {
                let place = Place { trial: Arc::clone(trial), group, next: Self(None) };
                self.0 = Some(Box::new(place));
            }
            Some(place) if Arc::ptr_eq(&place.trial, trial) => {
                if group == Group::Hit {
                    place.group = group;
                }
            }
            Some(place) => place.next.add(trial, group),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: Duration = Duration::from_secs(1);

    #[test]
    fn a_call_counts_once_in_each_experiment_that_enrolled_it() {
        let [a, b] = [(); 2].map(|()| Arc::new(Trial::default()));
        let mut call = Enrolled::default();
        for (trial, group) in
            [(&a, Group::Control), (&b, Group::Control), (&a, Group::Hit), (&a, Group::Control)]
        {
            call.add(trial, group);
        }
        call.tell(Outcome::Fault, SECOND);
        call.tell(Outcome::Fault, SECOND);
        let bad = |trial: &Trial| [Group::Hit, Group::Control].map(|group| trial.outcomes(group).bad);
        assert_eq!((bad(&a), bad(&b)), ([1, 0], [0, 1]));
    }

    #[test]
    fn every_outcome_counts_as_what_its_caller_has_of_it() {
        let trial = Arc::new(Trial::default());
        for outcome in Outcome::ALL {
            let mut call = Enrolled::default();
            call.add(&trial, Group::Hit);
            call.tell(outcome, SECOND);
        }
        let outcomes = trial.outcomes(Group::Hit);
        assert_eq!((outcomes.good, outcomes.degraded, outcomes.bad, outcomes.cancelled), (2, 1, 6, 1));
        assert_eq!((outcomes.total(), outcomes.answered(), outcomes.failed()), (10, 3, 7));
        assert_eq!((outcomes.slower_than(2 * SECOND), outcomes.slower_than(SECOND / 2)), (0, 10));
        assert_eq!(Outcomes::default().quantile(Ratio::ONE), None);
    }
}
