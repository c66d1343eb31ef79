use std::{
    pin::Pin,
    sync::Arc,
    task::{Context, Poll, ready},
};

use http::Response;
use pin_project_lite::pin_project;
use tokio::time::Instant;

use super::{BodyLimits, Rules, TimedBody};
use crate::{
    call::later,
    class::Ending,
    error::BoxError,
    observer::Observer,
    policy::{Course, Lend, Parcel, Policy, Poller, Seat, Slot, sealed::Sealed},
};

/// The policy of a [`BodyTimeoutLayer`](super::BodyTimeoutLayer).
#[derive(Clone, Debug)]
pub struct BodyTimeoutPolicy<I> {
    /// Shared by the bodies, which outlive their calls.
    pub(super) rules: Arc<Rules>,
    pub(super) inner: I,
}

impl<I> BodyTimeoutPolicy<I> {
    pub(crate) fn new(limits: BodyLimits, observer: Observer, inner: I) -> Self {
        Self { rules: Arc::new(Rules { limits, observer }), inner }
    }
}

pin_project! {
    /// The pass of a [`BodyTimeoutPolicy`].
    #[derive(Debug)]
    pub struct BodyTimeoutPass<P> {
        deadline: Option<Instant>,
        #[pin]
        inner: P,
    }
}

impl<I> Sealed for BodyTimeoutPolicy<I> {}

impl<I, S, Req> Lend<S, Req> for BodyTimeoutPolicy<I>
where
    I: Lend<S, Req>,
{
    type Pass = BodyTimeoutPass<I::Pass>;

    fn pass(&self) -> Self::Pass {
        BodyTimeoutPass { deadline: None, inner: self.inner.pass() }
    }

    fn begin(&self, pass: Pin<&mut Self::Pass>, parcel: &mut Parcel<Req>, course: &mut Course) {
        let (pass, call) = (pass.project(), &mut course.call);
        let own = self.rules.limits.total.map(|total| later(call.started(), total));
        *pass.deadline = [call.deadline, own].into_iter().flatten().min();
        self.inner.begin(pass.inner, parcel, course);
    }

    fn abandon(&self, pass: Pin<&mut Self::Pass>, course: &mut Course, ending: Ending, now: Instant) {
        self.inner.abandon(pass.project().inner, course, ending, now);
    }
}

impl<I, S, Req, B> Policy<S, Req> for BodyTimeoutPolicy<I>
where
    I: Policy<S, Req, Response = Response<B>>,
{
    type Response = Response<TimedBody<B>>;

    fn poll(
        &self,
        pass: Pin<&mut Self::Pass>,
        parcel: &mut Parcel<Req>,
        seat: &mut Seat<S>,
        cx: &mut Poller<'_, '_>,
        out: &mut Slot<Self::Response>,
    ) -> Poll<()> {
        let pass = pass.project();
        let mut slot = Slot::new();
        ready!(self.inner.poll(pass.inner, parcel, seat, cx, &mut slot));
        out.put_changed(slot, |response| {
            let (head, body) = response.into_parts();
            let is_stream = self.rules.limits.streaming.as_ref().is_some_and(|is_stream| is_stream(&head));
            let deadline = pass.deadline.filter(|_| !is_stream);
            let body = TimedBody::new(body, Arc::clone(&self.rules), deadline, cx.now());
            Response::from_parts(head, body)
        })
    }

    fn poll_ready(&self, seat: &mut Seat<S>, cx: &mut Context<'_>) -> Poll<Result<(), BoxError>> {
        self.inner.poll_ready(seat, cx)
    }
}
