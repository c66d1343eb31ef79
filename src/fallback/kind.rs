//! What a kind of fallback is: each is written once, for any stack and any protocol.

use std::{
    pin::Pin,
    task::{Poll, ready},
    time::Duration,
};

use super::Why;
use crate::{
    class::Class,
    error::BoxError,
    event::{Event, Outcome},
    observer::Observer,
    policy::{Answer, Course, Poller, Slot, sealed::Sealed},
};

/// A kind of fallback: a closure, a future, another service, or none.
pub trait Kind: Sealed + Sized {
    /// The same, told the limit of the whole call, the fallback included.
    #[doc(hidden)]
    #[must_use]
    fn within(self, _limit: Duration) -> Self {
        self
    }
}

/// What a kind of fallback adds to the pass of what it wraps.
///
/// It stands apart from [`Answers`] as [`Lend`](crate::policy::Lend) does from `Policy`: its bounds name no error.
pub trait FallbackKind<Req>: Kind {
    /// The pass.
    type Pass<P>;

    /// Makes the pass, round that of what it wraps.
    fn pass<P>(inner: P) -> Self::Pass<P>;

    /// Prepares the call, before what it wraps does.
    fn begin<P>(&self, _pass: Pin<&mut Self::Pass<P>>, _request: &Req, _course: &mut Course) {}

    /// The pass of what it wraps, as long as there is one.
    fn inner<P>(pass: Pin<&mut Self::Pass<P>>) -> Option<Pin<&mut P>>;
}

/// How a kind of fallback answers in the place of a dependency whose responses are `T`s. `J` makes one type of both.
pub trait Answers<Req, T, J>: FallbackKind<Req> {
    /// What the caller gets.
    type Response;

    /// Whether it is to be asked.
    fn is_wanted(&self, given: &Slot<T>) -> bool {
        given.class().wants_fallback()
    }

    /// Drives the call to its answer, the dependency's or the fallback's.
    fn poll<P>(
        &self,
        pass: Pin<&mut Self::Pass<P>>,
        inner: impl FnOnce(Pin<&mut P>, &mut Poller<'_, '_>, &mut Slot<T>) -> Poll<End<T>>,
        observer: &Observer,
        cx: &mut Poller<'_, '_>,
        out: &mut Slot<Self::Response>,
    ) -> Poll<()>;
}

/// How a dependency's response and a fallback's become one type.
pub trait Join<T, U>: Sealed {
    /// That type.
    type Joined;

    /// The dependency's.
    fn of_dependency(response: T) -> Self::Joined;

    /// The fallback's.
    fn of_fallback(response: U) -> Self::Joined;

    /// Polls for the dependency's answer, which is put into `out` as one of that type.
    #[doc(hidden)]
    fn poll_into<E>(
        out: &mut Slot<Self::Joined>,
        poll: impl FnOnce(&mut Slot<T>) -> Poll<End<E>>,
    ) -> Poll<End<E>> {
        let mut slot = Slot::new();
        let end = ready!(poll(&mut slot));
        if let End::Stands = end {
            _ = out.put_changed(slot, Self::of_dependency);
        }
        Poll::Ready(end)
    }
}

/// They are of one type anyway.
#[derive(Clone, Copy, Debug)]
#[non_exhaustive]
pub struct Same;

impl Sealed for Same {}
impl<T> Join<T, T> for Same {
    type Joined = T;

    fn of_dependency(response: T) -> T {
        response
    }

    fn of_fallback(response: T) -> T {
        response
    }

    // Where it lies.
    #[inline]
    fn poll_into<E>(out: &mut Slot<T>, poll: impl FnOnce(&mut Slot<T>) -> Poll<End<E>>) -> Poll<End<E>> {
        poll(out)
    }
}

/// How a call ended, as far as its fallback is concerned.
#[derive(Debug)]
pub enum End<T> {
    /// The caller gets the answer that is in the slot.
    Stands,
    /// Another is wanted.
    Failed(Failed<T>),
}

/// An answer in the place of which the fallback's is wanted.
#[derive(Debug)]
pub struct Failed<T>(Answer<T>);

/// What was said of an answer that is gone.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Verdict {
    class: Class,
    outcome: Outcome,
}

impl<T> Failed<T> {
    pub(super) fn new(answer: Answer<T>) -> Self {
        Self(answer)
    }

    /// What was said of the answer.
    pub fn class(&self) -> Class {
        self.0.class
    }

    /// The dependency's response, if the answer is one.
    pub fn response(&self) -> Option<&T> {
        self.0.result.as_ref().ok()
    }

    /// The same with another type of response.
    pub fn map<U>(self, change: impl FnOnce(T) -> U) -> Failed<U> {
        Failed(self.0.map(change))
    }

    /// The answer itself, when there is no other after all.
    pub(crate) fn into_answer(self) -> Answer<T> {
        self.0
    }

    /// What the fallback is told. A failed response is dropped: it may hold a connection.
    pub(crate) fn into_why(self) -> (Why, Verdict) {
        let Answer { result, class, outcome, .. } = self.0;
        (Why::new(class, result.err()), Verdict { class, outcome })
    }
}

impl Verdict {
    /// The fallback's answer, told to the observer.
    pub(crate) fn replaced<U>(self, result: Result<U, BoxError>, observer: &Observer) -> Answer<U> {
        observer.emit(Event::Fallback { served: result.is_ok() });
        match result {
            Ok(response) => Answer::new(Ok(response), Class::Success, Outcome::Degraded),
            // The answer was turned down, and the call failed nevertheless.
            Err(error) if self.class == Class::Success => {
                Answer::new(Err(error), Class::Fault, Outcome::Fault)
            }
            Err(error) => Answer::new(Err(error), self.class, self.outcome),
        }
    }
}
