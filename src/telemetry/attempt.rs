use std::{
    pin::Pin,
    task::{Context, Poll},
    time::Duration,
};

use pin_project_lite::pin_project;
use tokio::time::Instant;

use super::{Side, Span, SpanEnd, Spans, outcome_of};
use crate::{
    call::Call,
    class::{Class, Ending},
    error::BoxError,
    event::{Event, Outcome},
    observer::Observer,
    policy::{Course, Lend, Parcel, Policy, Poller, Seat, Slot, sealed::Sealed},
};

/// Tells of each attempt at the transport once. It stands inside the policies that can refuse an attempt.
///
/// An attempt starts when it is first polled, which is after any wait for a place. One that was never polled, or that
/// something further in refused on this side, is no attempt.
#[derive(Clone, Debug)]
pub struct AttemptTelemetryPolicy<I> {
    observer: Observer,
    /// `None` where another policy makes spans by the conventions of its protocol.
    spans: Option<Spans>,
    inner: I,
}

impl<I> AttemptTelemetryPolicy<I> {
    pub(crate) fn new(observer: Observer, inner: I) -> Self {
        Self { spans: Some(Spans::new(&observer, Side::Client)), observer, inner }
    }

    /// Without spans of its own: those are made by the conventions of the protocol.
    #[cfg(feature = "http")]
    pub(crate) fn without_spans(self) -> Self {
        Self { spans: None, ..self }
    }

    fn tell(&self, &Call { attempt, kind, .. }: &Call, outcome: Outcome, elapsed: Duration) {
        self.observer.emit(Event::AttemptFinished { attempt, kind, outcome, elapsed });
    }
}

pin_project! {
    /// The pass of an [`AttemptTelemetryPolicy`].
    #[derive(Debug)]
    pub struct AttemptTelemetryPass<P> {
        progress: Progress,
        span: Span,
        #[pin]
        inner: P,
    }
}

#[derive(Clone, Copy, Debug)]
enum Progress {
    /// Never polled.
    Waiting,
    /// First polled at this instant.
    Started(Instant),
    /// Its end was told.
    Told,
}

impl<I> Sealed for AttemptTelemetryPolicy<I> {}

impl<I, S, Req> Lend<S, Req> for AttemptTelemetryPolicy<I>
where
    I: Lend<S, Req>,
{
    type Pass = AttemptTelemetryPass<I::Pass>;

    fn pass(&self) -> Self::Pass {
        AttemptTelemetryPass { progress: Progress::Waiting, span: Span::new(), inner: self.inner.pass() }
    }

    fn begin(&self, pass: Pin<&mut Self::Pass>, parcel: &mut Parcel<Req>, course: &mut Course) {
        self.inner.begin(pass.project().inner, parcel, course);
    }

    fn abandon(&self, pass: Pin<&mut Self::Pass>, course: &mut Course, ending: Ending, now: Instant) {
        let pass = pass.project();
        let progress = std::mem::replace(pass.progress, Progress::Told);
        if let Progress::Told = progress {
            return;
        }
        pass.span.enter(|| self.inner.abandon(pass.inner, course, ending, now));
        if let Progress::Started(started) = progress {
            let outcome = outcome_of(ending);
            let error = Side::Client.error_type(outcome, None);
            pass.span.end(|| SpanEnd { outcome, error, now });
            self.tell(&course.call, outcome, now.saturating_duration_since(started));
        }
    }
}

impl<I, S, Req> Policy<S, Req> for AttemptTelemetryPolicy<I>
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
        if let Progress::Waiting = *pass.progress {
            let now = cx.now();
            *pass.progress = Progress::Started(now);
            cx.admit();
            let Call { attempt, kind, .. } = cx.course.call;
            pass.span.begin(now, || self.spans.as_ref().map(|spans| spans.plain(attempt)));
            self.observer.emit(Event::AttemptStarted { attempt, kind });
        }
        let poll = pass.span.enter(|| self.inner.poll(pass.inner, parcel, seat, cx, out));
        if let (true, Progress::Started(started)) = (poll.is_ready(), *pass.progress) {
            *pass.progress = Progress::Told;
            let outcome = out.outcome();
            pass.span.end(|| {
                let error = Side::Client.error_type(outcome, out.result().err());
                SpanEnd { outcome, error, now: cx.now() }
            });
            if (out.class(), outcome) != (Class::Neutral, Outcome::Rejected) {
                let elapsed = cx.since(started);
                self.tell(&cx.course.call, outcome, elapsed);
            }
        }
        poll
    }

    fn poll_ready(&self, seat: &mut Seat<S>, cx: &mut Context<'_>) -> Poll<Result<(), BoxError>> {
        self.inner.poll_ready(seat, cx)
    }
}
