use std::{error::Error, fmt, pin::Pin, task::Poll, time::Duration};

use super::{Answers, End, FallbackKind, Kind};
use crate::{
    class::Class,
    error::{BoxError, Rejected},
    observer::Observer,
    policy::{Course, Poller, Slot, sealed::Sealed},
};

/// The end of a call, shown to who says whether the fallback is asked.
#[derive(Clone, Copy, Debug)]
pub struct Judged<'a, T> {
    class: Class,
    result: Result<&'a T, &'a BoxError>,
}

impl<'a, T> Judged<'a, T> {
    /// What the result means.
    pub fn class(&self) -> Class {
        self.class
    }

    /// Whether the fallback would be asked without a word of yours: the call failed, was cut short or was refused.
    pub fn is_failure(&self) -> bool {
        self.class.wants_fallback()
    }

    /// The dependency's response, good or not.
    pub fn response(&self) -> Option<&'a T> {
        self.result.ok()
    }

    /// The error; `None` when there is a response.
    pub fn error(&self) -> Option<&'a (dyn Error + 'static)> {
        self.result.err().map(|error| &**error as _)
    }

    /// The rejection, when this side refused the call or cut it short.
    pub fn rejected(&self) -> Option<&'a Rejected> {
        self.error().and_then(Rejected::find)
    }
}

/// A fallback that is asked when a closure says so.
#[derive(Clone, Copy)]
pub struct When<F, W> {
    fallback: F,
    is_wanted: W,
}

impl<F, W> When<F, W> {
    pub(crate) fn new(fallback: F, is_wanted: W) -> Self {
        Self { fallback, is_wanted }
    }
}

impl<F, W> Sealed for When<F, W> {}
impl<F: Kind, W> Kind for When<F, W> {
    fn within(self, limit: Duration) -> Self {
        Self { fallback: self.fallback.within(limit), ..self }
    }
}

impl<F, W, Req> FallbackKind<Req> for When<F, W>
where
    F: FallbackKind<Req>,
{
    type Pass<P> = F::Pass<P>;

    fn pass<P>(inner: P) -> Self::Pass<P> {
        F::pass(inner)
    }

    fn begin<P>(&self, pass: Pin<&mut Self::Pass<P>>, request: &Req, course: &mut Course) {
        self.fallback.begin(pass, request, course);
    }

    fn inner<P>(pass: Pin<&mut Self::Pass<P>>) -> Option<Pin<&mut P>> {
        F::inner(pass)
    }
}

impl<F, W, Req, T, J> Answers<Req, T, J> for When<F, W>
where
    F: Answers<Req, T, J>,
    W: Fn(Judged<'_, T>) -> bool,
{
    type Response = F::Response;

    fn is_wanted(&self, given: &Slot<T>) -> bool {
        (self.is_wanted)(Judged { class: given.class(), result: given.result() })
    }

    fn poll<P>(
        &self,
        pass: Pin<&mut Self::Pass<P>>,
        inner: impl FnOnce(Pin<&mut P>, &mut Poller<'_, '_>, &mut Slot<T>) -> Poll<End<T>>,
        observer: &Observer,
        cx: &mut Poller<'_, '_>,
        out: &mut Slot<F::Response>,
    ) -> Poll<()> {
        self.fallback.poll(pass, inner, observer, cx, out)
    }
}

impl<F: fmt::Debug, W> fmt::Debug for When<F, W> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("When").field("fallback", &self.fallback).finish_non_exhaustive()
    }
}
