use std::{mem, sync::Arc};

use opentelemetry::{
    Context, KeyValue,
    trace::{SpanBuilder, SpanKind, Status, TraceContextExt},
};
use tokio::time::Instant;

use super::{Side, names, tracer};
use crate::{
    clock,
    error::{BoxError, Reason, Rejected},
    event::Outcome,
    observer::Observer,
};

/// What the spans of a policy have in common.
#[derive(Clone, Debug)]
pub(super) struct Spans {
    pipeline: Arc<str>,
    side: Side,
}

impl Spans {
    pub(super) fn new(observer: &Observer, side: Side) -> Self {
        Self { pipeline: observer.name().as_str().into(), side }
    }

    fn builder(&self, attempt: u32, started: Instant) -> SpanBuilder {
        let mut attributes = Vec::with_capacity(4);
        attributes.push(KeyValue::new(names::PIPELINE, Arc::clone(&self.pipeline)));
        if attempt > 1 {
            let name =
                if self.side == Side::HttpClient { names::HTTP_RESEND_COUNT } else { names::RESEND_COUNT };
            attributes.push(KeyValue::new(name, i64::from(attempt - 1)));
        }
        SpanBuilder::from_name(self.pipeline.to_string())
            .with_kind(match self.side {
                Side::Internal => SpanKind::Internal,
                Side::Client | Side::HttpClient => SpanKind::Client,
                Side::Server => SpanKind::Server,
            })
            .with_start_time(clock::wall(started))
            .with_attributes(attributes)
    }

    /// Whether `outcome` is an error of the work on this side. A caller that went away is none, and neither is a
    /// request at fault, except to the one that made it.
    fn is_error(&self, outcome: Outcome) -> bool {
        match outcome {
            Outcome::Success | Outcome::Degraded | Outcome::Cancelled => false,
            Outcome::CallerFault => matches!(self.side, Side::Client | Side::HttpClient),
            Outcome::Transient
            | Outcome::Throttled
            | Outcome::Fault
            | Outcome::Timeout
            | Outcome::Rejected
            | Outcome::Panicked => true,
        }
    }
}

/// The span of one call or attempt.
#[derive(Debug)]
pub(super) enum Span {
    /// The work was never polled.
    Waiting,
    /// The context that the work runs in, with the span.
    Open(Context),
    /// Ended, or never made because nobody would get to see it.
    Closed,
}

impl Span {
    pub(super) const fn new() -> Self {
        Self::Waiting
    }

    /// Makes the span at the first poll, as a child of the span that the caller polls in.
    #[inline]
    pub(super) fn begin(&mut self, spans: &Spans, attempt: u32, started: Instant) {
        if let Self::Waiting = self {
            *self = match tracer::open(started, || spans.builder(attempt, started)) {
                Some(context) => Self::Open(context),
                None => Self::Closed,
            };
        }
    }

    /// Does a piece of the work inside the span.
    #[inline]
    pub(super) fn enter<T>(&self, work: impl FnOnce() -> T) -> T {
        let _attached = match self {
            Self::Open(context) => Some(context.clone().attach()),
            Self::Waiting | Self::Closed => None,
        };
        work()
    }

    /// Ends the span, as what came of the work says.
    #[inline]
    pub(super) fn end(&mut self, spans: &Spans, outcome: Outcome, error: Option<&BoxError>, now: Instant) {
        if let Self::Open(context) = mem::replace(self, Self::Closed) {
            end(&context, spans, outcome, error, now);
        }
    }
}

fn end(context: &Context, spans: &Spans, outcome: Outcome, error: Option<&BoxError>, now: Instant) {
    let span = context.span();
    span.set_attribute(KeyValue::new(names::OUTCOME, outcome.as_str()));
    if spans.is_error(outcome) {
        let reason = error.and_then(|error| Rejected::find(&**error)).map(Rejected::reason);
        span.set_attribute(KeyValue::new(names::ERROR_TYPE, reason.map_or(outcome.as_str(), Reason::as_str)));
        // The description stays empty: an error's message may hold what must not leave the process.
        span.set_status(Status::error(""));
    }
    span.end_with_timestamp(clock::wall(now));
}
