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
    open::{Open, Seen, Teller, length},
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
        progress: Progress,
        head_alone: bool,
        #[pin]
        inner: P,
    }
}

#[derive(Debug)]
enum Progress {
    /// Never polled, or no attempt was let in.
    Waiting(Ahead),
    /// Begun, and not answered.
    Begun(Open),
    /// Its end was told, or is told by the body of its answer.
    Over,
}

/// What is known of what is to begin.
#[derive(Debug, Default)]
struct Ahead {
    seen: Seen,
    prepared: Option<Box<Prepared>>,
}

impl Ahead {
    fn begin(self, teller: &Arc<Teller>, now: Instant) -> Open {
        let mut span = Span::new();
        span.begin(now, || self.prepared.map(|prepared| *prepared));
        Open::begin(teller, self.seen, span, now)
    }
}

/// Tells of a call that panics before it has a pass.
struct Panics<'a> {
    teller: &'a Arc<Teller>,
    ahead: Ahead,
    started: Instant,
}

impl Drop for Panics<'_> {
    fn drop(&mut self) {
        if self.teller.part.is_call() {
            let open = mem::take(&mut self.ahead).begin(self.teller, self.started);
            let verdict = self.teller.judge.on_drop(self.teller.part, Outcome::Panicked);
            open.end(verdict, 0, Instant::now());
        }
    }
}

impl Progress {
    /// Begins what has not begun.
    fn begin(&mut self, teller: &Arc<Teller>, now: Instant) -> Option<&Open> {
        *self = match mem::replace(self, Self::Over) {
            Self::Waiting(ahead) => Self::Begun(ahead.begin(teller, now)),
            begun => begun,
        };
        if let Self::Begun(open) = self { Some(open) } else { None }
    }
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
        let mut panics = Panics { teller: &self.teller, ahead: Ahead::default(), started: call.started };
        panics.ahead.seen = Seen::of(&self.teller, &request);
        panics.ahead.prepared = trace::prepare(&self.teller, &panics.ahead.seen, &call, &request);
        let inner = self.inner.start(call, request);
        let ahead = mem::take(&mut panics.ahead);
        mem::forget(panics);
        HttpTelemetryPass { head_alone: ahead.seen.head_alone, progress: Progress::Waiting(ahead), inner }
    }

    fn abandon(&self, pass: Pin<&mut Self::Pass>, ending: Ending, now: Instant) {
        let pass = pass.project();
        match mem::replace(pass.progress, Progress::Over) {
            Progress::Begun(open) => {
                // What is dropped in there is somebody else's code: its panic goes on, and costs no count.
                let inner = catch_unwind(AssertUnwindSafe(|| {
                    open.enter(|| self.inner.abandon(pass.inner, ending, now));
                }));
                open.end(self.teller.judge.on_drop(self.teller.part, outcome_of(ending)), 0, now);
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
        let teller = &self.teller;
        let inner = |cx: &mut Poller<'_, '_>| self.inner.poll(pass.inner, seat, cx);
        let answer = match pass.progress {
            Progress::Waiting(_) if teller.awaits_attempt() => {
                let (mut entered, progress) = (None, &mut *pass.progress);
                let mut begin = |now| {
                    // Whatever follows in this poll is inside.
                    if entered.is_none() {
                        entered = progress.begin(teller, now).map(|open| open.span.attach());
                    }
                };
                cx.hearing(&mut begin, inner)
            }
            Progress::Waiting(_) => {
                let open = pass.progress.begin(teller, cx.now()).expect("it has just begun");
                open.enter(|| inner(cx))
            }
            Progress::Begun(open) => open.enter(|| inner(cx)),
            Progress::Over => panic!("a call is not polled again once it was answered"),
        };
        let answer = ready!(answer);
        let Progress::Begun(open) = mem::replace(pass.progress, Progress::Over) else {
            // No attempt was let in, and there is nothing to tell.
            return Poll::Ready(answer.map(|response| response.map(|body| ToldBody::new(body, None))));
        };
        let verdict = teller.judge.on_answer(teller.part, &answer);
        if answer.result.is_err() {
            open.end(verdict, 0, cx.now());
            return Poll::Ready(answer.map(|response| response.map(|body| ToldBody::new(body, None))));
        }
        Poll::Ready(answer.map(|response| {
            let telling = Telling::new(open, verdict, length(response.headers()));
            if !*pass.head_alone && goes_on(&response) {
                return response.map(|body| ToldBody::new(body, Some(telling)));
            }
            telling.ended(None, cx.now());
            response.map(|body| ToldBody::new(body, None))
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
