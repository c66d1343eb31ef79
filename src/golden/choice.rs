//! What a builder has been told, in its type: the choices that have no good default.

use std::{fmt, time::Duration};

use crate::fallback::{Kind, NoFallback};

mod sealed {
    #[expect(unnameable_types, reason = "that is what seals the traits")]
    pub trait Sealed {}
}

/// A choice that has not been made yet.
#[derive(Clone, Copy, Debug)]
pub struct Missing;

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
    /// The limit of the whole call.
    fn limit(&self) -> Duration;
}

impl sealed::Sealed for Limit {}

#[diagnostic::do_not_recommend]
impl HasTimeout for Limit {
    fn limit(&self) -> Duration {
        self.0
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

/// One clear error for a limit of zero, at the line that gave it.
#[track_caller]
pub(super) fn positive(what: impl fmt::Display, limit: Duration) -> Duration {
    assert!(!limit.is_zero(), "{what} of zero would cut every call; give it a limit above zero");
    limit
}
