//! Failures in a row, in one atomic word: they open the breaker of a dependency that is called too rarely for rates.

use super::{config::Streak, mark::Mark};
use crate::sync::{AtomicU64, Ordering};

/// The streak of the current generation.
///
/// The word is `generation << 32 | failures << 16 | abandoned`, so that a late call of an earlier generation neither
/// adds to a streak nor ends it. Relaxed: the word is all that is told.
#[derive(Debug)]
pub(super) struct Streaks(AtomicU64);

impl Default for Streaks {
    fn default() -> Self {
        Self(AtomicU64::new(0))
    }
}

impl Streaks {
    /// Notes a call of a generation. A success after a success, which is nearly all, only reads.
    #[inline]
    pub(super) fn note(&self, generation: u64, mark: Mark) {
        let mut seen = self.0.load(Ordering::Relaxed);
        if seen == pack(generation, Streak::default()) && matches!(mark, Mark::Success | Mark::Slow) {
            return;
        }
        while !is_newer(seen, generation) {
            let next = pack(generation, follow(unpack(seen, generation), mark));
            if next == seen {
                return;
            }
            match self.0.compare_exchange_weak(seen, next, Ordering::Relaxed, Ordering::Relaxed) {
                Ok(_) => return,
                Err(other) => seen = other,
            }
        }
    }

    pub(super) fn of(&self, generation: u64) -> Streak {
        unpack(self.0.load(Ordering::Relaxed), generation)
    }
}

fn follow(streak: Streak, mark: Mark) -> Streak {
    match mark {
        Mark::Success | Mark::Slow => Streak::default(),
        Mark::Failure => Streak { failures: streak.failures.saturating_add(1), abandoned: 0 },
        Mark::Throttled => Streak { abandoned: 0, ..streak },
        Mark::Abandoned => Streak { abandoned: streak.abandoned.saturating_add(1), ..streak },
        Mark::Nothing => streak,
    }
}

fn pack(generation: u64, streak: Streak) -> u64 {
    generation << 32 | u64::from(streak.failures) << 16 | u64::from(streak.abandoned)
}

#[expect(clippy::cast_possible_truncation, reason = "each part is cut to its bits")]
fn unpack(word: u64, generation: u64) -> Streak {
    if word >> 32 == generation & u64::from(u32::MAX) {
        Streak { failures: (word >> 16) as u16, abandoned: word as u16 }
    } else {
        Streak::default()
    }
}

/// Whether the word is of a later generation: their low halves wrap, so up to half of the circle ahead is later.
fn is_newer(word: u64, generation: u64) -> bool {
    let ahead = (word >> 32).wrapping_sub(generation) & u64::from(u32::MAX);
    ahead > 0 && ahead <= u64::from(u32::MAX / 2)
}
