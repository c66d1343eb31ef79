//! What a builder has been told, in its type: the choices that have no good default.

use std::{fmt, sync::Arc, time::Duration};

#[cfg(feature = "http")]
use crate::timeout::LimitByHead;
use crate::{
    fallback::{Kind, NoFallback},
    messaging::StoreDeadLetter,
};

mod sealed {
    #[expect(unnameable_types, reason = "that is what seals the traits")]
    pub trait Sealed {}
}

/// A choice that has not been made yet.
#[derive(Clone, Copy, Debug)]
pub struct Missing;

/// A part that is left out, and whose heavy bounds are asked of nobody then.
#[derive(Clone, Copy, Debug, Default)]
pub struct Off;

/// A limit that has been given.
#[derive(Clone, Copy, Debug)]
pub struct Limit(pub(super) Duration);

/// The timeout of a golden path has been given.
#[diagnostic::on_unimplemented(
    message = "this golden path has no timeout",
    label = "add `.timeout(..)` before this call",
    note = "a caller that waits without a limit holds everything it has; no default is right for every dependency"
)]
pub trait HasTimeout: sealed::Sealed {
    /// The limit of the whole call, whatever the request; [`Duration::MAX`] where each has its own.
    fn limit(&self) -> Duration;

    /// What says the limit of each HTTP request.
    #[cfg(feature = "http")]
    fn by_head(&self) -> Option<&LimitByHead> {
        None
    }
}

/// The timeout is the same for every call.
#[diagnostic::on_unimplemented(
    message = "this golden client takes its timeout from the head of an HTTP request",
    label = "add `.timeout(..)` before this call, or finish with `.http(..)` or `.grpc(..)`",
    note = "here the requests are of any type, or there are none; `Deadline::after(..).scope(..)` shortens one call"
)]
pub trait HasOneTimeout: sealed::Sealed {}

impl HasOneTimeout for Limit {}

// It lacks a timeout of any kind, and is to be told of that alone.
impl sealed::Sealed for Missing {}
#[diagnostic::do_not_recommend]
impl HasOneTimeout for Missing {}

impl sealed::Sealed for Limit {}

#[diagnostic::do_not_recommend]
impl HasTimeout for Limit {
    fn limit(&self) -> Duration {
        self.0
    }
}

#[cfg(feature = "http")]
impl sealed::Sealed for LimitByHead {}

#[cfg(feature = "http")]
#[diagnostic::do_not_recommend]
impl HasTimeout for LimitByHead {
    fn limit(&self) -> Duration {
        Duration::MAX
    }

    fn by_head(&self) -> Option<&LimitByHead> {
        Some(self)
    }
}

/// The fallback of a golden client has been given, or declined aloud.
#[diagnostic::on_unimplemented(
    message = "this golden client has no fallback",
    label = "add `.fallback(..)`, or say `.no_fallback()`, before this call",
    note = "what a caller gets when the dependency is down is a decision, not an accident"
)]
pub trait HasFallback: Kind {}

#[diagnostic::do_not_recommend]
impl<F: Kind> HasFallback for F {}

/// The fallback was declined for the client as a whole: the calls bring their own.
#[diagnostic::on_unimplemented(
    message = "the calls of this golden client need a word on fallback",
    label = "say `.no_fallback()` before this call",
    note = "calls answer with values of many types, so a fallback belongs to the single call: `run_or(call, fallback)`"
)]
pub trait DeclinesFallback: sealed::Sealed {}

impl sealed::Sealed for NoFallback {}
#[diagnostic::do_not_recommend]
impl DeclinesFallback for NoFallback {}

/// A dead letter that has been given.
pub struct DeadLetterTo<M>(pub(super) Arc<StoreDeadLetter<M>>);

impl<M> Clone for DeadLetterTo<M> {
    fn clone(&self) -> Self {
        Self(Arc::clone(&self.0))
    }
}

impl<M> fmt::Debug for DeadLetterTo<M> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("DeadLetterTo").finish_non_exhaustive()
    }
}

/// The dead letter of a golden consumer has been given.
#[diagnostic::on_unimplemented(
    message = "this golden consumer has no dead letter",
    label = "add `.dead_letter(..)` before this call",
    note = "a message that cannot be handled comes again for ever, or is lost; where it goes instead is a decision"
)]
pub trait HasDeadLetter<M>: sealed::Sealed {
    #[doc(hidden)]
    fn into_store(self) -> Arc<StoreDeadLetter<M>>;
}

impl<M> sealed::Sealed for DeadLetterTo<M> {}

#[diagnostic::do_not_recommend]
impl<M> HasDeadLetter<M> for DeadLetterTo<M> {
    fn into_store(self) -> Arc<StoreDeadLetter<M>> {
        self.0
    }
}

/// One clear error for a limit of zero, at the line that gave it.
#[track_caller]
pub(super) fn positive(what: impl fmt::Display, limit: Duration) -> Duration {
    assert!(!limit.is_zero(), "{what} of zero would cut every call; give it a limit above zero");
    limit
}
