use std::{
    mem,
    panic::{AssertUnwindSafe, catch_unwind, resume_unwind},
    pin::Pin,
    sync::Arc,
    task::{Context, Poll, ready},
};

use http::{Request, Response, StatusCode};
use http_body::Body;
use pin_project_lite::pin_project;
use tokio::time::Instant;

use super::{
    body::{Telling, ToldBody},
    open::{Open, Seen, Teller, Verdict, length},
    trace,
};
use crate::{
    call::Call,
    class::Ending,
    error::BoxError,
    event::Outcome,
    policy::{Answer, Lend, Policy, Poller, Seat, sealed::Sealed},
    telemetry::{Prepared, Span, outcome_of},
};

/// Tells of a part of a stack over HTTP, until the bodies of the answers end: the spans and requests by the conventions for HTTP, the ends of calls.
#[derive(Clone, Debug)]
pub struct HttpTelemetryPolicy<I> {
    /// Shared by the bodies, which outlive their calls.
    teller: Arc<Teller>,
    inner: I,
}

impl<I> HttpTelemetryPolicy<I> {
    pub(crate) fn new(teller: Arc<Teller>, inner: I) -> Self {
        Self { teller, inner }
    }

    pub(super) fn teller(&self) -> &Teller {
        &self.teller
    }
}

pin_project! {
    /// The pass of an [`HttpTelemetryPolicy`].
    #[derive(Debug)]
    pub struct HttpTelemetryPass<P> {
        progress: Progress,
        head_alone: bool,
        #[pin]
        inner: P,
    }
}

#[derive(Debug)]
enum Progress {
    /// Never polled.
    Waiting(Seen, Option<Box<Prepared>>),
    /// Begun, and not answered.
    Begun(Open),
    /// Its end was told, or is told by the body of its answer.
    Over,
}

/// Tells of a call that panics before it has a pass.
struct Panics<'a> {
    teller: &'a Arc<Teller>,
    seen: Seen,
    prepared: Option<Box<Prepared>>,
    started: Instant,
}

impl Drop for Panics<'_> {
    fn drop(&mut self) {
        if self.teller.part.is_call() {
            let open = begin(self.teller, &self.seen, self.prepared.take(), self.started);
            open.end(Verdict::on_drop(self.teller.part, Outcome::Panicked), 0, Instant::now());
        }
    }
}

fn begin(teller: &Arc<Teller>, seen: &Seen, prepared: Option<Box<Prepared>>, now: Instant) -> Open {
    let mut span = Span::new();
    span.begin(now, || prepared.map(|prepared| *prepared));
    Open::begin(teller, seen, span, now)
}

impl<I> Sealed for HttpTelemetryPolicy<I> {}

impl<I, S, B> Lend<S, Request<B>> for HttpTelemetryPolicy<I>
where
    I: Lend<S, Request<B>>,
{
    type Pass = HttpTelemetryPass<I::Pass>;

    fn start(&self, call: Call, request: Request<B>) -> Self::Pass {
        // Functions of the user are asked about the request, here and further in. A call that ends by a panic of theirs has
        // no pass.
        let mut panics =
            Panics { teller: &self.teller, seen: Seen::default(), prepared: None, started: call.started };
        panics.seen = Seen::of(&self.teller, &request);
        panics.prepared = trace::prepare(&self.teller, &panics.seen, &call, &request);
        let inner = self.inner.start(call, request);
        let (seen, prepared) = (panics.seen, panics.prepared.take());
        mem::forget(panics);
        HttpTelemetryPass { head_alone: seen.head_alone, progress: Progress::Waiting(seen, prepared), inner }
    }

    fn abandon(&self, pass: Pin<&mut Self::Pass>, ending: Ending, now: Instant) {
        let pass = pass.project();
        match mem::replace(pass.progress, Progress::Over) {
            Progress::Begun(open) => {
                // What is dropped in there is somebody else's code: its panic goes on, and costs no count.
                let inner = catch_unwind(AssertUnwindSafe(|| {
                    open.span.enter(|| self.inner.abandon(pass.inner, ending, now));
                }));
                open.end(Verdict::on_drop(self.teller.part, outcome_of(ending)), 0, now);
                inner.unwrap_or_else(|panic| resume_unwind(panic));
            }
            Progress::Waiting(..) => self.inner.abandon(pass.inner, ending, now),
            Progress::Over => {}
        }
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
        seat: &mut Seat<S>,
        cx: &mut Poller<'_, '_>,
    ) -> Poll<Answer<Self::Response>> {
        let pass = pass.project();
        if let Progress::Waiting(seen, prepared) = pass.progress {
            let open = begin(&self.teller, seen, prepared.take(), cx.now());
            *pass.progress = Progress::Begun(open);
        }
        let Progress::Begun(open) = &*pass.progress else {
            panic!("a call is not polled again once it was answered")
        };
        let answer = ready!(open.span.enter(|| self.inner.poll(pass.inner, seat, cx)));
        let Progress::Begun(open) = mem::replace(pass.progress, Progress::Over) else {
            unreachable!("nobody else has the pass")
        };
        let verdict = Verdict::on(self.teller.part, &answer);
        let has_body = answer.result.as_ref().is_ok_and(|response| !*pass.head_alone && goes_on(response));
        if !has_body {
            open.end(verdict, 0, cx.now());
            return Poll::Ready(answer.map(|response| response.map(|body| ToldBody::new(body, None))));
        }
        Poll::Ready(answer.map(|response| {
            let promised = length(response.headers());
            let telling = Telling { open, verdict, promised, passed: 0, polling: false };
            response.map(|body| ToldBody::new(body, Some(telling)))
        }))
    }

    fn poll_ready(&self, seat: &mut Seat<S>, cx: &mut Context<'_>) -> Poll<Result<(), BoxError>> {
        self.inner.poll_ready(seat, cx)
    }
}

/// Whether there is more to an answer than its head.
fn goes_on<B: Body>(response: &Response<B>) -> bool {
    let bodiless = matches!(response.status(), StatusCode::NO_CONTENT | StatusCode::NOT_MODIFIED);
    !bodiless && !response.body().is_end_stream()
}
