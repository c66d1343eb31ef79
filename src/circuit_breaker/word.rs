//! State and generation of a breaker, in one word.

use crate::event::CircuitState;

/// The state in the low bits, the generation above. Every transition begins a generation; what an earlier one admitted
/// changes nothing later.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Word(pub(super) u64);

impl Word {
    const STATE_BITS: u32 = 3;
    /// Closed, for the first time.
    pub(super) const FIRST: Self = Self(CircuitState::Closed as u64);

    #[inline]
    pub(super) fn state(self) -> CircuitState {
        let state = self.0 & ((1 << Self::STATE_BITS) - 1);
        let known = CircuitState::ALL.into_iter().find(|&known| known as u64 == state);
        known.expect("a word is made of a state")
    }

    pub(super) fn generation(self) -> u64 {
        self.0 >> Self::STATE_BITS
    }

    /// The epoch of the window that belongs to the generation. 256 generations later it comes again; the window is
    /// empty then, but for what calls count that slept through all of them between two instructions.
    #[expect(clippy::cast_possible_truncation, reason = "an epoch is the low byte")]
    pub(super) fn epoch(self) -> u8 {
        self.generation() as u8
    }

    /// Whether calls pass without being asked for more: closed, or disabled.
    #[inline]
    pub(super) fn admits_all(self) -> bool {
        let state = self.0 & ((1 << Self::STATE_BITS) - 1);
        state == CircuitState::Closed as u64 || state == CircuitState::Disabled as u64
    }

    /// The word of the state that follows.
    pub(super) fn next(self, state: CircuitState) -> Self {
        Self(self.generation().wrapping_add(1) << Self::STATE_BITS | state as u64)
    }
}
