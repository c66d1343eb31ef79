use std::{
    fmt,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll},
    time::Duration,
};

use http::Request;
use tokio::time::Instant;

use crate::{
    call::later,
    class::Ending,
    error::BoxError,
    head::Head,
    policy::{Course, Lend, Parcel, Policy, Poller, Seat, Slot, sealed::Sealed},
};

/// The limit of each HTTP request, as a function of its head says it.
#[derive(Clone)]
pub struct LimitByHead(Arc<dyn Fn(Head<'_>) -> Duration + Send + Sync>);

impl LimitByHead {
    pub(crate) fn new(limit: impl Fn(Head<'_>) -> Duration + Send + Sync + 'static) -> Self {
        Self(Arc::new(limit))
    }
}

impl fmt::Debug for LimitByHead {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("LimitByHead").finish_non_exhaustive()
    }
}

/// Says how long a call over HTTP may take in all, where that depends on the request; what is inside ends it. Without a
/// function it has no effect.
#[derive(Clone, Debug)]
pub struct LimitByHeadPolicy<I> {
    limit: Option<LimitByHead>,
    inner: I,
}

impl<I> LimitByHeadPolicy<I> {
    pub(crate) fn new(limit: Option<LimitByHead>, inner: I) -> Self {
        Self { limit, inner }
    }
}

impl<I> Sealed for LimitByHeadPolicy<I> {}

impl<I, S, B> Lend<S, Request<B>> for LimitByHeadPolicy<I>
where
    I: Lend<S, Request<B>>,
{
    type Pass = I::Pass;

    fn pass(&self) -> Self::Pass {
        self.inner.pass()
    }

    fn begin(&self, pass: Pin<&mut Self::Pass>, parcel: &mut Parcel<Request<B>>, course: &mut Course) {
        if let Some(LimitByHead(limit)) = &self.limit {
            let limit = later(course.call.started(), limit(Head::of(parcel.request())));
            course.call.end_by(limit);
            course.call.limit = Some(limit);
        }
        self.inner.begin(pass, parcel, course);
    }

    fn abandon(&self, pass: Pin<&mut Self::Pass>, course: &mut Course, ending: Ending, now: Instant) {
        self.inner.abandon(pass, course, ending, now);
    }
}

impl<I, S, B> Policy<S, Request<B>> for LimitByHeadPolicy<I>
where
    I: Policy<S, Request<B>>,
{
    type Response = I::Response;

    fn poll(
        &self,
        pass: Pin<&mut Self::Pass>,
        parcel: &mut Parcel<Request<B>>,
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
