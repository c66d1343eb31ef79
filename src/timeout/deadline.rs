use std::{
    pin::Pin,
    task::{Context, Poll},
    time::Duration,
};

use pin_project_lite::pin_project;
use tokio::time::Instant;

use crate::{
    call::later,
    class::Ending,
    error::{BoxError, Reason, Rejected},
    event::Event,
    observer::Observer,
    policy::{Answer, Course, Lend, Parcel, Policy, Poller, Seat, Slot, sealed::Sealed},
};

/// The deadline of a whole client call: the limit that everything inside shares.
///
/// It needs no timer of its own, because everything inside that waits (for a place, for the service, for the next
/// attempt) ends by the deadline it is given. A call whose deadline has already passed is refused.
#[derive(Clone, Debug)]
pub struct DeadlinePolicy<I> {
    limit: Duration,
    observer: Observer,
    inner: I,
}

impl<I> DeadlinePolicy<I> {
    pub(crate) fn new(limit: Duration, observer: Observer, inner: I) -> Self {
        Self { limit, observer, inner }
    }
}

pin_project! {
    /// The pass of a [`DeadlinePolicy`].
    #[derive(Debug)]
    pub struct DeadlinePass<P> {
        expired: bool,
        #[pin]
        inner: P,
    }
}

impl<I> Sealed for DeadlinePolicy<I> {}

impl<I, S, Req> Lend<S, Req> for DeadlinePolicy<I>
where
    I: Lend<S, Req>,
{
    type Pass = DeadlinePass<I::Pass>;

    fn pass(&self) -> Self::Pass {
        DeadlinePass { expired: false, inner: self.inner.pass() }
    }

    fn begin(&self, pass: Pin<&mut Self::Pass>, parcel: &mut Parcel<Req>, course: &mut Course) {
        let (pass, call) = (pass.project(), &mut course.call);
        let started = call.started();
        *pass.expired = call.deadline.is_some_and(|deadline| deadline <= started);
        call.end_by(later(started, self.limit));
        call.set_reserve_aside();
        self.inner.begin(pass.inner, parcel, course);
    }

    fn abandon(&self, pass: Pin<&mut Self::Pass>, course: &mut Course, ending: Ending, now: Instant) {
        self.inner.abandon(pass.project().inner, course, ending, now);
    }
}

impl<I, S, Req> Policy<S, Req> for DeadlinePolicy<I>
where
    I: Policy<S, Req>,
{
    type Response = I::Response;

    fn poll(
        &self,
        pass: Pin<&mut Self::Pass>,
        parcel: &mut Parcel<Req>,
        seat: &mut Seat<S>,
        cx: &mut Poller<'_, '_>,
        out: &mut Slot<Self::Response>,
    ) -> Poll<()> {
        let pass = pass.project();
        if *pass.expired {
            self.observer.emit(Event::DeadlineExpired);
            return out.put(Answer::rejected(Rejected::new(self.observer.name(), Reason::DeadlineExceeded)));
        }
        self.inner.poll(pass.inner, parcel, seat, cx, out)
    }

    fn poll_ready(&self, seat: &mut Seat<S>, cx: &mut Context<'_>) -> Poll<Result<(), BoxError>> {
        self.inner.poll_ready(seat, cx)
    }
}
