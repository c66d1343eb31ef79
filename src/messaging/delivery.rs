use std::{error::Error, fmt, time::Duration};

use crate::{
    error::{BoxError, sources},
    event::DeliveryResult,
};

/// What the worker is to do with a message that it has delivered.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[must_use = "the queue has to be told"]
pub enum Delivery {
    /// It is done, by this delivery or by an earlier one: take it off the queue.
    Ack,
    /// It is not done, and nothing is lost if it is delivered again: leave it on the queue.
    Nack {
        /// Not sooner than after this time.
        after: Duration,
    },
    /// Nobody knows what came of it. The dead letter has it, for somebody who finds out: take it off the queue.
    Parked,
    /// It was not done and will not be. The dead letter has it: take it off the queue.
    DeadLettered,
}

impl Delivery {
    /// Whether the message is to be taken off the queue: everything but [`Nack`](Self::Nack).
    pub const fn is_settled(self) -> bool {
        !matches!(self, Self::Nack { .. })
    }

    /// How it is counted.
    pub const fn result(self) -> DeliveryResult {
        match self {
            Self::Ack => DeliveryResult::Ack,
            Self::Nack { .. } => DeliveryResult::Nack,
            Self::Parked => DeliveryResult::Parked,
            Self::DeadLettered => DeliveryResult::DeadLettered,
        }
    }
}

/// Why a message is set aside.
#[derive(Debug)]
#[non_exhaustive]
pub enum Why {
    /// The handler failed, and asking it again does not help or must not be.
    Failed(BoxError),
    /// It has come more often than a message may.
    TooManyDeliveries,
    /// Its key is empty: the producer gave it no identity.
    NoKey,
    /// Another message was handled under its key.
    Mismatch,
    /// The handler panicked. Nobody knows what it had done.
    Panicked,
    /// The handler was cut short. Nobody knows what it had done.
    TimedOut,
    /// An earlier delivery did not come to an end that is known.
    InDoubt,
}

impl Why {
    /// A stable identifier, fit for a header of the message and for metric labels.
    pub const fn as_str(&self) -> &'static str {
        match self {
            Self::Failed(_) => "failed",
            Self::TooManyDeliveries => "too_many_deliveries",
            Self::NoKey => "no_key",
            Self::Mismatch => "mismatch",
            Self::Panicked => "panic",
            Self::TimedOut => "timeout",
            Self::InDoubt => "in_doubt",
        }
    }

    /// The handler's error, where there is one.
    pub fn error(&self) -> Option<&(dyn Error + 'static)> {
        match self {
            Self::Failed(error) => Some(&**error),
            _ => None,
        }
    }
}

impl fmt::Display for Why {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Failed(error) => return write!(f, "the handler failed: {error}"),
            Self::TooManyDeliveries => "the message was delivered too often",
            Self::NoKey => "the message has no key",
            Self::Mismatch => "another message was handled under this key",
            Self::Panicked => "the handler panicked",
            Self::TimedOut => "the handler was cut short",
            Self::InDoubt => "it is not known what came of an earlier delivery",
        })
    }
}

/// The word of a handler that it has done nothing that must not be done twice: the error that it gives so may be followed by
/// another try.
///
/// It must be certain. That a call to somebody else failed, or was refused, proves nothing about the calls before. The mark
/// counts wherever it stands in the chain of sources of the handler's error.
///
/// ```
/// use moneta_resilience::{BoxError, messaging::NotExecuted};
///
/// async fn book(pool: impl Future<Output = Result<(), BoxError>>) -> Result<(), BoxError> {
///     pool.await.map_err(NotExecuted::new)?; // no connection, so nothing was written
///     // … from here on an error is one that is not marked.
///     Ok(())
/// }
/// # let _ = book(async { Ok(()) });
/// ```
#[derive(Debug)]
pub struct NotExecuted {
    error: BoxError,
}

impl NotExecuted {
    /// Marks this error.
    pub fn new(error: impl Into<BoxError>) -> Self {
        Self { error: error.into() }
    }

    /// Whether the error, or one that it came from, is marked.
    pub fn marks(error: &BoxError) -> bool {
        sources(&**error).any(<dyn Error>::is::<Self>)
    }
}

impl fmt::Display for NotExecuted {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "not executed: {}", self.error)
    }
}

impl Error for NotExecuted {
    fn source(&self) -> Option<&(dyn Error + 'static)> {
        Some(&*self.error)
    }
}

/// What the end of a handler says about its message.
#[derive(Debug)]
pub enum Verdict {
    /// What is to be done with it stands.
    Settled(Delivery),
    /// It is to be set aside, and is then what is said here.
    SetAside {
        /// What the dead letter is told.
        why: Why,
        /// [`Parked`](Delivery::Parked) or [`DeadLettered`](Delivery::DeadLettered).
        then: Delivery,
    },
}

impl Verdict {
    /// It was not done and will not be.
    pub(super) fn dead(why: Why) -> Self {
        Self::SetAside { why, then: Delivery::DeadLettered }
    }

    /// Nobody knows what came of it.
    pub(super) fn unknown(why: Why) -> Self {
        Self::SetAside { why, then: Delivery::Parked }
    }
}
