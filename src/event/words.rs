//! The closed sets of words in events.

use std::fmt;

use crate::{class::Class, error::Reason};

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
            Reason::IdempotencyKey(refusal) => refusal.class().into(),
            _ => Self::Rejected,
        }
    }
}

/// Why an attempt was made.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum AttemptKind {
    /// It is the first of its call.
    First,
    /// One before it has failed.
    Retry,
    /// One before it takes too long, or failed in passing: it is the second copy that a hedge sent.
    Hedge,
}

impl AttemptKind {
    /// All kinds.
    pub const ALL: [Self; 3] = [Self::First, Self::Retry, Self::Hedge];

    /// A stable identifier, fit for metric labels.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::First => "first",
            Self::Retry => "retry",
            Self::Hedge => "hedge",
        }
    }
}

/// What became of a message that was delivered to a consumer.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum DeliveryResult {
    /// It is done.
    Ack,
    /// It has to come again.
    Nack,
    /// It was set aside, and nobody knows what came of it.
    Parked,
    /// It was set aside and will not come again.
    DeadLettered,
}

impl DeliveryResult {
    /// All results.
    pub const ALL: [Self; 4] = [Self::Ack, Self::Nack, Self::Parked, Self::DeadLettered];

    /// A stable identifier, fit for metric labels.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Ack => "ack",
            Self::Nack => "nack",
            Self::Parked => "parked",
            Self::DeadLettered => "dead_lettered",
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
    /// All reasons.
    pub const ALL: [Self; 5] =
        [Self::Class, Self::NotRepeatable, Self::Exhausted, Self::Deadline, Self::Budget];

    /// A stable identifier, fit for metric labels.
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
    /// A growing share of the calls passes and is counted, the rest is refused.
    Recovering,
    /// Opened by hand: calls are refused until it is reset.
    ForcedOpen,
    /// Switched off by hand: calls pass and are not counted.
    Disabled,
}

impl CircuitState {
    /// All states.
    pub const ALL: [Self; 6] =
        [Self::Closed, Self::Open, Self::HalfOpen, Self::Recovering, Self::ForcedOpen, Self::Disabled];

    /// A stable identifier, fit for metric labels.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Closed => "closed",
            Self::Open => "open",
            Self::HalfOpen => "half_open",
            Self::Recovering => "recovering",
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

/// As what the rate limiter counted a call.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum RateLimitResult {
    /// It was within the quota.
    Admitted,
    /// It waited for its turn and had it.
    Waited,
    /// Refused, the quota being used up.
    Rejected,
    /// Dropped while it waited.
    Cancelled,
}

impl RateLimitResult {
    /// All results.
    pub const ALL: [Self; 4] = [Self::Admitted, Self::Waited, Self::Rejected, Self::Cancelled];

    /// A stable identifier, fit for metric labels.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Admitted => "admitted",
            Self::Waited => "waited",
            Self::Rejected => "rejected",
            Self::Cancelled => "cancelled",
        }
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
    /// It was answered as by nobody who listens.
    Refused,
    /// It was held.
    Hang,
    /// The service did its work, and the answer was dropped.
    LostAnswer,
    /// The answer got another status.
    Status,
    /// The answer got another content.
    Body,
    /// The body of the answer came slowly.
    SlowBody,
    /// The body of the answer was cut.
    CutBody,
    /// The call was delivered twice.
    Duplicate,
    /// Whatever somebody's own hook does.
    Hook,
}

impl FaultKind {
    /// All kinds.
    pub const ALL: [Self; 11] = [
        Self::Latency,
        Self::Error,
        Self::Refused,
        Self::Hang,
        Self::LostAnswer,
        Self::Status,
        Self::Body,
        Self::SlowBody,
        Self::CutBody,
        Self::Duplicate,
        Self::Hook,
    ];

    /// A stable identifier, fit for metric labels.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Latency => "latency",
            Self::Error => "error",
            Self::Refused => "refused",
            Self::Hang => "hang",
            Self::LostAnswer => "lost_answer",
            Self::Status => "status",
            Self::Body => "body",
            Self::SlowBody => "slow_body",
            Self::CutBody => "cut_body",
            Self::Duplicate => "duplicate",
            Self::Hook => "hook",
        }
    }
}

/// How urgent an alert is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[non_exhaustive]
pub enum Severity {
    /// Somebody looks at it today.
    Ticket,
    /// Somebody is woken.
    Page,
}

impl Severity {
    /// A stable identifier, fit for labels.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Ticket => "ticket",
            Self::Page => "page",
        }
    }
}
