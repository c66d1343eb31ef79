//! The changes of a breaker's state, for those who listen.

use std::{
    collections::VecDeque,
    fmt,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll, Waker},
};

use futures::Stream;
use tokio::time::Instant;

use super::machine::Machine;
use crate::event::CircuitState;

/// A change of a circuit breaker's state.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct CircuitTransition {
    /// The state it left.
    pub from: CircuitState,
    /// The state it entered.
    pub to: CircuitState,
    /// When.
    pub at: Instant,
    /// What it was [tripped](super::CircuitBreakerHandle::trip) for; `None` for all other changes.
    pub reason: Option<&'static str>,
    /// How many changes right before this one the stream has lost, because nobody read it for so long.
    pub missed: u64,
}

/// The changes of a circuit breaker's state from a moment on, oldest first, as a [`Stream`] without an end.
///
/// The breaker keeps the newest 32 for all its streams together; one that is read too late goes on with the oldest that
/// is left, and says in [`missed`](CircuitTransition::missed) how many it lost. Nothing is kept while there is no stream.
///
/// # Cancellation
///
/// A read that is dropped loses nothing.
#[must_use = "streams do nothing unless they are read"]
pub struct CircuitTransitions {
    machine: Arc<Machine>,
    place: Place,
}

impl CircuitTransitions {
    pub(super) fn new(machine: Arc<Machine>) -> Self {
        Self { place: machine.listen(), machine }
    }
}

impl Stream for CircuitTransitions {
    type Item = CircuitTransition;

    fn poll_next(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<CircuitTransition>> {
        let this = self.get_mut();
        this.machine
            .next_transition(&mut this.place, cx.waker())
            .map_or(Poll::Pending, |next| Poll::Ready(Some(next)))
    }
}

impl Drop for CircuitTransitions {
    fn drop(&mut self) {
        self.machine.leave(&self.place);
    }
}

impl fmt::Debug for CircuitTransitions {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("CircuitTransitions").field("place", &self.place).finish_non_exhaustive()
    }
}

/// How far a stream has read.
#[derive(Debug)]
pub(super) struct Place {
    stream: u64,
    /// The number of the transition that comes next.
    next: u64,
}

/// What the streams of a breaker share. Lives under the machine's lock, as long as there is one.
#[derive(Debug, Default)]
pub(super) struct History {
    newest: VecDeque<CircuitTransition>,
    /// Transitions since it began.
    total: u64,
    /// Streams that there ever were, which gives each its number, and those there are.
    joined: u64,
    streams: u64,
    waiting: Vec<(u64, Waker)>,
}

impl History {
    pub(super) const LENGTH: usize = 32;

    pub(super) fn join(&mut self) -> Place {
        self.joined += 1;
        self.streams += 1;
        Place { stream: self.joined, next: self.total }
    }

    pub(super) fn add(&mut self, transition: CircuitTransition) {
        if self.newest.len() == Self::LENGTH {
            self.newest.pop_front();
        }
        self.newest.push_back(transition);
        self.total += 1;
    }

    /// What the stream reads next, if it happened already.
    pub(super) fn read(&self, place: &mut Place) -> Option<CircuitTransition> {
        let lost = self.total - self.newest.len() as u64;
        let missed = lost.saturating_sub(place.next);
        let index = usize::try_from(place.next + missed - lost).expect("below the length of the history");
        let next = CircuitTransition { missed, ..*self.newest.get(index)? };
        place.next += missed + 1;
        Some(next)
    }

    /// Has the stream woken by the next transition, and gives the waker back that it does not need any more.
    pub(super) fn wait(&mut self, place: &Place, waker: Waker) -> Option<Waker> {
        let old = self.forget(place);
        self.waiting.push((place.stream, waker));
        old
    }

    pub(super) fn forget(&mut self, place: &Place) -> Option<Waker> {
        let index = self.waiting.iter().position(|(stream, _)| *stream == place.stream)?;
        Some(self.waiting.swap_remove(index).1)
    }

    pub(super) fn take_waiting(&mut self) -> Vec<(u64, Waker)> {
        std::mem::take(&mut self.waiting)
    }

    /// Whether that was the last of the streams.
    pub(super) fn leave(&mut self) -> bool {
        self.streams -= 1;
        self.streams == 0
    }
}
