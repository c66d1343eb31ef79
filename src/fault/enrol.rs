use std::{
    num::NonZeroU32,
    pin::Pin,
    task::{Context, Poll},
};

use tokio::time::Instant;

use super::{Faults, Look};
use crate::{
    class::Ending,
    error::BoxError,
    name::Name,
    policy::{Course, Lend, Parcel, Policy, Poller, Seat, Slot, sealed::Sealed},
};

/// Enrols the calls of a golden stack for the experiments that they are part of, when they begin: with whatever becomes of them,
/// also when nothing of them reaches the hook. It has a call draw its lot once, for all its attempts. Nothing armed, that is one
/// relaxed load for each hook.
#[derive(Clone, Debug)]
pub struct EnrolPolicy<I, L> {
    name: Name,
    faults: Faults,
    ingress: Option<Faults>,
    look: L,
    inner: I,
}

impl<I, L> EnrolPolicy<I, L> {
    /// For the hook in front of the service, and the one where calls come in.
    pub(crate) fn new(name: Name, faults: Faults, ingress: Option<Faults>, look: L, inner: I) -> Self {
        Self { name, faults, ingress, look, inner }
    }

    fn hooks(&self) -> impl Iterator<Item = &Faults> {
        [Some(&self.faults), self.ingress.as_ref()].into_iter().flatten()
    }

    #[cold]
    fn enrol<Req>(&self, course: &mut Course, request: &Req)
    where
        L: Look<Req>,
    {
        #[expect(clippy::cast_possible_truncation, reason = "half of the bits are random enough")]
        let lot = NonZeroU32::new(self.faults.random().next_u64() as u32);
        course.call.lot = lot;
        self.look.look(request, |subject| {
            for faults in self.hooks() {
                faults.enrol(&self.name, course, subject);
            }
        });
    }
}

impl<I, L> Sealed for EnrolPolicy<I, L> {}

impl<I, L, S, Req> Lend<S, Req> for EnrolPolicy<I, L>
where
    I: Lend<S, Req>,
    L: Look<Req>,
{
    type Pass = I::Pass;

    fn pass(&self) -> Self::Pass {
        self.inner.pass()
    }

    #[inline]
    fn begin(&self, pass: Pin<&mut Self::Pass>, parcel: &mut Parcel<Req>, course: &mut Course) {
        // Not over `hooks()`: an iterator costs more than the loads.
        if self.faults.may_be_armed() || self.ingress.as_ref().is_some_and(Faults::may_be_armed) {
            self.enrol(course, parcel.request());
        }
        self.inner.begin(pass, parcel, course);
    }

    fn abandon(&self, pass: Pin<&mut Self::Pass>, course: &mut Course, ending: Ending, now: Instant) {
        self.inner.abandon(pass, course, ending, now);
    }
}

impl<I, L, S, Req> Policy<S, Req> for EnrolPolicy<I, L>
where
    I: Policy<S, Req>,
    L: Look<Req>,
{
    type Response = I::Response;

    #[inline]
    fn poll(
        &self,
        pass: Pin<&mut Self::Pass>,
        parcel: &mut Parcel<Req>,
        seat: &mut Seat<S>,
        cx: &mut Poller<'_, '_>,
        out: &mut Slot<Self::Response>,
    ) -> Poll<()> {
        self.inner.poll(pass, parcel, seat, cx, out)
    }

    fn poll_ready(&self, seat: &mut Seat<S>, cx: &mut Context<'_>) -> Poll<Result<(), BoxError>> {
        self.inner.poll_ready(seat, cx)
    }
}
