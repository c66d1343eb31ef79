//! What a breaker counts while calls pass, and when that is enough to open it.

use tokio::time::Instant;

use super::{config::CircuitBreakerConfig, mark::Mark, streak::Streaks, word::Word};
use crate::{
    sync::{AtomicU64, Ordering},
    window::{Counts, Window},
};

/// The calls of the generation, in atomics.
#[derive(Debug)]
pub(super) struct Counting {
    window: Window,
    streaks: Streaks,
    /// The newest slice of the window after whose beginning the counts were judged.
    judged: AtomicU64,
}

impl Counting {
    pub(super) fn new(window: Window) -> Self {
        Self { window, streaks: Streaks::default(), judged: AtomicU64::new(0) }
    }

    /// Counts a call, and says whether the breaker has seen enough. A success leaves at once, unless time has changed
    /// the window since the last judgement.
    #[inline]
    pub(super) fn count(&self, config: &CircuitBreakerConfig, word: Word, mark: Mark, now: Instant) -> bool {
        let kinds = mark.kinds();
        if kinds.is_empty() {
            return false;
        }
        let slice = self.window.place(now);
        self.window.count(word.epoch(), slice, kinds);
        self.streaks.note(word.generation(), mark);
        let settled = mark == Mark::Success && slice <= self.judged.load(Ordering::Relaxed);
        !settled && self.judge(config, word, slice)
    }

    #[cold]
    fn judge(&self, config: &CircuitBreakerConfig, word: Word, slice: u64) -> bool {
        // Of two threads that count at once each may miss the other's call; the next judgement sees both.
        self.judged.fetch_max(slice, Ordering::Relaxed);
        config.trips(&self.window.sums(word.epoch(), slice), self.streaks.of(word.generation()))
    }

    /// What the window holds of a generation.
    pub(super) fn counts(&self, word: Word, now: Instant) -> Counts {
        self.window.sums(word.epoch(), self.window.slice_at(now)).whole
    }

    /// Empties the window, so that its epoch can be used again.
    pub(super) fn clear(&self) {
        self.window.clear();
    }
}
