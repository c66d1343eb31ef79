use std::{mem, task::Poll};

use crate::{
    class::Class,
    error::{BoxError, Reason, Rejected},
    event::Outcome,
};

/// The result of a call, with the verdict on it that all layers share.
#[derive(Debug)]
#[non_exhaustive]
pub struct Answer<T> {
    /// What the caller gets.
    pub result: Result<T, BoxError>,
    /// What it says about the dependency.
    pub class: Class,
    /// How it is told to observers.
    pub outcome: Outcome,
}

impl<T> Answer<T> {
    pub(crate) fn new(result: Result<T, BoxError>, class: Class, outcome: Outcome) -> Self {
        Self { result, class, outcome }
    }

    /// The same verdict on a response that was made into another.
    pub(crate) fn map<U>(self, change: impl FnOnce(T) -> U) -> Answer<U> {
        let Self { result, class, outcome } = self;
        Answer { result: result.map(change), class, outcome }
    }

    /// A result of the service, as the classifier judged it.
    pub(crate) fn judged(result: Result<T, BoxError>, class: Class) -> Self {
        let outcome = match &result {
            Err(error) => outcome_of(error, class),
            Ok(_) => class.into(),
        };
        Self::new(result, class, outcome)
    }

    /// A refusal of this side.
    pub(crate) fn rejected(rejected: Rejected) -> Self {
        let reason: Reason = rejected.reason();
        Self::new(Err(rejected.into()), reason.class(), reason.into())
    }
}

/// Where the answer of a call is put, in one place for all policies on its way: each looks at it there, and none moves it. It is
/// empty while the call is pending.
///
/// The parts stand by themselves, so that a response, which may be large, is moved by itself.
#[derive(Debug)]
pub struct Slot<T> {
    response: Option<T>,
    error: Option<BoxError>,
    class: Class,
    outcome: Outcome,
}

impl<T> Slot<T> {
    const THERE: &str = "the answer is there once a policy was ready";

    /// An empty one. Of a constant, all of it would be copied.
    #[inline]
    pub(crate) const fn new() -> Self {
        Self { response: None, error: None, class: Class::Success, outcome: Outcome::Success }
    }

    /// Puts the answer there, with which the call is done.
    #[inline]
    pub(crate) fn put(&mut self, Answer { result, class, outcome }: Answer<T>) -> Poll<()> {
        self.put_judged(result, class, outcome)
    }

    /// The same of its parts.
    #[inline]
    pub(crate) fn put_judged(
        &mut self,
        result: Result<T, BoxError>,
        class: Class,
        outcome: Outcome,
    ) -> Poll<()> {
        debug_assert!(self.response.is_none() && self.error.is_none(), "a call has one answer");
        // Nothing is there to be dropped, which the compiler does not know.
        match result {
            Ok(response) => mem::forget(self.response.replace(response)),
            Err(error) => mem::forget(self.error.replace(error)),
        }
        self.judge(class, outcome);
        Poll::Ready(())
    }

    /// Has another verdict on the same result.
    #[inline]
    pub(crate) fn judge(&mut self, class: Class, outcome: Outcome) {
        (self.class, self.outcome) = (class, outcome);
    }

    #[inline]
    pub(crate) fn result(&self) -> Result<&T, &BoxError> {
        self.response.as_ref().ok_or_else(|| self.error.as_ref().expect(Self::THERE))
    }

    #[inline]
    pub(crate) const fn class(&self) -> Class {
        self.class
    }

    #[inline]
    pub(crate) const fn outcome(&self) -> Outcome {
        self.outcome
    }

    /// Takes the answer out.
    #[inline]
    pub(crate) fn take(&mut self) -> Answer<T> {
        mem::replace(self, Self::new()).into_answer()
    }

    #[inline]
    pub(crate) fn into_result(self) -> Result<T, BoxError> {
        self.response.ok_or_else(|| self.error.expect(Self::THERE))
    }

    #[inline]
    pub(crate) fn into_answer(self) -> Answer<T> {
        Answer { class: self.class, outcome: self.outcome, result: self.into_result() }
    }

    /// Puts what `change` makes of the response in another slot.
    #[inline]
    pub(crate) fn put_changed<U>(&mut self, given: Slot<U>, change: impl FnOnce(U) -> T) -> Poll<()> {
        let (class, outcome) = (given.class, given.outcome);
        self.put_judged(given.into_result().map(change), class, outcome)
    }
}

/// How a failure is told. It can be a rejection of a stack further in; looking is kept off where it cannot.
pub(crate) fn outcome_of(error: &BoxError, class: Class) -> Outcome {
    match class {
        Class::Neutral | Class::Transient { .. } => {
            Rejected::find(&**error).map_or_else(|| class.into(), |rejected| rejected.reason().into())
        }
        _ => class.into(),
    }
}
