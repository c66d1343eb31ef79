//! One verdict on the result of a call, in the vocabulary that every layer shares.
//!
//! A [`Class`] says what a result *means*: whether the dependency is healthy, and whether asking again can help. It
//! is a plain value; what gives it is a `Classify`.

use std::time::Duration;

/// What a result says about the dependency and about asking again.
///
/// | class | dependency | retry | breaker | fallback |
/// |---|---|---|---|---|
/// | `Success` | healthy | no | success | no |
/// | `CallerFault` | healthy: the request was wrong | no | success | no |
/// | `Transient` | failing, may recover by itself | if repeatable | failure | yes |
/// | `Throttled` | alive, asks for less | if repeatable, slower | rates only | yes |
/// | `Fault` | broken | no | failure | yes |
/// | `Neutral` | was not asked: refused on this side | no | not counted | yes |
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Class {
    /// The call did what it was asked to do.
    Success,
    /// The request was at fault; the dependency is healthy and asking again gives the same answer.
    CallerFault,
    /// The dependency failed in a way that often passes.
    Transient {
        /// How long the dependency asked to wait, if it did.
        retry_after: Option<Duration>,
    },
    /// The dependency is alive and asked for fewer calls.
    Throttled {
        /// How long the dependency asked to wait, if it did.
        retry_after: Option<Duration>,
    },
    /// The dependency is broken; asking again will not mend it.
    Fault,
    /// The call was refused on this side and says nothing about the dependency.
    Neutral,
}

impl Class {
    /// A passing failure without a hint when to come back.
    pub const TRANSIENT: Self = Self::Transient { retry_after: None };
    /// A throttled call without a hint when to come back.
    pub const THROTTLED: Self = Self::Throttled { retry_after: None };

    /// A hint that asks not to come back with this request at all; a retry obeys it.
    pub const NEVER: Duration = Duration::MAX;

    /// Whether asking again can help: `Transient` and `Throttled`.
    pub const fn is_retryable(self) -> bool {
        matches!(self, Self::Transient { .. } | Self::Throttled { .. })
    }

    /// Whether a fallback should answer instead: everything but `Success` and `CallerFault`.
    pub const fn wants_fallback(self) -> bool {
        !matches!(self, Self::Success | Self::CallerFault)
    }

    /// How long the dependency asked to wait, if it did.
    pub const fn retry_after(self) -> Option<Duration> {
        match self {
            Self::Transient { retry_after } | Self::Throttled { retry_after } => retry_after,
            _ => None,
        }
    }
}

/// How a call ended that gave no result: its future was dropped.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Ending {
    /// Dropped while it was pending: the caller went away or an outer limit passed.
    Cancelled,
    /// Dropped by the unwinding of its own poll. Counts as a [`Class::Fault`].
    Panicked,
}
