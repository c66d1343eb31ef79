//! Lanes: which part of a counter a thread writes.
//!
//! An atomic add costs several times what a plain one does, also when no other thread is near. So threads have a lane
//! *to themselves* as long as there are any: what only one thread writes needs no atomic add, a load and a store do. The
//! threads that come too late for one share the last few lanes, and add.
//!
//! A thread that ends gives its lane to the next one, with all that was counted in it: totals never go back. Readers sum
//! over the lanes; once the writers are done, the sum is exact.

use std::{
    array,
    cell::Cell,
    sync::{
        OnceLock,
        atomic::{AtomicU32, AtomicUsize},
    },
};

use crate::sync::{AtomicU64, Ordering};

/// How many lanes there are.
const LANES: usize = 32;
/// How many of them belong to one thread at a time. Under loom, whose threads are one to the system, none does.
const OWN: usize = if cfg!(moneta_loom) { 0 } else { LANES - 4 };

/// The lane of a thread.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Lane(usize);

/// What each lane has its own of. The first `NEAR` of them lie here, where most processes find all that they need; the
/// others are made when something is written there.
#[derive(Debug)]
pub(crate) struct Laned<T, const NEAR: usize> {
    near: [T; NEAR],
    far: [OnceLock<Box<T>>; LANES],
}

impl<T: Default, const NEAR: usize> Laned<T, NEAR> {
    /// The lane of this thread, and what it has.
    #[inline]
    pub(crate) fn here(&self) -> (Lane, &T) {
        let lane = Lane::here();
        let index = lane.index();
        (lane, self.near.get(index).unwrap_or_else(|| self.far[index].get_or_init(Box::default)))
    }

    /// What the lanes have.
    pub(crate) fn iter(&self) -> impl Iterator<Item = &T> {
        self.near.iter().chain(self.far.iter().filter_map(OnceLock::get).map(|far| &**far))
    }
}

impl<T: Default, const NEAR: usize> Default for Laned<T, NEAR> {
    fn default() -> Self {
        Self { near: array::from_fn(|_| T::default()), far: array::from_fn(|_| OnceLock::new()) }
    }
}

thread_local! {
    /// One more than the lane of this thread, and 0 before it has one. It has nothing to drop, so it is had for little,
    /// and there to the thread's very end.
    static LANE: Cell<usize> = const { Cell::new(0) };
    /// Gives the lane back when the thread ends.
    static LEASE: Lease = Lease::new();
}

/// Which lanes belong to a thread, a bit each.
static TAKEN: AtomicU32 = AtomicU32::new(0);

struct Lease(Lane);

impl Lane {
    /// The last of those that threads share: who writes something by it that belongs to no lane adds, like everybody else.
    pub(crate) const SHARED: Self = Self(LANES - 1);

    /// The lane of this thread.
    #[inline]
    pub(crate) fn here() -> Self {
        match LANE.get() {
            0 => Self::take(),
            lane => Self(lane - 1),
        }
    }

    /// Which it is, below [`LANES`].
    #[inline]
    fn index(self) -> usize {
        self.0 % LANES
    }

    /// Adds 1 to a counter that lies in this lane, and that nobody writes but through it.
    #[inline]
    pub(crate) fn count(self, counter: &AtomicU64) {
        self.add(counter, 1);
    }

    /// Adds a number to such a counter, which wraps round.
    #[inline]
    pub(crate) fn add(self, counter: &AtomicU64, number: u64) {
        // Relaxed: nothing but the number itself is read.
        if self.is_own() {
            counter.store(counter.load(Ordering::Relaxed).wrapping_add(number), Ordering::Relaxed);
        } else {
            counter.fetch_add(number, Ordering::Relaxed);
        }
    }

    /// Puts what `next` makes of the word into its place, unless that is nothing.
    #[inline]
    pub(crate) fn update(self, word: &AtomicU64, next: impl Fn(u64) -> Option<u64>) {
        // Relaxed, as above.
        if self.is_own() {
            if let Some(next) = next(word.load(Ordering::Relaxed)) {
                word.store(next, Ordering::Relaxed);
            }
        } else {
            // An error says that there was nothing to put there.
            let _ = word.fetch_update(Ordering::Relaxed, Ordering::Relaxed, next);
        }
    }

    /// Whether it belongs to this thread alone.
    #[inline]
    pub(crate) fn is_own(self) -> bool {
        self.0 < OWN
    }

    #[cold]
    fn take() -> Self {
        // A thread that is being torn down may be past giving anything back.
        let lane = LEASE.try_with(|lease| lease.0).unwrap_or_else(|_| Self::shared());
        LANE.set(lane.0 + 1);
        lane
    }

    /// One that threads share, in turns.
    fn shared() -> Self {
        static NEXT: AtomicUsize = AtomicUsize::new(0);
        Self(OWN + NEXT.fetch_add(1, Ordering::Relaxed) % (LANES - OWN))
    }
}

impl Lease {
    fn new() -> Self {
        // Acquire, for the `Release` of whoever had the lane before: this thread's loads see all that was stored there.
        let taken = TAKEN.fetch_update(Ordering::Acquire, Ordering::Relaxed, |taken| {
            let free = taken.trailing_ones();
            ((free as usize) < OWN).then(|| taken | 1 << free)
        });
        Self(taken.map_or_else(|_| Lane::shared(), |before| Lane(before.trailing_ones() as usize)))
    }
}

impl Drop for Lease {
    fn drop(&mut self) {
        if self.0.is_own() {
            // What this thread still counts, while other things of it are dropped, it counts beside the others.
            LANE.set(Lane::shared().0 + 1);
            TAKEN.fetch_and(!(1 << self.0.0), Ordering::Release);
        }
    }
}

#[cfg(test)]
mod tests {
    use std::{
        collections::BTreeSet,
        sync::{Barrier, LazyLock},
        thread,
    };

    use super::*;

    #[test]
    fn no_two_threads_own_a_lane_at_the_same_time() {
        for threads in [2, OWN, 2 * LANES] {
            let all_have_one = Barrier::new(threads);
            let lanes: Vec<Lane> = thread::scope(|scope| {
                let run = || {
                    let lane = Lane::here();
                    all_have_one.wait();
                    assert_eq!(Lane::here(), lane, "a thread stays in its lane");
                    lane
                };
                let threads: Vec<_> = (0..threads).map(|_| scope.spawn(run)).collect();
                threads.into_iter().map(|thread| thread.join().expect("no panic")).collect()
            });
            let own: Vec<usize> = lanes.iter().filter(|lane| lane.is_own()).map(|lane| lane.0).collect();
            assert_eq!(own.len(), own.iter().collect::<BTreeSet<_>>().len());
            assert!(lanes.iter().all(|lane| lane.0 < LANES));
        }
    }

    #[test]
    fn lanes_go_from_thread_to_thread_and_nothing_is_lost_on_the_way() {
        let counters: [AtomicU64; LANES] = std::array::from_fn(|_| AtomicU64::new(0));
        for _ in 0..100 {
            thread::scope(|scope| {
                for _ in 0..8 {
                    scope.spawn(|| {
                        for _ in 0..100 {
                            let lane = Lane::here();
                            lane.count(&counters[lane.index()]);
                        }
                    });
                }
            });
        }
        assert_eq!(counters.iter().map(|counter| counter.load(Ordering::Relaxed)).sum::<u64>(), 80_000);
    }

    #[test]
    fn what_a_thread_counts_while_it_is_torn_down_is_not_lost() {
        static COUNTERS: LazyLock<[AtomicU64; LANES]> =
            LazyLock::new(|| std::array::from_fn(|_| AtomicU64::new(0)));
        struct CountsLate;
        impl Drop for CountsLate {
            fn drop(&mut self) {
                let lane = Lane::here();
                lane.count(&COUNTERS[lane.index()]);
            }
        }
        thread_local!(static LATE: CountsLate = const { CountsLate });

        // Whichever of the two is dropped first.
        for late_first in [true, false] {
            let run = move || {
                if late_first {
                    LATE.with(|_| Lane::here());
                } else {
                    Lane::here();
                    LATE.with(|_| ());
                }
            };
            (0..100).for_each(|_| thread::spawn(run).join().expect("no panic"));
        }
        assert_eq!(COUNTERS.iter().map(|counter| counter.load(Ordering::Relaxed)).sum::<u64>(), 200);
    }
}
