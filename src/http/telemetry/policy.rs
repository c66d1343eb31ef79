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

use super::{body::ToldBody, held::Held, teller::Teller};
use crate::{
    class::Ending,
    error::BoxError,
    policy::{Answer, Course, Lend, Parcel, Policy, Poller, Seat, sealed::Sealed},
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
        open.see(&course.call, parcel.request());
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
        }
        // What is dropped in there is somebody else's code: its panic goes on, and costs no count.
        let inner = catch_unwind(AssertUnwindSafe(|| {
            open.enter(|| self.inner.abandon(pass.inner, course, ending, now));
        }));
        open.injected = course.injected;
        if open.has_begun() {
            open.end(self.teller.judge.on_drop(self.teller.part, outcome_of(ending)), now);
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
    ) -> Poll<Answer<Self::Response>> {
        let pass = pass.project();
        let teller = &self.teller;
        let inner = |cx: &mut Poller<'_, '_>| self.inner.poll(pass.inner, parcel, seat, cx);
        let open = pass.open.as_mut().expect("a call is not polled again once it was answered");
        let answer = if teller.awaits_attempt() && !open.has_begun() {
            let mut entered = None;
            let mut begin = |now| {
                // Whatever follows in this poll is inside.
                if entered.is_none() {
                    open.begin(now);
                    entered = Some(open.span.attach());
                }
            };
            cx.hearing(&mut begin, inner)
        } else {
            if !open.has_begun() {
                open.begin(cx.now());
            }
            open.enter(|| inner(cx))
        };
        let answer = ready!(answer);
        if teller.part.is_call() {
            open.enrolled = mem::take(&mut cx.course.enrolled);
        }
        open.injected = cx.course.injected;
        let verdict = teller.judge.on_answer(teller.part, &answer);
        match &answer.result {
            // If no attempt was let in, there is nothing to tell.
            _ if !open.has_begun() => *pass.open = None,
            Ok(response) if open.answered(verdict, response) => {}
            result => {
                let mut open = pass.open.take().expect("it was there above");
                match result {
                    Ok(_) => open.ended(None, cx.now()),
                    Err(_) => open.end(verdict, cx.now()),
                }
            }
        }
        Poll::Ready(answer.map(|response| response.map(|body| ToldBody::new(body, pass.open.take()))))
    }

    fn poll_ready(&self, seat: &mut Seat<S>, cx: &mut Context<'_>) -> Poll<Result<(), BoxError>> {
        self.inner.poll_ready(seat, cx)
    }
}
