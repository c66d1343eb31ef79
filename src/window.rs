//! A sliding window over counted calls, in atomics: the calls of the last seconds, or the last so many calls.
//!
//! The window is a ring of ten slices, of time or of calls: the one kind is moved on by the clock, the other by the calls
//! that it counts, and all else is the same. A slice has one slot of the ring, and every ten slices, one *turn*
//! later, the slot belongs to a newer slice. Each counter is one word that carries whose count it is, so nothing has
//! to be cleaned when time goes on, and nothing is lost when it does:
//!
//! ```text
//! 63     56 55                     28 27                      0
//! | epoch  | turn                    | count                  |
//! ```
//!
//! * An add replaces a word of an older turn and adds to a word of its own, in one step: a count lands in its own slice
//!   or, when that has left the window meanwhile, nowhere. Threads have rings in [lanes](crate::lane), or share one.
//! * A read takes the words of the turn it expects and leaves the rest: idle gaps expire without anybody writing.
//! * The *epoch* is given by the owner, who starts a new one to begin afresh. A late add of an earlier epoch is not
//!   seen by later ones.
//!
//! All of it is relaxed: a word says everything about itself, and no other memory is published through it.
//!
//! A slot that nobody touched for exactly 2²⁸ turns, 85 years of a window of 10 s, would be taken for a fresh one.

use std::time::Duration;

use tokio::time::Instant;

use crate::{
    lane::{Lane, Laned},
    sync::{AtomicU64, Ordering},
};

/// How many slices the window is made of.
pub(crate) const SLICES: usize = 10;

const COUNT_BITS: u32 = 28;
const COUNT: u64 = (1 << COUNT_BITS) - 1;
const TURN_BITS: u32 = 28;
const TURN: u64 = (1 << TURN_BITS) - 1;

/// How far back a window looks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Extent {
    /// So long.
    Time(Duration),
    /// So many calls, rounded up to a multiple of ten. It holds between nine tenths and all of them, however old.
    Calls(u32),
}

/// Counts of the calls of the last ten slices.
#[derive(Debug)]
pub(crate) struct Window {
    pace: Pace,
    rings: Rings,
}

/// The rings that are counted in.
#[derive(Debug)]
enum Rings {
    /// One for each lane.
    Laned(Box<Laned<Ring, 2>>),
    /// One for all threads.
    Shared(Box<Ring>),
}

/// What begins a new slice.
#[derive(Debug)]
enum Pace {
    /// So many nanoseconds, at least 1, since the origin.
    Time { origin: Instant, slice: u64 },
    /// So many calls, at least 1, of those that were given a place.
    Calls { placed: Box<Placed>, slice: u64 },
}

/// Apart from all else, because every call writes it.
#[derive(Debug)]
#[repr(align(128))]
struct Placed(AtomicU64);

/// A ring. It begins two cache lines apart from others, because processors fetch them in pairs.
#[derive(Debug)]
#[repr(align(128))]
struct Ring([Slot; SLICES]);

/// A word for each [`Kind`].
#[derive(Debug)]
struct Slot([AtomicU64; Kind::ALL]);

/// What is counted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    /// A call whose outcome is known. It is counted beside `Failure` and `Slow`, which say more about it.
    Call,
    /// It failed.
    Failure,
    /// It took too long.
    Slow,
    /// A call that was dropped before its outcome was known.
    Abandoned,
}

impl Kind {
    const ALL: usize = 4;
}

/// What happened in a stretch of time.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Counts {
    pub(crate) calls: u64,
    pub(crate) failures: u64,
    pub(crate) slow: u64,
    pub(crate) abandoned: u64,
}

/// What the window holds.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Sums {
    /// All of it.
    pub(crate) whole: Counts,
    /// The newest two slices: between a tenth and a fifth of the window.
    pub(crate) newest: Counts,
}

impl Window {
    /// A window for counters that many threads write. Time counts from `origin`.
    pub(crate) fn laned(extent: Extent, origin: Instant) -> Self {
        Self::new(extent, origin, Rings::Laned(Box::default()))
    }

    /// The same in a third of the memory, for when there are many windows and few writers of each.
    pub(crate) fn shared(extent: Extent, origin: Instant) -> Self {
        Self::new(extent, origin, Rings::Shared(Box::default()))
    }

    fn new(extent: Extent, origin: Instant, rings: Rings) -> Self {
        let pace = match extent {
            Extent::Time(span) => Pace::Time { origin, slice: (nanos(span) / SLICES as u64).max(1) },
            Extent::Calls(calls) => Pace::Calls {
                placed: Box::new(Placed(AtomicU64::new(0))),
                slice: u64::from(calls).div_ceil(SLICES as u64).max(1),
            },
        };
        Self { pace, rings }
    }

    /// The number of the newest slice.
    #[inline]
    pub(crate) fn slice_at(&self, now: Instant) -> u64 {
        match &self.pace {
            Pace::Time { origin, slice } => nanos(now.saturating_duration_since(*origin)) / slice,
            Pace::Calls { placed, slice } => placed.0.load(Ordering::Relaxed).saturating_sub(1) / slice,
        }
    }

    /// The number of the slice that a call belongs to which ends now. To be asked for once a call.
    #[inline]
    pub(crate) fn place(&self, now: Instant) -> u64 {
        match &self.pace {
            Pace::Time { .. } => self.slice_at(now),
            Pace::Calls { placed, slice } => placed.0.fetch_add(1, Ordering::Relaxed) / slice,
        }
    }

    /// Counts one of each of `kinds` in a slice, unless the slice has left the window.
    #[inline]
    pub(crate) fn count(&self, epoch: u8, slice: u64, kinds: &[Kind]) {
        let (slot, tag) = (slot_of(slice), tag(epoch, slice / SLICES as u64));
        let (lane, ring) = match &self.rings {
            Rings::Laned(rings) => rings.here(),
            Rings::Shared(ring) => (Lane::SHARED, &**ring),
        };
        for &kind in kinds {
            lane.update(&ring.0[slot].0[kind as usize], |word| next(word, tag));
        }
    }

    /// What the window that ends with `slice` holds of an epoch.
    ///
    /// While others count, the sums are those of some moment during the read, kind by kind.
    pub(crate) fn sums(&self, epoch: u8, slice: u64) -> Sums {
        let turn = slice / SLICES as u64;
        let current = slot_of(slice);
        let previous = slot_of(slice + SLICES as u64 - 1);
        let mut sums = Sums::default();
        for index in 0..SLICES {
            // The slots behind the current one still belong to the turn before.
            let tag = tag(epoch, turn.wrapping_sub(u64::from(index > current)));
            self.each_ring(|ring| {
                let counts = ring.0[index].read(tag);
                sums.whole.add(counts);
                if index == current || index == previous {
                    sums.newest.add(counts);
                }
            });
        }
        sums
    }

    /// Empties every slot, so that an epoch can be used again. What a thread counts at this moment may come back, as what was
    /// counted too late does: of an epoch that nobody reads any more.
    pub(crate) fn clear(&self) {
        // Swaps, because loom does not keep plain stores and compare-and-swaps of one word in order.
        self.each_ring(|ring| {
            ring.0.iter().flat_map(|slot| &slot.0).for_each(|word| _ = word.swap(0, Ordering::Relaxed));
        });
    }

    fn each_ring(&self, look: impl FnMut(&Ring)) {
        match &self.rings {
            Rings::Laned(rings) => rings.iter().for_each(look),
            Rings::Shared(ring) => std::iter::once(&**ring).for_each(look),
        }
    }
}

impl Default for Ring {
    fn default() -> Self {
        Self(std::array::from_fn(|_| Slot(std::array::from_fn(|_| AtomicU64::new(0)))))
    }
}

impl Slot {
    fn read(&self, tag: u64) -> Counts {
        let count = |kind: Kind| {
            let word = self.0[kind as usize].load(Ordering::Relaxed);
            if word >> COUNT_BITS == tag { word & COUNT } else { 0 }
        };
        // The words are read one after the other; a rate over 1 would be a lie.
        let calls = count(Kind::Call);
        Counts {
            calls,
            failures: count(Kind::Failure).min(calls),
            slow: count(Kind::Slow).min(calls),
            abandoned: count(Kind::Abandoned),
        }
    }
}

impl Counts {
    fn add(&mut self, other: Self) {
        self.calls += other.calls;
        self.failures += other.failures;
        self.slow += other.slow;
        self.abandoned += other.abandoned;
    }
}

/// One more than a word under a tag; nothing where it is of a later one. A full count stays full: 268 million calls in a
/// tenth of the window.
#[inline]
fn next(word: u64, tag: u64) -> Option<u64> {
    if word >> COUNT_BITS == tag {
        Some(word + u64::from(word & COUNT != COUNT))
    } else if word & COUNT != 0 && is_newer(word >> COUNT_BITS, tag) {
        None
    } else {
        Some(tag << COUNT_BITS | 1)
    }
}

fn tag(epoch: u8, turn: u64) -> u64 {
    u64::from(epoch) << TURN_BITS | turn & TURN
}

/// Whether a tag is of a later epoch, or of a later turn of the same one. Both wrap, so up to half of the circle ahead
/// is later.
fn is_newer(tag: u64, than: u64) -> bool {
    let epochs = (tag >> TURN_BITS).wrapping_sub(than >> TURN_BITS) & u64::from(u8::MAX);
    let turns = tag.wrapping_sub(than) & TURN;
    if epochs == 0 { turns > 0 && turns <= TURN / 2 } else { epochs <= u64::from(u8::MAX / 2) }
}

#[expect(clippy::cast_possible_truncation, reason = "a remainder below ten")]
fn slot_of(slice: u64) -> usize {
    (slice % SLICES as u64) as usize
}

/// Whole nanoseconds; 584 years and more are all the same.
pub(crate) fn nanos(duration: Duration) -> u64 {
    duration.as_secs().saturating_mul(1_000_000_000).saturating_add(u64::from(duration.subsec_nanos()))
}

#[cfg(test)]
mod tests;
