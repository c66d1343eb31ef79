//! The end of a delivery that is the handler's: messages as they are tried, and what their end means.

use std::{
    pin::Pin,
    task::{Context, Poll, ready},
};

use pin_project_lite::pin_project;
use tokio::time::Instant;
use tower::Service;

use super::{
    Verdict, Why,
    rules::{Rules, Turn, unasked},
};
use crate::{
    class::{Class, Ending},
    error::BoxError,
    policy::{Course, Lend, Parcel, Policy, Poller, Seat, Slot, sealed::Sealed},
    repeat::Repeat,
};

/// A message on its way to the handler.
#[derive(Clone, Debug)]
pub struct Tried<M> {
    message: M,
    repeatable: bool,
}

impl<M> Tried<M> {
    pub(super) fn new(message: M, rules: &Rules<M>) -> Self {
        Self { message, repeatable: rules.repeatable }
    }
}

impl<M: Clone> Repeat for Tried<M> {
    fn again(&self) -> Option<Self> {
        self.repeatable.then(|| self.clone())
    }

    fn if_unprocessed(&self) -> Option<Self> {
        Some(self.clone())
    }
}

/// The handler as the policies call it.
#[derive(Clone, Debug)]
pub struct Handling<S> {
    service: S,
}

impl<S> Handling<S> {
    pub(crate) fn new(service: S) -> Self {
        Self { service }
    }
}

impl<S: Service<M>, M> Service<Tried<M>> for Handling<S> {
    type Response = S::Response;
    type Error = S::Error;
    type Future = S::Future;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), S::Error>> {
        self.service.poll_ready(cx)
    }

    fn call(&mut self, tried: Tried<M>) -> S::Future {
        #[cfg(feature = "idempotency")]
        crate::idempotency::Claim::begin_run();
        self.service.call(tried.message)
    }
}

/// Says what the end of a handler means to its message, where messages have no keys.
pub struct VerdictPolicy<M, I> {
    rules: Rules<M>,
    inner: I,
}

impl<M, I> VerdictPolicy<M, I> {
    pub(crate) fn new(rules: Rules<M>, inner: I) -> Self {
        Self { rules, inner }
    }
}

pin_project! {
    /// The pass of a [`VerdictPolicy`].
    #[derive(Debug)]
    pub struct VerdictPass<M, P> {
        turn: Turn,
        reached: bool,
        parcel: Parcel<Tried<M>>,
        #[pin]
        inner: P,
    }
}

impl<M, I> Sealed for VerdictPolicy<M, I> {}

impl<M, I, S> Lend<S, M> for VerdictPolicy<M, I>
where
    I: Lend<S, Tried<M>>,
{
    type Pass = VerdictPass<M, I::Pass>;

    fn pass(&self) -> Self::Pass {
        let inner = self.inner.pass();
        VerdictPass { turn: Turn::default(), reached: false, parcel: Parcel::EMPTY, inner }
    }

    fn begin(&self, pass: Pin<&mut Self::Pass>, parcel: &mut Parcel<M>, course: &mut Course) {
        let pass = pass.project();
        *pass.turn = self.rules.turn(parcel.request());
        pass.parcel.put(Tried::new(parcel.take(), &self.rules));
        self.inner.begin(pass.inner, pass.parcel, course);
    }

    fn abandon(&self, pass: Pin<&mut Self::Pass>, course: &mut Course, ending: Ending, now: Instant) {
        self.inner.abandon(pass.project().inner, course, ending, now);
    }
}

impl<M, I, S> Policy<S, M> for VerdictPolicy<M, I>
where
    I: Policy<S, Tried<M>>,
{
    type Response = Verdict;

    fn poll(
        &self,
        pass: Pin<&mut Self::Pass>,
        _parcel: &mut Parcel<M>,
        seat: &mut Seat<S>,
        cx: &mut Poller<'_, '_>,
        out: &mut Slot<Verdict>,
    ) -> Poll<()> {
        let pass = pass.project();
        if *pass.turn == Turn::TooMany {
            return out.put(unasked(Verdict::dead(Why::TooManyDeliveries), Class::Fault));
        }
        let mut slot = Slot::new();
        let poll = self.inner.poll(pass.inner, pass.parcel, seat, cx, &mut slot);
        *pass.reached |= cx.reached();
        ready!(poll);
        out.put(self.rules.judge(slot.into_answer(), *pass.reached, false, *pass.turn))
    }

    fn poll_ready(&self, seat: &mut Seat<S>, cx: &mut Context<'_>) -> Poll<Result<(), BoxError>> {
        self.inner.poll_ready(seat, cx)
    }
}
