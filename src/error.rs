//! What goes wrong on this side: one concrete type, [`Rejected`], beside the inner service's own errors.
//!
//! Every layer of the crate has `type Error = BoxError`. An error of the inner service passes unchanged and stays
//! downcastable; what a layer refuses or cuts short by itself is a [`Rejected`].

use std::{error::Error, fmt, io, sync::LazyLock, time::Duration};

use crate::{class::Class, name::Name, quota::Quota};

/// The error of every layer: `tower`'s own alias.
pub type BoxError = tower::BoxError;

/// A call that was refused or cut short on this side, by a policy and not by the dependency.
///
/// ```
/// use moneta_resilience::{BoxError, Reason, Rejected};
///
/// fn explain(error: &BoxError) -> &'static str {
///     match Rejected::find(&**error).map(Rejected::reason) {
///         Some(Reason::CircuitOpen) => "the dependency is known to be down",
///         Some(_) => "refused on this side",
///         None => "the dependency itself failed",
///     }
/// }
/// # assert_eq!(explain(&"boom".into()), "the dependency itself failed");
/// ```
#[derive(Clone, Debug)]
pub struct Rejected {
    by: Name,
    reason: Reason,
    retry_after: Option<Duration>,
    quota: Option<Quota>,
}

impl Rejected {
    pub(crate) fn new(by: &Name, reason: Reason) -> Self {
        Self { by: by.clone(), reason, retry_after: None, quota: None }
    }

    pub(crate) fn retry_after_some(mut self, wait: Duration) -> Self {
        self.retry_after = Some(wait);
        self
    }

    /// The quota is used up; there is room in it again after `wait`.
    #[cfg(feature = "rate-limit")]
    pub(crate) fn over_quota(self, quota: Quota, wait: Duration) -> Self {
        Self { quota: Some(quota), ..self.retry_after_some(wait) }
    }

    /// The name of the pipeline whose policy refused the call.
    pub fn by(&self) -> &Name {
        &self.by
    }

    /// Why the call was refused.
    pub fn reason(&self) -> Reason {
        self.reason
    }

    /// When asking again makes sense, where the policy knows it.
    pub fn retry_after(&self) -> Option<Duration> {
        self.retry_after
    }

    /// The quota that is used up, when the call was over a rate limit.
    pub fn quota(&self) -> Option<Quota> {
        self.quota
    }

    /// Finds the first rejection in a chain of sources; `error` itself is looked at first.
    pub fn find<'a>(error: &'a (dyn Error + 'static)) -> Option<&'a Self> {
        sources(error).find_map(|error| error.downcast_ref())
    }
}

impl fmt::Display for Rejected {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.by, self.reason)?;
        match self.retry_after {
            Some(wait) => write!(f, "; try again in {:.1} s", wait.as_secs_f64()),
            None => Ok(()),
        }
    }
}

impl Error for Rejected {}

/// Why a policy refused a call or cut it short.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Reason {
    /// An attempt took longer than its limit. Stands for the dependency's failure: [`Class::Transient`].
    Timeout,
    /// The whole call's deadline passed, or had passed when the call arrived.
    DeadlineExceeded,
    /// The circuit breaker is open.
    CircuitOpen,
    /// The bulkhead and its queue are full.
    BulkheadFull,
    /// The bulkhead had no place within the longest wait.
    BulkheadWait,
    /// The body of an answer was silent for too long. Stands for the dependency's failure: [`Class::Transient`].
    BodyIdle,
    /// The quota of the rate limit is used up.
    RateLimited,
    /// The dependency refuses so many calls that this one was not sent.
    Throttled,
    /// What room there is was kept for more important calls.
    Shed,
    /// A call with an idempotency key was neither run nor answered from what is kept.
    IdempotencyKey(KeyRefusal),
}

impl Reason {
    /// A stable identifier, fit for metric labels.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Timeout => "timeout",
            Self::DeadlineExceeded => "deadline_exceeded",
            Self::CircuitOpen => "circuit_open",
            Self::BulkheadFull => "bulkhead_full",
            Self::BulkheadWait => "bulkhead_wait",
            Self::BodyIdle => "body_idle",
            Self::RateLimited => "rate_limited",
            Self::Throttled => "throttled",
            Self::Shed => "shed",
            Self::IdempotencyKey(refusal) => refusal.as_str(),
        }
    }

    /// What the rejection means to the layers outside: an attempt's timeout and a silent body are the dependency's
    /// failure, the use of an idempotency key is the caller's, everything else was decided on this side.
    pub const fn class(self) -> Class {
        match self {
            Self::Timeout | Self::BodyIdle => Class::TRANSIENT,
            Self::IdempotencyKey(refusal) => refusal.class(),
            Self::DeadlineExceeded
            | Self::CircuitOpen
            | Self::BulkheadFull
            | Self::BulkheadWait
            | Self::RateLimited
            | Self::Throttled
            | Self::Shed => Class::Neutral,
        }
    }
}

impl fmt::Display for Reason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Timeout => "the attempt took longer than its timeout",
            Self::DeadlineExceeded => "the deadline of the call has passed",
            Self::CircuitOpen => "the circuit breaker is open",
            Self::BulkheadFull => "the bulkhead is full",
            Self::BulkheadWait => "the bulkhead had no place in time",
            Self::BodyIdle => "the body of the answer was silent for too long",
            Self::RateLimited => "the rate limit is reached",
            Self::Throttled => "the dependency refuses too many calls",
            Self::Shed => "the room is kept for more important calls",
            Self::IdempotencyKey(refusal) => refusal.sentence(),
        })
    }
}

/// Why a call with an idempotency key, or one that should have one, was neither run nor answered from what is kept.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum KeyRefusal {
    /// The call needs a key and has none.
    Missing,
    /// What it has cannot be read as one key.
    Invalid,
    /// The request is too long to be compared with another.
    TooLarge,
    /// The request broke off while it was read.
    Unreadable,
    /// The request is a stream of messages, and a key is for one.
    Streamed,
    /// An earlier call with this key is being worked on: come again.
    InProgress,
    /// The key was used for another request.
    Mismatch,
    /// An earlier call with this key was begun, and nobody knows what came of it.
    InDoubt,
    /// An earlier call with this key was done, and its answer was not kept, or cannot be read any more.
    NotReplayable,
    /// The store of keys cannot be reached, or is full. Decided on this side: [`Class::Neutral`].
    Unavailable,
}

impl KeyRefusal {
    /// All of them.
    pub const ALL: [Self; 10] = [
        Self::Missing,
        Self::Invalid,
        Self::TooLarge,
        Self::Unreadable,
        Self::Streamed,
        Self::InProgress,
        Self::Mismatch,
        Self::InDoubt,
        Self::NotReplayable,
        Self::Unavailable,
    ];

    /// A stable identifier, fit for metric labels.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Missing => "key_missing",
            Self::Invalid => "key_invalid",
            Self::TooLarge => "key_request_too_large",
            Self::Unreadable => "key_request_unreadable",
            Self::Streamed => "key_request_streamed",
            Self::InProgress => "key_in_progress",
            Self::Mismatch => "key_mismatch",
            Self::InDoubt => "key_in_doubt",
            Self::NotReplayable => "key_not_replayable",
            Self::Unavailable => "key_store_unavailable",
        }
    }

    /// What the refusal means to the layers outside: see [`Reason::class`].
    pub const fn class(self) -> Class {
        match self {
            Self::Unavailable => Class::Neutral,
            _ => Class::CallerFault,
        }
    }

    /// When it makes sense to ask again.
    #[cfg(feature = "idempotency")]
    pub(crate) fn come_again(self) -> Option<Duration> {
        matches!(self, Self::InProgress | Self::Unavailable).then_some(Duration::from_secs(1))
    }

    #[cfg(feature = "idempotency")]
    pub(crate) fn rejected(self, by: &Name) -> Rejected {
        Rejected { retry_after: self.come_again(), ..Rejected::new(by, Reason::IdempotencyKey(self)) }
    }

    /// A text without characters that JSON would have to escape.
    const fn sentence(self) -> &'static str {
        match self {
            Self::Missing => "the request needs an idempotency key",
            Self::Invalid => "the idempotency key cannot be read",
            Self::TooLarge => "the request is too long to have an idempotency key",
            Self::Unreadable => "the request could not be read",
            Self::Streamed => "a stream of messages cannot have an idempotency key",
            Self::InProgress => "a request with this idempotency key is being worked on",
            Self::Mismatch => "the idempotency key was used for another request",
            Self::InDoubt => "it is not known what came of the request with this idempotency key",
            Self::NotReplayable => {
                "the request with this idempotency key was done, and its answer was not kept"
            }
            Self::Unavailable => "the idempotency key cannot be looked up for now",
        }
    }
}

impl fmt::Display for KeyRefusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.sentence())
    }
}

/// An error that a fault hook put in the place of the dependency's answer.
///
/// It counts as what it stands for: layers outside treat it like a real error of its [`class`](Self::class).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct InjectedFault {
    class: Class,
    refused: bool,
}

impl InjectedFault {
    pub(crate) const fn new(class: Class) -> Self {
        Self { class, refused: false }
    }

    /// One that stands for a connection that was refused, and has such an error as its source.
    pub(crate) const fn refused() -> Self {
        Self { class: Class::TRANSIENT, refused: true }
    }

    /// What the fault stands for.
    pub fn class(&self) -> Class {
        self.class
    }
}

impl fmt::Display for InjectedFault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "an injected fault: it stands for {:?}", self.class)
    }
}

impl Error for InjectedFault {
    fn source(&self) -> Option<&(dyn Error + 'static)> {
        static REFUSED: LazyLock<io::Error> = LazyLock::new(|| io::ErrorKind::ConnectionRefused.into());
        self.refused.then(|| &*REFUSED as _)
    }
}

/// The error of a golden client's call: one concrete type, so that `?` takes it into `anyhow` or `Box<dyn Error>`.
///
/// It reads like the error it carries and has that error's source. The crate's own searches ([`Rejected::find`], the
/// classifiers) look into it, wherever it stands in a chain of sources.
pub struct CallError {
    inner: BoxError,
}

impl CallError {
    /// Carries `inner`; a call error is not carried by another.
    pub(crate) fn new(inner: BoxError) -> Self {
        match inner.downcast() {
            Ok(error) => *error,
            Err(inner) => Self { inner },
        }
    }

    /// The rejection, when this side refused the call or cut it short; `None` when the dependency itself failed.
    pub fn rejected(&self) -> Option<&Rejected> {
        Rejected::find(&*self.inner)
    }

    /// The error itself, to look at.
    pub fn inner(&self) -> &(dyn Error + Send + Sync + 'static) {
        &*self.inner
    }

    /// The error itself, as the service gave it.
    pub fn into_inner(self) -> BoxError {
        self.inner
    }
}

impl fmt::Debug for CallError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("CallError").field(&self.inner).finish()
    }
}

impl fmt::Display for CallError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.inner.fmt(f)
    }
}

impl Error for CallError {
    fn source(&self) -> Option<&(dyn Error + 'static)> {
        self.inner.source()
    }
}

/// An error and all that it came from, outermost first.
pub(crate) fn sources<'a>(
    error: &'a (dyn Error + 'static),
) -> impl Iterator<Item = &'a (dyn Error + 'static)> {
    std::iter::successors(Some(error), |&error| {
        // These two give the source of what they carry as their own, so that itself would be left out.
        if let Some(call) = error.downcast_ref::<CallError>() {
            return Some(&*call.inner);
        }
        match error.downcast_ref::<io::Error>().and_then(io::Error::get_ref) {
            Some(inner) => Some(inner),
            None => error.source(),
        }
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_rejection_reads_like_a_sentence() {
        let rejected = Rejected::new(&Name::literal("ledger"), Reason::CircuitOpen);
        assert_eq!(rejected.to_string(), "ledger: the circuit breaker is open");
        let waiting = rejected.retry_after_some(Duration::from_millis(1_250));
        assert_eq!(waiting.to_string(), "ledger: the circuit breaker is open; try again in 1.2 s");
    }

    #[test]
    fn a_rejection_is_found_behind_other_errors() {
        #[derive(Debug, thiserror::Error)]
        #[error("outer")]
        struct Outer(#[source] BoxError);
        let error: BoxError =
            Outer(Rejected::new(&Name::literal("ledger"), Reason::BulkheadFull).into()).into();
        assert_eq!(Rejected::find(&*error).map(Rejected::reason), Some(Reason::BulkheadFull));
        let nested: BoxError = Outer(CallError::new(CallError::new(error).into()).into()).into();
        assert_eq!(Rejected::find(&*nested).map(Rejected::reason), Some(Reason::BulkheadFull));
        let read: BoxError = io::Error::other(io::Error::other(CallError::new(nested))).into();
        assert_eq!(Rejected::find(&*read).map(Rejected::reason), Some(Reason::BulkheadFull));
    }

    #[test]
    fn a_call_error_reads_like_what_it_carries_and_gives_it_back() {
        let error = CallError::new(io::Error::other("reset").into());
        assert_eq!(error.to_string(), "reset");
        assert!(error.rejected().is_none());
        assert!(error.into_inner().is::<io::Error>());
    }
}
