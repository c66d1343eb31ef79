use std::{
    panic::{AssertUnwindSafe, catch_unwind, resume_unwind},
    pin::Pin,
    task::{Context, Poll, ready},
    time::Duration,
};

use pin_project_lite::pin_project;
use tokio::time::Instant;

use super::{Delivery, told::Told, trace};
use crate::{
    class::Ending,
    error::BoxError,
    event::{Event, Outcome},
    observer::Observer,
    policy::{Answer, Course, Lend, Parcel, Policy, Poller, Seat, Slot, sealed::Sealed},
    telemetry::{Prepared, Side, Span, SpanEnd, Spans, outcome_of},
};

/// Tells of each delivery once: how it ended for the queue and for the handler, and how long it took. The outermost policy of
/// a consumer; whatever comes from further in, there is a [`Delivery`].
pub struct DeliveryTelemetryPolicy<M, I> {
    observer: Observer,
    told: Told<M>,
    spans: Spans,
    redeliver_after: Duration,
    inner: I,
}

impl<M, I> DeliveryTelemetryPolicy<M, I> {
    pub(crate) fn new(observer: Observer, told: Told<M>, redeliver_after: Duration, inner: I) -> Self {
        Self { spans: Spans::new(&observer, Side::Consumer), observer, told, redeliver_after, inner }
    }

    fn tell(
        &self,
        course: &mut Course,
        span: &mut Span,
        outcome: Outcome,
        error: Option<&BoxError>,
        (began, now): (Instant, Instant),
    ) {
        let error = Side::Consumer.error_type(outcome, error);
        let elapsed = now.saturating_duration_since(began);
        // Inside, so that a line in a log is found by it.
        span.enter(|| {
            course.enrolled.tell(outcome, elapsed);
            if let Some(source) = self.told.source {
                self.observer.emit(Event::MessageProcessed { source, error, elapsed });
            }
            let (synthetic, injected) = (course.call.synthetic, course.injected);
            self.observer.emit(Event::CallFinished { outcome, elapsed, synthetic, injected });
        });
        span.end(|| SpanEnd { outcome, error, now });
    }
}

pin_project! {
    /// The pass of a [`DeliveryTelemetryPolicy`].
    #[derive(Debug)]
    pub struct DeliveryTelemetryPass<P> {
        // When the delivery began; taken when its end is told, so that it is told once whatever panics meanwhile.
        began: Option<Instant>,
        prepared: Option<Box<Prepared>>,
        span: Span,
        #[pin]
        inner: P,
    }
}

impl<M, I> Sealed for DeliveryTelemetryPolicy<M, I> {}

impl<M, I, S> Lend<S, M> for DeliveryTelemetryPolicy<M, I>
where
    I: Lend<S, M>,
{
    type Pass = DeliveryTelemetryPass<I::Pass>;

    fn pass(&self) -> Self::Pass {
        DeliveryTelemetryPass { began: None, prepared: None, span: Span::new(), inner: self.inner.pass() }
    }

    fn begin(&self, pass: Pin<&mut Self::Pass>, parcel: &mut Parcel<M>, course: &mut Course) {
        let pass = pass.project();
        let started = course.call.started();
        *pass.began = Some(started);
        *pass.prepared = trace::prepare(&self.spans, &self.told, started, parcel.request());
        self.inner.begin(pass.inner, parcel, course);
    }

    fn abandon(&self, pass: Pin<&mut Self::Pass>, course: &mut Course, ending: Ending, now: Instant) {
        let pass = pass.project();
        if let Some(began) = pass.began.take() {
            // What is dropped in there is somebody else's code: its panic goes on, and costs no count.
            let inner = catch_unwind(AssertUnwindSafe(|| {
                pass.span.enter(|| self.inner.abandon(pass.inner, course, ending, now));
            }));
            self.tell(course, pass.span, outcome_of(ending), None, (began, now));
            inner.unwrap_or_else(|panic| resume_unwind(panic));
        }
    }
}

impl<M, I, S> Policy<S, M> for DeliveryTelemetryPolicy<M, I>
where
    I: Policy<S, M, Response = Delivery>,
{
    type Response = Delivery;

    fn poll(
        &self,
        pass: Pin<&mut Self::Pass>,
        parcel: &mut Parcel<M>,
        seat: &mut Seat<S>,
        cx: &mut Poller<'_, '_>,
        out: &mut Slot<Delivery>,
    ) -> Poll<()> {
        let pass = pass.project();
        let began = pass.began.expect("a delivery is not polled again once it was answered");
        pass.span.begin(began, || pass.prepared.take().map(|prepared| *prepared));
        ready!(pass.span.enter(|| self.inner.poll(pass.inner, parcel, seat, cx, out)));
        let Answer { result, class, outcome, .. } = out.take();
        *pass.began = None;
        let now = cx.now();
        self.tell(cx.course, pass.span, outcome, result.as_ref().err(), (began, now));
        // Something at the ingress kept the message from the handler.
        let delivery = result.unwrap_or(Delivery::Nack { after: self.redeliver_after });
        self.observer.emit(Event::Delivered { result: delivery.result() });
        out.put(Answer::new(Ok(delivery), class, outcome))
    }

    fn poll_ready(&self, seat: &mut Seat<S>, cx: &mut Context<'_>) -> Poll<Result<(), BoxError>> {
        self.inner.poll_ready(seat, cx)
    }
}
