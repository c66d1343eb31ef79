use std::{
    mem,
    panic::{AssertUnwindSafe, catch_unwind, resume_unwind},
    pin::Pin,
    task::{Context, Poll, ready},
    time::Duration,
};

use pin_project_lite::pin_project;
use tokio::time::Instant;

use super::{Delivery, told::Told, trace};
use crate::{
    call::Call,
    class::Ending,
    error::BoxError,
    event::{Event, Outcome},
    observer::Observer,
    policy::{Answer, Lend, Policy, Poller, Seat, sealed::Sealed},
    telemetry::{Prepared, Side, Span, SpanEnd, Spans, outcome_of},
    trial::Enrolled,
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
        Begun { started, synthetic }: Begun,
        (enrolled, span): (&mut Enrolled, &mut Span),
        outcome: Outcome,
        error: Option<&BoxError>,
        now: Instant,
    ) {
        let error = Side::Consumer.error_type(outcome, error);
        span.end(|| SpanEnd { outcome, error, now });
        let elapsed = now.saturating_duration_since(started);
        enrolled.tell(outcome, elapsed);
        if let Some(source) = self.told.source {
            self.observer.emit(Event::MessageProcessed { source, error, elapsed });
        }
        self.observer.emit(Event::CallFinished { outcome, elapsed, synthetic });
    }
}

/// A delivery whose end is to be told.
#[derive(Clone, Copy, Debug)]
struct Begun {
    started: Instant,
    synthetic: bool,
}

/// Tells of a delivery that panics before it has a pass.
struct Panics<'a, M, I> {
    policy: &'a DeliveryTelemetryPolicy<M, I>,
    begun: Begun,
}

impl<M, I> Drop for Panics<'_, M, I> {
    fn drop(&mut self) {
        let parts = (&mut Enrolled::collect(), &mut Span::new());
        self.policy.tell(self.begun, parts, Outcome::Panicked, None, Instant::now());
    }
}

pin_project! {
    /// The pass of a [`DeliveryTelemetryPolicy`].
    #[derive(Debug)]
    pub struct DeliveryTelemetryPass<P> {
        // Taken when its end is told, so that it is told once whatever panics meanwhile.
        begun: Option<Begun>,
        enrolled: Enrolled,
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

    fn start(&self, call: Call, message: M) -> Self::Pass {
        // Further in, the message is cloned, and functions of the user are asked about it.
        let begun = Begun { started: call.started, synthetic: call.synthetic };
        let panics = Panics { policy: self, begun };
        let prepared = trace::prepare(&self.spans, &self.told, &call, &message);
        let inner = self.inner.start(call, message);
        mem::forget(panics);
        let enrolled = Enrolled::collect();
        DeliveryTelemetryPass { begun: Some(begun), enrolled, prepared, span: Span::new(), inner }
    }

    fn abandon(&self, pass: Pin<&mut Self::Pass>, ending: Ending, now: Instant) {
        let pass = pass.project();
        if let Some(begun) = pass.begun.take() {
            // What is dropped in there is somebody else's code: its panic goes on, and costs no count.
            let inner = catch_unwind(AssertUnwindSafe(|| {
                pass.span.enter(|| self.inner.abandon(pass.inner, ending, now));
            }));
            self.tell(begun, (pass.enrolled, pass.span), outcome_of(ending), None, now);
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
        seat: &mut Seat<S>,
        cx: &mut Poller<'_, '_>,
    ) -> Poll<Answer<Delivery>> {
        let pass = pass.project();
        if let Some(Begun { started, .. }) = *pass.begun {
            pass.span.begin(started, || pass.prepared.take().map(|prepared| *prepared));
        }
        let Answer { result, class, outcome, .. } =
            ready!(pass.span.enter(|| self.inner.poll(pass.inner, seat, cx)));
        if let Some(begun) = pass.begun.take() {
            self.tell(begun, (pass.enrolled, pass.span), outcome, result.as_ref().err(), cx.now());
        }
        // Something at the ingress kept the message from the handler.
        let delivery = result.unwrap_or(Delivery::Nack { after: self.redeliver_after });
        self.observer.emit(Event::Delivered { result: delivery.result() });
        Poll::Ready(Answer::new(Ok(delivery), class, outcome))
    }

    fn poll_ready(&self, seat: &mut Seat<S>, cx: &mut Context<'_>) -> Poll<Result<(), BoxError>> {
        self.inner.poll_ready(seat, cx)
    }
}
