//! What a layer tells, and nobody knows to whom.
//!
//! A layer tells its [`Observer`] small [`Event`]s. The observer counts each in the cells of its pipeline, which
//! exporters read, and passes those that a [`Sink`] asked for on to it. On the happy path that is one relaxed add in
//! memory the thread mostly has to itself.

use std::{
    fmt,
    panic::{self, AssertUnwindSafe},
    sync::Arc,
    time::Duration,
};

use crate::{cells::Cells, class::Class, error::Reason, name::Name};

/// One thing that happened to a call. Small and `Copy`: it carries no text from outside.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Event {
    /// A caller's call ended.
    CallFinished {
        /// How it ended for the caller.
        outcome: Outcome,
        /// Time from the call's first poll to its end.
        elapsed: Duration,
    },
    /// One attempt at the transport ended.
    AttemptFinished {
        /// Which attempt it was, counted from 1.
        attempt: u32,
        /// How it ended.
        outcome: Outcome,
        /// Time from the start of the attempt to its end.
        elapsed: Duration,
    },
    /// A failed attempt is followed by another.
    RetryScheduled {
        /// The attempt that is to come, counted from 1.
        attempt: u32,
        /// The wait before it.
        delay: Duration,
    },
    /// The retry layer is done with a call.
    RetryFinished {
        /// What became of it.
        result: RetryResult,
        /// Why there was no further attempt; `None` when the last one succeeded.
        gave_up: Option<GaveUp>,
    },
    /// A call that takes too long, or failed in passing, is sent a second time.
    HedgeSent {
        /// The attempt that the second copy is, counted from 1.
        attempt: u32,
        /// How long the first copy had been with the service.
        after: Duration,
    },
    /// The hedge layer is done with a call.
    HedgeFinished {
        /// What became of it.
        result: HedgeResult,
    },
    /// The circuit breaker counted a call.
    BreakerCall {
        /// As what.
        result: BreakerResult,
    },
    /// The circuit breaker changed its state.
    BreakerTransition {
        /// The state it left.
        from: CircuitState,
        /// The state it entered.
        to: CircuitState,
    },
    /// A call had to wait for a place in the bulkhead and got it.
    BulkheadWaited {
        /// How long it waited.
        elapsed: Duration,
    },
    /// The bulkhead refused a call, or its wait ended without a place.
    BulkheadRefused {
        /// Why.
        reason: Reason,
    },
    /// A limit passed and cut the work short.
    TimedOut {
        /// Which limit.
        reason: Reason,
    },
    /// A fallback was asked.
    Fallback {
        /// Whether it had an answer.
        served: bool,
    },
    /// A fault hook acted on a call.
    FaultInjected {
        /// What it did.
        fault: FaultKind,
    },
    /// A deadline from outside could not be read and was ignored.
    DeadlineMalformed,
    /// A call arrived after its deadline and was refused.
    DeadlineExpired,
}

/// How a call or an attempt ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Outcome {
    /// As asked.
    Success,
    /// The request was at fault.
    CallerFault,
    /// A passing failure of the dependency.
    Transient,
    /// The dependency asked for fewer calls.
    Throttled,
    /// The dependency is broken.
    Fault,
    /// A limit of time passed.
    Timeout,
    /// Refused on this side.
    Rejected,
    /// A fallback answered.
    Degraded,
    /// The caller went away.
    Cancelled,
    /// The code panicked.
    Panicked,
}

impl Outcome {
    /// All outcomes.
    pub const ALL: [Self; 10] = [
        Self::Success,
        Self::CallerFault,
        Self::Transient,
        Self::Throttled,
        Self::Fault,
        Self::Timeout,
        Self::Rejected,
        Self::Degraded,
        Self::Cancelled,
        Self::Panicked,
    ];

    /// A stable identifier, fit for metric labels.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Success => "success",
            Self::CallerFault => "caller_fault",
            Self::Transient => "transient",
            Self::Throttled => "throttled",
            Self::Fault => "fault",
            Self::Timeout => "timeout",
            Self::Rejected => "rejected",
            Self::Degraded => "degraded",
            Self::Cancelled => "cancelled",
            Self::Panicked => "panic",
        }
    }

    /// Whether the caller got what it asked for, or was itself at fault.
    pub const fn is_good(self) -> bool {
        matches!(self, Self::Success | Self::CallerFault)
    }
}

impl From<Class> for Outcome {
    fn from(class: Class) -> Self {
        match class {
            Class::Success => Self::Success,
            Class::CallerFault => Self::CallerFault,
            Class::Transient { .. } => Self::Transient,
            Class::Throttled { .. } => Self::Throttled,
            Class::Fault => Self::Fault,
            Class::Neutral => Self::Rejected,
        }
    }
}

impl From<Reason> for Outcome {
    fn from(reason: Reason) -> Self {
        match reason {
            Reason::Timeout | Reason::DeadlineExceeded | Reason::BodyIdle => Self::Timeout,
            _ => Self::Rejected,
        }
    }
}

/// What became of a call in the retry layer.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum RetryResult {
    /// The first attempt settled it, well or not.
    First,
    /// A later attempt succeeded.
    Recovered,
    /// It failed and no attempt was left, or none could have helped.
    Exhausted,
    /// It failed and the budget granted no further attempt.
    BudgetExhausted,
}

impl RetryResult {
    /// All results.
    pub const ALL: [Self; 4] = [Self::First, Self::Recovered, Self::Exhausted, Self::BudgetExhausted];

    /// A stable identifier, fit for metric labels.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::First => "first",
            Self::Recovered => "recovered",
            Self::Exhausted => "exhausted",
            Self::BudgetExhausted => "budget_exhausted",
        }
    }
}

/// Why the retry layer made no further attempt: the first of its questions that was answered with no.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum GaveUp {
    /// The class of the failure: asking again cannot help.
    Class,
    /// The request must not be sent twice.
    NotRepeatable,
    /// All attempts are made.
    Exhausted,
    /// The next attempt could not finish in time.
    Deadline,
    /// The budget grants none.
    Budget,
}

impl GaveUp {
    /// A stable identifier, fit for logs and labels.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Class => "class",
            Self::NotRepeatable => "not_repeatable",
            Self::Exhausted => "exhausted",
            Self::Deadline => "deadline",
            Self::Budget => "budget",
        }
    }
}

/// What became of a call in the hedge layer.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum HedgeResult {
    /// It was over without a second copy.
    Unhedged,
    /// The second copy settled it.
    Won,
    /// The first copy settled it after all: the second one was for nothing.
    Lost,
    /// Both copies failed.
    Failed,
    /// A second copy was due, and the budget granted none.
    Refused,
    /// The caller went away while both copies were on their way.
    Cancelled,
}

impl HedgeResult {
    /// All results.
    pub const ALL: [Self; 6] =
        [Self::Unhedged, Self::Won, Self::Lost, Self::Failed, Self::Refused, Self::Cancelled];

    /// A stable identifier, fit for metric labels.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Unhedged => "unhedged",
            Self::Won => "won",
            Self::Lost => "lost",
            Self::Failed => "failed",
            Self::Refused => "refused",
            Self::Cancelled => "cancelled",
        }
    }
}

/// As what the circuit breaker counted a call.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum BreakerResult {
    /// A success.
    Success,
    /// A failure.
    Failure,
    /// A success that took too long.
    Slow,
    /// Refused, the circuit being open.
    Rejected,
    /// Dropped while it was pending.
    Cancelled,
}

impl BreakerResult {
    /// All results.
    pub const ALL: [Self; 5] = [Self::Success, Self::Failure, Self::Slow, Self::Rejected, Self::Cancelled];

    /// A stable identifier, fit for metric labels.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Success => "success",
            Self::Failure => "failure",
            Self::Slow => "slow",
            Self::Rejected => "rejected",
            Self::Cancelled => "cancelled",
        }
    }
}

/// The state of a circuit breaker.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum CircuitState {
    /// Calls pass and are counted.
    Closed,
    /// Calls are refused.
    Open,
    /// A few probes pass, the rest is refused.
    HalfOpen,
    /// Opened by hand: calls are refused until it is reset.
    ForcedOpen,
    /// Switched off by hand: calls pass and are not counted.
    Disabled,
}

impl CircuitState {
    /// All states.
    pub const ALL: [Self; 5] = [Self::Closed, Self::Open, Self::HalfOpen, Self::ForcedOpen, Self::Disabled];

    /// A stable identifier, fit for metric labels.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Closed => "closed",
            Self::Open => "open",
            Self::HalfOpen => "half_open",
            Self::ForcedOpen => "forced_open",
            Self::Disabled => "disabled",
        }
    }
}

impl fmt::Display for CircuitState {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// What a fault hook did to a call.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum FaultKind {
    /// It was made to wait.
    Latency,
    /// It was answered with an error.
    Error,
    /// It was held.
    Hang,
}

impl FaultKind {
    /// All kinds.
    pub const ALL: [Self; 3] = [Self::Latency, Self::Error, Self::Hang];

    /// A stable identifier, fit for metric labels.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Latency => "latency",
            Self::Error => "error",
            Self::Hang => "hang",
        }
    }
}

/// Which events a sink wants to be told of, one at a time, beyond their being counted.
///
/// A set: `Interest::CALLS | Interest::TRANSITIONS`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Interest(u8);

impl Interest {
    /// None.
    pub const NONE: Self = Self(0);
    /// Ends of calls.
    pub const CALLS: Self = Self(1);
    /// Ends of attempts.
    pub const ATTEMPTS: Self = Self(2);
    /// State changes of circuit breakers.
    pub const TRANSITIONS: Self = Self(4);
    /// Waits for a place in a bulkhead.
    pub const WAITS: Self = Self(8);
    /// Everything else.
    pub const OTHER: Self = Self(16);
    /// All events.
    pub const ALL: Self = Self(31);

    const fn of(event: &Event) -> Self {
        match event {
            Event::CallFinished { .. } => Self::CALLS,
            Event::AttemptFinished { .. } => Self::ATTEMPTS,
            Event::BreakerTransition { .. } => Self::TRANSITIONS,
            Event::BulkheadWaited { .. } => Self::WAITS,
            _ => Self::OTHER,
        }
    }

    const fn overlaps(self, other: Self) -> bool {
        self.0 & other.0 != 0
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
    /// Which events it wants.
    fn interest(&self) -> Interest;

    /// One of those events happened in the pipeline.
    fn record(&self, pipeline: &Name, event: &Event);
}

/// Where a layer tells what happens to it: the counting cells of a pipeline and any number of sinks.
///
/// Clones tell the same cells and sinks.
#[derive(Clone)]
pub struct Observer {
    name: Name,
    cells: Arc<Cells>,
    sinks: Arc<[Arc<dyn Sink>]>,
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
        if self.sinks.iter().any(|known| Arc::ptr_eq(known, &sink)) {
            return self;
        }
        self.interest = self.interest | sink.interest();
        self.sinks = self.sinks.iter().cloned().chain([sink]).collect();
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
    #[inline]
    pub(crate) fn emit(&self, event: Event) {
        self.cells.count(&event);
        if self.interest.overlaps(Interest::of(&event)) {
            self.dispatch(&event);
        }
    }

    fn dispatch(&self, event: &Event) {
        for sink in &*self.sinks {
            // Telling must not cost what is told of: a call its answer, or, where one is dropped by a panic already,
            // the process. The panic hook has reported it.
            let told = panic::catch_unwind(AssertUnwindSafe(|| {
                if sink.interest().overlaps(Interest::of(event)) {
                    sink.record(&self.name, event);
                }
            }));
            drop(told);
        }
    }
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
