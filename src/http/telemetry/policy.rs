use std::{
    mem,
    panic::{AssertUnwindSafe, catch_unwind, resume_unwind},
    pin::Pin,
    sync::Arc,
    task::{Context, Poll, ready},
};

use http::{Request, Response};
use http_body::Body;
use pin_project_lite::pin_project;
use tokio::time::Instant;

use super::{body::ToldBody, held::Held, judge::Said, teller::Teller, trace};
use crate::{
    class::Ending,
    error::BoxError,
    head::Head,
    policy::{Course, Lend, Parcel, Policy, Poller, Seat, Slot, sealed::Sealed},
    telemetry::outcome_of,
};

/// Tells of a part of a stack over HTTP, until the bodies of the answers end: the spans and requests that the conventions ask
/// for, and the ends of calls.
#[derive(Clone, Debug)]
pub struct HttpTelemetryPolicy<I> {
    /// Shared by the bodies, which outlive their calls.
    teller: Arc<Teller>,
    inner: I,
}

impl<I> HttpTelemetryPolicy<I> {
    pub(crate) fn new(teller: Teller, inner: I) -> Self {
        Self { teller: Arc::new(teller), inner }
    }

    pub(super) fn teller(&self) -> &Teller {
        &self.teller
    }
}

pin_project! {
    /// The pass of an [`HttpTelemetryPolicy`].
    #[derive(Debug)]
    pub struct HttpTelemetryPass<P> {
        // `None` once its end was told, or is told by the body of its answer.
        open: Option<Held>,
        #[pin]
        inner: P,
    }
}

impl<I> Sealed for HttpTelemetryPolicy<I> {}

impl<I, S, B> Lend<S, Request<B>> for HttpTelemetryPolicy<I>
where
    I: Lend<S, Request<B>>,
{
    type Pass = HttpTelemetryPass<I::Pass>;

    fn pass(&self) -> Self::Pass {
        HttpTelemetryPass { open: None, inner: self.inner.pass() }
    }

    fn begin(&self, pass: Pin<&mut Self::Pass>, parcel: &mut Parcel<Request<B>>, course: &mut Course) {
        let pass = pass.project();
        // Functions of the user are asked about the request, here and further in. One that panics ends a call.
        let open = pass.open.insert(Held::new(&self.teller, course.call.started()));
        let request = parcel.request();
        open.see(&course.call, Head::of(request), request.version());
        // What is done for nobody's request is nobody's.
        course.call.synthetic = open.seen.synthetic;
        self.inner.begin(pass.inner, parcel, course);
    }

    fn abandon(&self, pass: Pin<&mut Self::Pass>, course: &mut Course, ending: Ending, now: Instant) {
        let pass = pass.project();
        let Some(mut open) = pass.open.take() else { return };
        if self.teller.part.is_call() {
            if !open.has_begun() {
                // A function of the user panicked over the request.
                open.begin(course.call.started());
            }
            open.enrolled = mem::take(&mut course.enrolled);
            trace::borrow(&mut open.span, course);
        }
        // What is dropped in there is somebody else's code: its panic goes on, and costs no count.
        let inner = catch_unwind(AssertUnwindSafe(|| {
            open.enter(|| self.inner.abandon(pass.inner, course, ending, now));
        }));
        open.injected = course.injected;
        if open.has_begun() {
            open.answer.verdict = self.teller.judge.on_drop(self.teller.part, outcome_of(ending));
            open.end(now);
        }
        inner.unwrap_or_else(|panic| resume_unwind(panic));
    }
}

impl<I, S, B, RB> Policy<S, Request<B>> for HttpTelemetryPolicy<I>
where
    I: Policy<S, Request<B>, Response = Response<RB>>,
    RB: Body,
{
    type Response = Response<ToldBody<RB>>;

    fn poll(
        &self,
        pass: Pin<&mut Self::Pass>,
        parcel: &mut Parcel<Request<B>>,
        seat: &mut Seat<S>,
        cx: &mut Poller<'_, '_>,
        out: &mut Slot<Self::Response>,
    ) -> Poll<()> {
        let pass = pass.project();
        let teller = &self.teller;
        let mut slot = Slot::new();
        let inner = |cx: &mut Poller<'_, '_>| self.inner.poll(pass.inner, parcel, seat, cx, &mut slot);
        let open = pass.open.as_mut().expect("a call is not polled again once it was answered");
        let poll = if teller.awaits_attempt() && !open.has_begun() {
            let mut entered = None;
            let mut begin = |now| {
                // Whatever follows in this poll is inside.
                if entered.is_none() {
                    open.begin(now);
                    entered = Some(open.span.attach());
                }
            };
            let poll = cx.hearing(&mut begin, inner);
            trace::lend(&open.span, cx.course);
            poll
        } else {
            if !open.has_begun() {
                open.begin(cx.now());
            }
            open.enter(|| inner(cx))
        };
        ready!(poll);
        if teller.part.is_call() {
            mem::swap(&mut open.enrolled, &mut cx.course.enrolled);
            trace::borrow(&mut open.span, cx.course);
        }
        open.injected = cx.course.injected;
        let goes_on = match slot.result() {
            // If no attempt was let in, there is nothing to tell.
            _ if !open.has_begun() => false,
            Ok(response) => {
                let (said, ends) = (Said::by(response), response.body().is_end_stream());
                let goes_on = open.answered(slot.class(), slot.outcome(), said, ends);
                if goes_on {
                    open.promises(|| response.body().size_hint());
                } else {
                    open.ended(None, cx.now());
                }
                goes_on
            }
            Err(error) => {
                open.failed(slot.outcome(), error, cx.now());
                false
            }
        };
        let open = pass.open.take().filter(|_| goes_on);
        out.put_changed(slot, |response| response.map(|body| ToldBody::new(body, open)))
    }

    fn poll_ready(&self, seat: &mut Seat<S>, cx: &mut Context<'_>) -> Poll<Result<(), BoxError>> {
        self.inner.poll_ready(seat, cx)
    }
}
