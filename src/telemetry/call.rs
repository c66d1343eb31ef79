use std::{
    panic::{AssertUnwindSafe, catch_unwind, resume_unwind},
    pin::Pin,
    task::{Context, Poll},
    time::Duration,
};

use pin_project_lite::pin_project;
use tokio::time::Instant;

use super::{Side, Span, SpanEnd, Spans, outcome_of};
use crate::{
    class::Ending,
    error::BoxError,
    event::{Event, Outcome},
    observer::Observer,
    policy::{Course, Lend, Parcel, Policy, Poller, Seat, Slot, sealed::Sealed},
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

    #[inline]
    fn tell(&self, course: &mut Course, outcome: Outcome, elapsed: Duration) {
        course.enrolled.tell(outcome, elapsed);
        let (synthetic, injected) = (course.call.synthetic, course.injected);
        self.observer.emit(Event::CallFinished { outcome, elapsed, synthetic, injected });
    }
}

pin_project! {
    /// The pass of a [`CallTelemetryPolicy`].
    #[derive(Debug)]
    pub struct CallTelemetryPass<P> {
        // When the call began; taken when its end is told, so that it is told once whatever panics meanwhile.
        began: Option<Instant>,
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

    fn pass(&self) -> Self::Pass {
        CallTelemetryPass { began: None, span: Span::new(), inner: self.inner.pass() }
    }

    fn begin(&self, pass: Pin<&mut Self::Pass>, parcel: &mut Parcel<Req>, course: &mut Course) {
        let pass = pass.project();
        *pass.began = Some(course.call.started());
        self.inner.begin(pass.inner, parcel, course);
    }

    fn abandon(&self, pass: Pin<&mut Self::Pass>, course: &mut Course, ending: Ending, now: Instant) {
        let pass = pass.project();
        if let Some(began) = pass.began.take() {
            // What is dropped in there is somebody else's code: its panic goes on, and costs no count.
            let inner = catch_unwind(AssertUnwindSafe(|| {
                pass.span.enter(|| self.inner.abandon(pass.inner, course, ending, now));
            }));
            let outcome = outcome_of(ending);
            let elapsed = now.saturating_duration_since(began);
            pass.span.enter(|| self.tell(course, outcome, elapsed));
            let error = self.side.error_type(outcome, None);
            pass.span.end(|| SpanEnd { outcome, error, now });
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
        parcel: &mut Parcel<Req>,
        seat: &mut Seat<S>,
        cx: &mut Poller<'_, '_>,
        out: &mut Slot<Self::Response>,
    ) -> Poll<()> {
        let pass = pass.project();
        let began = pass.began.expect("a call is not polled again once it was answered");
        pass.span.begin(began, || Some(self.spans.plain(1)));
        let poll = pass.span.enter(|| self.inner.poll(pass.inner, parcel, seat, cx, out));
        if poll.is_ready() {
            *pass.began = None;
            let outcome = out.outcome();
            let elapsed = cx.since(began);
            // Inside, so that a line in a log is found by it.
            pass.span.enter(|| self.tell(cx.course, outcome, elapsed));
            pass.span.end(|| {
                let error = self.side.error_type(outcome, out.result().err());
                SpanEnd { outcome, error, now: cx.now() }
            });
        }
        poll
    }

    fn poll_ready(&self, seat: &mut Seat<S>, cx: &mut Context<'_>) -> Poll<Result<(), BoxError>> {
        self.inner.poll_ready(seat, cx)
    }
}
