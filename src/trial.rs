//! The calls of an experiment: what became of those that it hits, and of those that it compares them with.
//!
//! A call is *enrolled* when it begins, in the group that it is in; the outermost policy of the stack, which tells how the call
//! ended for its caller, counts it there. So what is compared is what callers notice, after retries, breakers and fallbacks, and
//! a call counts also when a breaker keeps it from ever meeting the fault.
//!
//! Between the two stands a slot of the thread: a call begins in one piece of synchronous work, in which somebody further in
//! puts it down and the outermost policy picks it up. Of that there is nobody further in whose outermost policy does not.

use std::{cell::Cell, fmt, sync::Arc, time::Duration};

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

thread_local! {
    /// Whether there is somebody in the slot: all that a call pays for which no experiment is meant for.
    static ANYBODY: Cell<bool> = const { Cell::new(false) };
    static SLOT: Cell<Enrolled> = const { Cell::new(Enrolled(None)) };
}

/// Enrols the call that begins on this thread.
pub(crate) fn enrol(trial: &Arc<Trial>, group: Group) {
    // A thread that is being torn down has no slot any more: what begins there is not counted.
    let _ = SLOT.try_with(|slot| {
        let mut enrolled = slot.take();
        enrolled.add(trial, group);
        slot.set(enrolled);
        ANYBODY.set(true);
    });
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
    /// Picks up what was put down while the call began.
    #[inline]
    pub(crate) fn collect() -> Self {
        if ANYBODY.get() { Self::pick_up() } else { Self(None) }
    }

    #[cold]
    fn pick_up() -> Self {
        ANYBODY.set(false);
        SLOT.try_with(Cell::take).unwrap_or_default()
    }

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
    fn add(&mut self, trial: &Arc<Trial>, group: Group) {
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
        enrol(&a, Group::Control);
        enrol(&b, Group::Control);
        enrol(&a, Group::Hit);
        enrol(&a, Group::Control);
        let mut call = Enrolled::collect();
        assert!(Enrolled::collect().0.is_none(), "it is picked up once");
        call.tell(Outcome::Fault, SECOND);
        call.tell(Outcome::Fault, SECOND);
        let bad = |trial: &Trial| [Group::Hit, Group::Control].map(|group| trial.outcomes(group).bad);
        assert_eq!((bad(&a), bad(&b)), ([1, 0], [0, 1]));
    }

    #[test]
    fn a_call_may_begin_in_a_thread_that_is_torn_down() {
        struct Late(Arc<Trial>);
        impl Drop for Late {
            fn drop(&mut self) {
                enrol(&self.0, Group::Hit);
                Enrolled::collect().tell(Outcome::Fault, SECOND);
            }
        }
        thread_local!(static LATE: Cell<Option<Late>> = const { Cell::new(None) });

        let trial = Arc::new(Trial::default());
        // Whichever of the two is dropped first.
        for late_first in [true, false] {
            let trial = Arc::clone(&trial);
            let torn_down = std::thread::spawn(move || {
                let enrols = || drop((enrol(&trial, Group::Control), Enrolled::collect()));
                if late_first {
                    LATE.set(Some(Late(Arc::clone(&trial))));
                    enrols();
                } else {
                    enrols();
                    LATE.set(Some(Late(Arc::clone(&trial))));
                }
            });
            torn_down.join().expect("it does not panic");
        }
        assert_eq!(trial.outcomes(Group::Hit).bad, 1, "once there was no slot any more");
    }

    #[test]
    fn every_outcome_counts_as_what_its_caller_has_of_it() {
        let trial = Arc::new(Trial::default());
        for outcome in Outcome::ALL {
            enrol(&trial, Group::Hit);
            Enrolled::collect().tell(outcome, SECOND);
        }
        let outcomes = trial.outcomes(Group::Hit);
        assert_eq!((outcomes.good, outcomes.degraded, outcomes.bad, outcomes.cancelled), (2, 1, 6, 1));
        assert_eq!((outcomes.total(), outcomes.answered(), outcomes.failed()), (10, 3, 7));
        assert_eq!((outcomes.slower_than(2 * SECOND), outcomes.slower_than(SECOND / 2)), (0, 10));
        assert_eq!(Outcomes::default().quantile(Ratio::ONE), None);
    }
}
