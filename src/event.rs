//! What a layer tells, and nobody knows to whom: small [`Event`]s, and the closed sets of words in them.

mod exchange;
mod experiment;
mod idempotency;
mod source;
mod words;

use std::time::Duration;

pub use exchange::{End, Ended, Exchange, Protocol};
pub use experiment::Experiment;
pub use idempotency::{IdempotencyResult, StoreOperation, StoreResult};
pub use source::Source;
pub use words::{
    AttemptKind, BreakerResult, CircuitState, DeliveryResult, FaultKind, GaveUp, HedgeResult, Outcome,
    RateLimitResult, RetryResult, Severity,
};

use crate::error::Reason;

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
        /// Whether it is synthetic: a probe, a test in production, or made for one. See [`synthetic`](crate::synthetic).
        synthetic: bool,
        /// Whether a fault hook of its stack has done something to it.
        injected: bool,
    },
    /// One attempt at the transport began. It is told and not counted: what is counted are the ends. An attempt that is
    /// refused on this side, further in, does not end as one.
    AttemptStarted {
        /// Which attempt of its call it is, counted from 1. No other has the same number.
        attempt: u32,
        /// Why it was made.
        kind: AttemptKind,
    },
    /// One attempt at the transport ended.
    AttemptFinished {
        /// Which attempt of its call it was, counted from 1. No other has the same number.
        attempt: u32,
        /// Why it was made.
        kind: AttemptKind,
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
    /// The rate limiter counted a call.
    RateLimiterCall {
        /// As what.
        result: RateLimitResult,
    },
    /// A call was refused to ease an overload.
    LoadShed {
        /// Why: `Throttled` for the dependency's overload, `Shed` for the own.
        reason: Reason,
    },
    /// A limit passed and cut the work short.
    TimedOut {
        /// Which limit.
        reason: Reason,
    },
    /// An answer that had begun well, and was counted as that, ended badly.
    AnswerBroken {
        /// How it ended.
        outcome: Outcome,
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
        /// For which experiment, if it is one's.
        experiment: Option<Experiment>,
    },
    /// A request over the wire began. It is told and not counted.
    RequestStarted {
        /// Which.
        exchange: &'static Exchange,
    },
    /// A request over the wire ended, with its answer's body, and not before.
    RequestFinished {
        /// The same that was told when it began, but for the method of a gRPC server: only the first answer tells that there
        /// is one of that name.
        exchange: &'static Exchange,
        /// How it ended.
        ended: Ended,
    },
    /// A call that carried an idempotency key was answered.
    IdempotencyCall {
        /// How.
        result: IdempotencyResult,
    },
    /// An alert of an error budget began or ended. It is told and not counted.
    BudgetAlert {
        /// The name of the objective.
        slo: &'static str,
        /// How urgent it is.
        severity: Severity,
        /// The long window over which the budget burns too fast.
        window: Duration,
        /// Whether it began.
        firing: bool,
    },
    /// A handler that runs under an idempotency key lost its claim.
    LeaseLost,
    /// A consumer is done with a message, for now or for good.
    Delivered {
        /// What became of it.
        result: DeliveryResult,
    },
    /// A message off a queue that is known by name was processed. It is told and not counted: `Delivered` is.
    MessageProcessed {
        /// The queue.
        source: Source,
        /// What kind of error it was, if it was one, as [`Outcome::as_str`] has it.
        error: Option<&'static str>,
        /// Time from the delivery's first poll to its end.
        elapsed: Duration,
    },
    /// A message could not be set aside: the dead letter failed.
    DeadLetterFailed,
    /// A store of idempotency keys was asked. It is told and not counted.
    StoreAsked {
        /// For what.
        operation: StoreOperation,
        /// What it did.
        result: StoreResult,
        /// Time from the question to its answer, or to when it was given up.
        elapsed: Duration,
    },
    /// A deadline from outside could not be read and was ignored.
    DeadlineMalformed,
    /// A priority from outside could not be read and was ignored.
    PriorityMalformed,
    /// A call arrived after its deadline and was refused.
    DeadlineExpired,
}
