//! Good and bad, counted: what became of the events of an objective.
//!
//! As in [`cells`](crate::cells): a thread adds in its lane, and a reader sums.

use crate::{
    lane::Laned,
    sync::{AtomicU64, Ordering},
};

/// How many were good, and how many were bad. It never goes back.
#[derive(Debug, Default)]
pub(crate) struct Tally {
    parts: Laned<Part, 2>,
}

#[derive(Debug, Default)]
#[repr(align(128))]
struct Part {
    good: AtomicU64,
    bad: AtomicU64,
}

/// Good ones and bad ones.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Count {
    pub(crate) good: u64,
    pub(crate) bad: u64,
}

/// What was counted for an objective.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Tallies {
    /// What counts.
    pub(crate) events: Count,
    /// Calls that a fault hook did something to, where they are counted apart.
    pub(crate) injected: Option<Count>,
}

/// Whoever counts for an objective.
pub(crate) trait Tallied: Send + Sync {
    /// All that it counted. It never goes back.
    fn tallied(&self) -> Tallies;
}

impl Tally {
    /// Counts one.
    #[inline]
    pub(crate) fn add(&self, good: bool) {
        let (lane, part) = self.parts.here();
        lane.count(if good { &part.good } else { &part.bad });
    }

    /// All that was counted.
    pub(crate) fn count(&self) -> Count {
        let mut count = Count::default();
        for part in self.parts.iter() {
            count += Count { good: part.good.load(Ordering::Relaxed), bad: part.bad.load(Ordering::Relaxed) };
        }
        count
    }
}

impl Count {
    pub(crate) fn total(self) -> u64 {
        self.good + self.bad
    }
}

impl std::ops::AddAssign for Tallies {
    fn add_assign(&mut self, other: Self) {
        self.events += other.events;
        if let Some(injected) = other.injected {
            *self.injected.get_or_insert_default() += injected;
        }
    }
}

impl std::ops::AddAssign for Count {
    fn add_assign(&mut self, other: Self) {
        self.good += other.good;
        self.bad += other.bad;
    }
}

impl std::ops::SubAssign for Count {
    fn sub_assign(&mut self, other: Self) {
        self.good -= other.good;
        self.bad -= other.bad;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_outcome_is_lost_between_threads() {
        let tally = Tally::default();
        std::thread::scope(|scope| {
            for thread in 0..8 {
                let tally = &tally;
                scope.spawn(move || (0..10_000).for_each(|_| tally.add(thread % 4 != 0)));
            }
        });
        assert_eq!(tally.count(), Count { good: 60_000, bad: 20_000 });
    }
}
