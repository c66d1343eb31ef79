//! What a line is found by: the span of the work in hand, or the trace that its request came in, and the id of that.

use tracing::field::{DisplayValue, display};

use crate::{
    correlation::{Correlation, SpanId, Trace, TraceId},
    telemetry,
};

/// The request of the work in hand, and where it stands, sampled or not.
pub(super) fn current() -> (Correlation, Option<Trace>) {
    let request = Correlation::current();
    let trace = telemetry::current().or(request.trace());
    (request, trace)
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
        if self.sampled { "01" } else { "00" }
    }
}
