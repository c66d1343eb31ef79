//! What a line is found by: the span of the work in hand.

use opentelemetry::{
    Context,
    trace::{SpanId, TraceContextExt, TraceFlags, TraceId},
};
use tracing::field::{DisplayValue, display};

pub(super) use crate::request_id::current as request_id;

/// The identity of a span.
#[derive(Clone, Copy)]
pub(super) struct Trace {
    id: TraceId,
    span: SpanId,
    flags: TraceFlags,
}

/// The span in which this thread works, sampled or not.
pub(super) fn current() -> Option<Trace> {
    Context::map_current(|context| {
        if !context.has_active_span() {
            return None;
        }
        let span = context.span();
        let span = span.span_context();
        span.is_valid().then(|| Trace {
            id: span.trace_id(),
            span: span.span_id(),
            flags: span.trace_flags(),
        })
    })
}

impl Trace {
    pub(super) fn trace_id(self) -> DisplayValue<TraceId> {
        display(self.id)
    }

    pub(super) fn span_id(self) -> DisplayValue<SpanId> {
        display(self.span)
    }

    /// `01` if it is sampled, else `00`.
    pub(super) fn flags(self) -> &'static str {
        if self.flags.is_sampled() { "01" } else { "00" }
    }
}
