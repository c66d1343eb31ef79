//! Whom a layer tells: the counting cells of its pipeline, and any number of sinks.
//!
//! An [`Observer`] counts each [`Event`] in the cells of its pipeline, which exporters read, and passes those that a
//! [`Sink`] asked for on to it. On the happy path that is one relaxed add in memory the thread mostly has to itself.

use std::{
    fmt,
    panic::{self, AssertUnwindSafe},
    sync::Arc,
};

use crate::{cells::Cells, event::Event, facts, name::Name};

/// Which events a sink wants to be told of, one at a time, beyond their being counted.
///
/// A set: `Interest::CALLS | Interest::TRANSITIONS`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Interest(u16);

impl Interest {
    /// None.
    pub const NONE: Self = Self(0);
    /// Ends of calls, and answers that ended badly after they had begun well.
    pub const CALLS: Self = Self(1);
    /// Ends of attempts.
    pub const ATTEMPTS: Self = Self(2);
    /// State changes of circuit breakers.
    pub const TRANSITIONS: Self = Self(4);
    /// Waits for a place in a bulkhead.
    pub const WAITS: Self = Self(8);
    /// Everything else.
    pub const OTHER: Self = Self(16);
    /// Ends of requests over a wire, and of messages off a queue.
    pub const REQUESTS: Self = Self(32);
    /// What stores of idempotency keys were asked.
    pub const STORES: Self = Self(64);
    /// Alerts of error budgets.
    pub const ALERTS: Self = Self(128);
    /// All events.
    pub const ALL: Self = Self(255);
    /// How many requests are under way, which is no event: they are counted for those who show it.
    #[cfg(any(feature = "http", feature = "otel", feature = "metrics"))]
    pub(crate) const UNDER_WAY: Self = Self(256);

    #[inline]
    pub(crate) const fn of(event: &Event) -> Self {
        match event {
            Event::CallFinished { .. } | Event::AnswerBroken { .. } => Self::CALLS,
            Event::AttemptFinished { .. } => Self::ATTEMPTS,
            Event::BreakerTransition { .. } => Self::TRANSITIONS,
            Event::BulkheadWaited { .. } => Self::WAITS,
            Event::RequestFinished { .. } | Event::MessageProcessed { .. } => Self::REQUESTS,
            Event::StoreAsked { .. } => Self::STORES,
            Event::BudgetAlert { .. } => Self::ALERTS,
            _ => Self::OTHER,
        }
    }

    const fn overlaps(self, other: Self) -> bool {
        self.0 & other.0 != 0
    }

    #[cfg(feature = "http")]
    const fn contains(self, other: Self) -> bool {
        self.0 & other.0 == other.0
    }
}

impl std::ops::BitOr for Interest {
    type Output = Self;

    fn bitor(self, other: Self) -> Self {
        Self(self.0 | other.0)
    }
}

/// Takes events as they happen: a metrics backend, a log, a tape in a test.
///
/// A sink is called inside the call it is told of, so it must not block. Its panics go to the panic hook and no further.
pub trait Sink: Send + Sync + 'static {
    /// Which events it wants. It is asked once, by each observer that it is given to.
    fn interest(&self) -> Interest;

    /// One of those events happened in the pipeline.
    fn record(&self, pipeline: &Name, event: &Event);

    /// Several of those events happened at once in the pipeline: a request ended, and the call that it was.
    ///
    /// A sink has it where it can take them together for less. Without it, it is told of one after the other.
    fn record_all(&self, pipeline: &Name, events: &[Event]) {
        for event in events {
            self.record(pipeline, event);
        }
    }
}

/// Where a layer tells what happens to it: the counting cells of a pipeline and any number of sinks.
///
/// Clones tell the same cells and sinks.
#[derive(Clone)]
pub struct Observer {
    name: Name,
    cells: Arc<Cells>,
    sinks: Arc<[(Interest, Arc<dyn Sink>)]>,
    interest: Interest,
}

impl Observer {
    /// An observer with the given cells and no sink.
    pub(crate) fn new(name: Name, cells: Arc<Cells>) -> Self {
        Self { name, cells, sinks: Arc::new([]), interest: Interest::NONE }
    }

    /// An observer whose cells belong to nobody else: what a layer has that was given no name.
    pub(crate) fn unnamed(pattern: &'static str) -> Self {
        Self::new(Name::literal(pattern), Arc::default())
    }

    /// Tells one more sink. One that is told already is not told twice.
    #[must_use]
    pub fn sink(mut self, sink: Arc<dyn Sink>) -> Self {
        if self.sinks.iter().any(|(_, known)| Arc::ptr_eq(known, &sink)) {
            return self;
        }
        let interest = sink.interest();
        self.interest = self.interest | interest;
        self.sinks = self.sinks.iter().cloned().chain([(interest, sink)]).collect();
        self
    }

    /// The name of the pipeline.
    pub fn name(&self) -> &Name {
        &self.name
    }

    pub(crate) fn cells(&self) -> &Arc<Cells> {
        &self.cells
    }

    /// Counts the event and tells the sinks that asked for its kind.
    #[expect(
        clippy::inline_always,
        reason = "who tells knows the event: its cell and its kind are constants there"
    )]
    #[inline(always)]
    pub(crate) fn emit(&self, event: Event) {
        self.cells.count(&event);
        if facts::are_noted() {
            facts::note(event);
        }
        let kind = Interest::of(&event);
        if self.interest.overlaps(kind) {
            self.dispatch(kind, event);
        }
    }

    /// The same of two that happen at once: a sink that wants both is told once.
    #[cfg(feature = "http")]
    #[expect(clippy::inline_always, reason = "as above")]
    #[inline(always)]
    pub(crate) fn emit_both(&self, both: &[Event; 2]) {
        let [first, second] = both;
        self.cells.count(first);
        self.cells.count(second);
        let kinds = Interest::of(first) | Interest::of(second);
        if facts::are_noted() {
            both.iter().copied().for_each(facts::note);
        }
        if self.interest.overlaps(kinds) {
            self.dispatch_all(kinds, both);
        }
    }

    /// Whether one of the sinks shows how many requests are under way.
    #[cfg(feature = "http")]
    #[inline]
    pub(crate) fn shows_what_is_under_way(&self) -> bool {
        self.interest.overlaps(Interest::UNDER_WAY)
    }

    /// Whether one of the sinks is told when a request begins, which nothing counts.
    #[cfg(feature = "http")]
    #[inline]
    pub(crate) fn tells_of_starts(&self) -> bool {
        self.interest.overlaps(Interest::OTHER)
    }

    /// By value, as where it is noted: an event is put together only where somebody gets to see it.
    fn dispatch(&self, kind: Interest, event: Event) {
        for (_, sink) in self.sinks.iter().filter(|(interest, _)| interest.overlaps(kind)) {
            tell(|| sink.record(&self.name, &event));
        }
    }

    #[cfg(feature = "http")]
    fn dispatch_all(&self, kinds: Interest, events: &[Event]) {
        for (interest, sink) in self.sinks.iter().filter(|(interest, _)| interest.overlaps(kinds)) {
            if interest.contains(kinds) {
                tell(|| sink.record_all(&self.name, events));
            } else {
                for event in events.iter().filter(|event| interest.overlaps(Interest::of(event))) {
                    tell(|| sink.record(&self.name, event));
                }
            }
        }
    }
}

/// Telling must not cost what is told of: a call its answer, or, where one is dropped by a panic already, the process. The
/// panic hook has reported it.
#[inline]
fn tell(sink: impl FnOnce()) {
    drop(panic::catch_unwind(AssertUnwindSafe(sink)));
}

impl fmt::Debug for Observer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Observer").field("name", &self.name).finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::record::Tape;

    fn observer() -> Observer {
        Observer::unnamed("ledger")
    }

    #[test]
    fn a_sink_that_is_given_twice_is_told_once() {
        let (tape, other) = (Arc::new(Tape::new()), Arc::new(Tape::new()));
        let observer = observer().sink(tape.clone()).sink(other.clone()).sink(tape.clone());
        observer.emit(Event::DeadlineExpired);
        assert_eq!((tape.events().len(), other.events().len()), (1, 1));
    }

    #[test]
    fn a_sink_that_panics_costs_neither_the_call_nor_the_other_sinks() {
        struct Broken;
        impl Sink for Broken {
            fn interest(&self) -> Interest {
                Interest::ALL
            }

            fn record(&self, _: &Name, _: &Event) {
                panic!("a bug in the sink")
            }
        }
        let tape = Arc::new(Tape::new());
        observer().sink(Arc::new(Broken)).sink(tape.clone()).emit(Event::DeadlineExpired);
        assert_eq!(tape.events().len(), 1);
    }
}
