use std::any::Any;

use super::Outcome;

/// How the work under a key ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Ended {
    /// It was done, and this is kept of it: whoever comes again gets it.
    Done(Outcome),
    /// It provably did not begin, or had no effect: the key is free again.
    NotRun,
    /// Nobody knows what it has done: the key is in doubt.
    InDoubt,
}

/// What the caller is told.
pub(crate) enum Reply<T> {
    /// The work was done, by this very call.
    Ran(T),
    /// It was done before, and this came of it.
    Replayed(Outcome),
    /// Somebody is at it.
    InProgress,
    /// The key was used for another request.
    Mismatch,
    /// Nobody knows what came of it.
    InDoubt,
    /// The store was not there, or had no room.
    Refused,
    /// The work panicked.
    Panicked(Box<dyn Any + Send>),
}
