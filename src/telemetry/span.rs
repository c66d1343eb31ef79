use std::{borrow::Cow, mem, sync::Arc};

use opentelemetry::{
    Context, ContextGuard, KeyValue,
    trace::{SpanBuilder, SpanKind, Status, TraceContextExt},
};
use tokio::time::Instant;

use super::{Side, names, tracer};
use crate::{clock, event::Outcome, observer::Observer};

/// What the spans of a policy have in common.
#[derive(Clone, Debug)]
pub(crate) struct Spans {
    pipeline: Arc<str>,
    side: Side,
}

impl Spans {
    pub(crate) fn new(observer: &Observer, side: Side) -> Self {
        Self { pipeline: observer.name().as_str().into(), side }
    }

    /// A span that is called like the pipeline.
    pub(crate) fn plain(&self, attempt: u32) -> Prepared {
        let mut prepared = self.named(self.pipeline.to_string());
        if attempt > 1 {
            prepared.note(names::RESEND_COUNT, i64::from(attempt - 1));
        }
        prepared
    }

    /// A span of this name.
    pub(crate) fn named(&self, name: impl Into<Cow<'static, str>>) -> Prepared {
        let mut attributes = Vec::with_capacity(12);
        attributes.push(KeyValue::new(names::PIPELINE, Arc::clone(&self.pipeline)));
        let builder = SpanBuilder::from_name(name)
            .with_kind(match self.side {
                Side::Internal => SpanKind::Internal,
                Side::Client => SpanKind::Client,
                Side::Server => SpanKind::Server,
                Side::Consumer => SpanKind::Consumer,
            })
            .with_attributes(attributes);
        Prepared { builder, parent: None }
    }
}

/// What a span is made of. A sampler decides by it, so it is there before the span is.
#[derive(Debug)]
pub(crate) struct Prepared {
    pub(super) builder: SpanBuilder,
    /// `None` for the context that the work is begun in.
    pub(super) parent: Option<Context>,
}

impl Prepared {
    /// Adds an attribute.
    pub(crate) fn note(&mut self, key: &'static str, value: impl Into<opentelemetry::Value>) {
        self.builder.attributes.get_or_insert_default().push(KeyValue::new(key, value));
    }

    /// Makes it a child of what came from the caller instead of the work that it is begun in.
    pub(crate) fn child_of(&mut self, parent: Context) {
        self.parent = Some(parent);
    }

    /// Adds a link to a span that is no ancestor.
    pub(crate) fn link(&mut self, context: opentelemetry::trace::SpanContext) {
        self.builder.links.get_or_insert_default().push(opentelemetry::trace::Link::with_context(context));
    }
}

/// How the work of a span ended.
#[derive(Clone, Copy, Debug)]
pub(crate) struct SpanEnd {
    pub(crate) outcome: Outcome,
    /// What kind of error it was, if it was one of this side.
    pub(crate) error: Option<&'static str>,
    pub(crate) now: Instant,
}

/// The span of one call or attempt.
#[derive(Debug)]
pub(crate) enum Span {
    /// The work was never polled.
    Waiting,
    /// The context that the work runs in, with the span. `lent`: somebody further in has made it, and ends it.
    Open { context: Context, lent: bool },
    /// Ended, or never made because nobody would get to see it.
    Closed,
}

impl Span {
    pub(crate) const fn new() -> Self {
        Self::Waiting
    }

    /// Makes the span at the first poll, as a child of the span that the caller polls in.
    #[inline]
    pub(crate) fn begin(&mut self, now: Instant, prepare: impl FnOnce() -> Option<Prepared>) {
        if let Self::Waiting = self {
            let opened = tracer::open(now, prepare);
            *self = opened.map_or(Self::Closed, |context| Self::Open { context, lent: false });
        }
    }

    /// Does a piece of the work inside the span.
    #[inline]
    pub(crate) fn enter<T>(&self, work: impl FnOnce() -> T) -> T {
        let _attached = self.attach();
        work()
    }

    /// All that this thread does is inside the span, until what is given back is dropped.
    #[inline]
    pub(crate) fn attach(&self) -> Option<ContextGuard> {
        match self {
            Self::Open { context, .. } => Some(context.clone().attach()),
            Self::Waiting | Self::Closed => None,
        }
    }

    /// What somebody further out may work in as well.
    #[cfg(feature = "http")]
    pub(crate) fn lend(&self) -> Option<Context> {
        if let Self::Open { context, .. } = self { Some(context.clone()) } else { None }
    }

    /// Works in the span of somebody further in, where there is none of its own.
    #[cfg(feature = "http")]
    #[cold]
    pub(crate) fn borrow(&mut self, lent: Context) {
        if let Self::Waiting = self {
            *self = Self::Open { context: lent, lent: true };
        }
    }

    /// Gives it the name that is only known now.
    #[cfg(feature = "http")]
    pub(crate) fn rename(&self, name: &'static str) {
        if let Self::Open { context, lent: false } = self {
            context.span().update_name(name);
        }
    }

    /// Adds an attribute that is only known now.
    #[cfg(feature = "http")]
    pub(crate) fn note(&self, key: &'static str, value: impl Into<opentelemetry::Value>) {
        if let Self::Open { context, lent: false } = self {
            context.span().set_attribute(KeyValue::new(key, value));
        }
    }

    /// Ends the span, as what came of the work says.
    #[inline]
    pub(crate) fn end(&mut self, end: impl FnOnce() -> SpanEnd) {
        if let Self::Open { context, lent: false } = mem::replace(self, Self::Closed) {
            close(&context, end());
        }
    }
}

/// The span in which this thread works, sampled or not.
#[cfg(feature = "logs")]
pub(crate) fn current() -> Option<crate::correlation::Trace> {
    use crate::correlation::{SpanId, Trace, TraceId};

    Context::map_current(|context| {
        if !context.has_active_span() {
            return None;
        }
        let span = context.span();
        let span = span.span_context();
        span.is_valid().then(|| Trace {
            id: TraceId(u128::from_be_bytes(span.trace_id().to_bytes())),
            span: SpanId(u64::from_be_bytes(span.span_id().to_bytes())),
            sampled: span.is_sampled(),
        })
    })
}

fn close(context: &Context, end: SpanEnd) {
    let span = context.span();
    span.set_attribute(KeyValue::new(names::OUTCOME, end.outcome.as_str()));
    if let Some(error) = end.error {
        span.set_attribute(KeyValue::new(names::ERROR_TYPE, error));
        // The description stays empty: an error's message may hold what must not leave the process.
        span.set_status(Status::error(""));
    }
    span.end_with_timestamp(clock::wall(end.now));
}
