use std::{
    pin::Pin,
    task::{Context, Poll, ready},
};

use pin_project_lite::pin_project;
use tokio::time::Instant;

use super::{
    Alter, Faults, Look, Unseen,
    fault::Effect,
    injected::{Injected, Instead},
};
use crate::{
    call::Call,
    class::Ending,
    error::BoxError,
    observer::Observer,
    policy::{Answer, Course, Lend, Parcel, Policy, Poller, Seat, Slot, sealed::Sealed},
};

/// The policy of a [`FaultLayer`](super::FaultLayer).
#[derive(Clone, Debug)]
pub struct FaultPolicy<I, L = Unseen> {
    pub(super) faults: Faults,
    pub(super) observer: Observer,
    look: L,
    inner: I,
}

impl<I, L> FaultPolicy<I, L> {
    pub(crate) fn new(faults: Faults, look: L, observer: Observer, inner: I) -> Self {
        Self { faults, observer, look, inner }
    }
}

impl<I, L> FaultPolicy<I, L> {
    /// Decides over a call, once something is armed.
    #[cold]
    fn draw<Req>(&self, request: &Req, call: &Call) -> Option<Box<Injected>>
    where
        L: Look<Req>,
    {
        self.faults.draw(|hook| {
            self.look.look(request, |subject| {
                let concerns = |effect: &Effect| !matches!(effect, Effect::Duplicate { .. });
                hook.decide(self.observer.name(), call, subject, concerns)
            })
        })
    }

    /// Polls a call for which there is something.
    #[cold]
    fn suffer<S, Req>(
        &self,
        pass: Pin<&mut FaultPass<<I as Lend<S, Req>>::Pass>>,
        parcel: &mut Parcel<Req>,
        seat: &mut Seat<S>,
        cx: &mut Poller<'_, '_>,
        out: &mut Slot<L::Altered>,
    ) -> Poll<()>
    where
        I: Policy<S, Req>,
        L: Look<Req> + Alter<I::Response>,
    {
        let pass = pass.project();
        let injected = pass.injected.as_mut().expect("there is something for this call");
        if *pass.waits {
            if let Some(instead) = ready!(injected.poll_before(cx, &self.observer, self.faults.random())) {
                *pass.injected = None;
                return out.put(instead.into());
            }
            *pass.waits = false;
        }
        let mut slot = Slot::new();
        ready!(self.inner.poll(pass.inner, parcel, seat, cx, &mut slot));
        let injected = pass.injected.take().expect("it is there until the service has answered");
        out.put(injected.after(slot.into_answer(), &self.look, cx, &self.observer, self.faults.random()))
    }
}

pin_project! {
    /// The pass of a [`FaultPolicy`].
    #[derive(Debug)]
    pub struct FaultPass<P> {
        // Drawn where the request is seen, and nothing more than a plan until the first poll. In a box: only a call for which
        // there is something pays for it.
        injected: Option<Box<Injected>>,
        waits: bool,
        #[pin]
        inner: P,
    }
}

impl<I, L> Sealed for FaultPolicy<I, L> {}

impl<I, L, S, Req> Lend<S, Req> for FaultPolicy<I, L>
where
    I: Lend<S, Req>,
    L: Look<Req>,
{
    type Pass = FaultPass<I::Pass>;

    fn pass(&self) -> Self::Pass {
        FaultPass { injected: None, waits: true, inner: self.inner.pass() }
    }

    #[inline]
    fn begin(&self, pass: Pin<&mut Self::Pass>, parcel: &mut Parcel<Req>, course: &mut Course) {
        let pass = pass.project();
        if self.faults.may_be_armed() {
            *pass.injected = self.draw(parcel.request(), &course.call);
        }
        self.inner.begin(pass.inner, parcel, course);
    }

    fn abandon(&self, pass: Pin<&mut Self::Pass>, course: &mut Course, ending: Ending, now: Instant) {
        let pass = pass.project();
        *pass.injected = None;
        self.inner.abandon(pass.inner, course, ending, now);
    }
}

impl<I, L, S, Req> Policy<S, Req> for FaultPolicy<I, L>
where
    I: Policy<S, Req>,
    L: Look<Req> + Alter<I::Response>,
{
    type Response = L::Altered;

    #[inline]
    fn poll(
        &self,
        pass: Pin<&mut Self::Pass>,
        parcel: &mut Parcel<Req>,
        seat: &mut Seat<S>,
        cx: &mut Poller<'_, '_>,
        out: &mut Slot<Self::Response>,
    ) -> Poll<()> {
        if pass.injected.is_some() {
            return self.suffer(pass, parcel, seat, cx, out);
        }
        self.look.poll_into(out, |slot| self.inner.poll(pass.project().inner, parcel, seat, cx, slot))
    }

    fn poll_ready(&self, seat: &mut Seat<S>, cx: &mut Context<'_>) -> Poll<Result<(), BoxError>> {
        self.inner.poll_ready(seat, cx)
    }
}

impl<T> From<Instead> for Answer<T> {
    fn from(Instead { error, class }: Instead) -> Self {
        Self::judged(Err(error), class)
    }
}
