use std::{
    mem,
    panic::{AssertUnwindSafe, catch_unwind, resume_unwind},
    pin::Pin,
    task::{Context, Poll},
    time::Duration,
};

use pin_project_lite::pin_project;
use tokio::time::Instant;

use super::{Side, Span, SpanEnd, Spans, outcome_of};
use crate::{
    call::Call,
    class::Ending,
    error::BoxError,
    event::{Event, Outcome},
    observer::Observer,
    policy::{Answer, Lend, Policy, Poller, Seat, sealed::Sealed},
    trial::Enrolled,
};

/// Tells of each call once: how it ended and how long it took. The outermost policy of a stack.
#[derive(Clone, Debug)]
pub struct CallTelemetryPolicy<I> {
    observer: Observer,
    side: Side,
    spans: Spans,
    inner: I,
}

impl<I> CallTelemetryPolicy<I> {
    pub(crate) fn new(observer: Observer, side: Side, inner: I) -> Self {
        Self { spans: Spans::new(&observer, side), side, observer, inner }
    }

    pub(super) fn observer(&self) -> &Observer {
        &self.observer
    }

    pub(super) fn inner(&self) -> &I {
        &self.inner
    }

    fn tell(&self, enrolled: &mut Enrolled, outcome: Outcome, elapsed: Duration, synthetic: bool) {
        enrolled.tell(outcome, elapsed);
        self.observer.emit(Event::CallFinished { outcome, elapsed, synthetic });
    }
}

/// Tells of a call that panics before it has a pass.
struct Panics<'a> {
    observer: &'a Observer,
    started: Instant,
    synthetic: bool,
}

impl Drop for Panics<'_> {
    fn drop(&mut self) {
        let elapsed = Instant::now().saturating_duration_since(self.started);
        let (outcome, synthetic) = (Outcome::Panicked, self.synthetic);
        Enrolled::collect().tell(outcome, elapsed);
        self.observer.emit(Event::CallFinished { outcome, elapsed, synthetic });
    }
}

pin_project! {
    /// The pass of a [`CallTelemetryPolicy`].
    #[derive(Debug)]
    pub struct CallTelemetryPass<P> {
        // When the call started; taken when its end is told, so that it is told once whatever panics meanwhile.
        started: Option<Instant>,
        enrolled: Enrolled,
        synthetic: bool,
        span: Span,
        #[pin]
        inner: P,
    }
}

impl<I> Sealed for CallTelemetryPolicy<I> {}

impl<I, S, Req> Lend<S, Req> for CallTelemetryPolicy<I>
where
    I: Lend<S, Req>,
{
    type Pass = CallTelemetryPass<I::Pass>;

    fn start(&self, call: Call, request: Req) -> Self::Pass {
        // Further in, functions of the user are asked about the request. A call that ends by a panic of theirs has no pass.
        let Call { started, synthetic, .. } = call;
        let panics = Panics { observer: &self.observer, started, synthetic };
        let inner = self.inner.start(call, request);
        mem::forget(panics);
        let enrolled = Enrolled::collect();
        CallTelemetryPass { started: Some(started), enrolled, synthetic, span: Span::new(), inner }
    }

    fn abandon(&self, pass: Pin<&mut Self::Pass>, ending: Ending, now: Instant) {
        let pass = pass.project();
        if let Some(started) = pass.started.take() {
            // What is dropped in there is somebody else's code: its panic goes on, and costs no count.
            let inner = catch_unwind(AssertUnwindSafe(|| {
                pass.span.enter(|| self.inner.abandon(pass.inner, ending, now));
            }));
            let outcome = outcome_of(ending);
            let error = self.side.error_type(outcome, None);
            pass.span.end(|| SpanEnd { outcome, error, now });
            let elapsed = now.saturating_duration_since(started);
            self.tell(pass.enrolled, outcome, elapsed, *pass.synthetic);
            inner.unwrap_or_else(|panic| resume_unwind(panic));
        }
    }
}

impl<I, S, Req> Policy<S, Req> for CallTelemetryPolicy<I>
where
    I: Policy<S, Req>,
{
    type Response = I::Response;

    fn poll(
        &self,
        pass: Pin<&mut Self::Pass>,
        seat: &mut Seat<S>,
        cx: &mut Poller<'_, '_>,
    ) -> Poll<Answer<Self::Response>> {
        let pass = pass.project();
        if let Some(started) = *pass.started {
            pass.span.begin(started, || Some(self.spans.plain(1)));
        }
        let poll = pass.span.enter(|| self.inner.poll(pass.inner, seat, cx));
        if let Poll::Ready(answer) = &poll {
            if let Some(started) = pass.started.take() {
                let outcome = answer.outcome;
                pass.span.end(|| {
                    let error = self.side.error_type(outcome, answer.result.as_ref().err());
                    SpanEnd { outcome, error, now: cx.now() }
                });
                self.tell(pass.enrolled, outcome, cx.since(started), *pass.synthetic);
            }
        }
        poll
    }

    fn poll_ready(&self, seat: &mut Seat<S>, cx: &mut Context<'_>) -> Poll<Result<(), BoxError>> {
        self.inner.poll_ready(seat, cx)
    }
}
