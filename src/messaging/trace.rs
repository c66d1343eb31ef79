//! The span of a delivery, and how the trace of the producer goes on.

use opentelemetry::{Context, global, propagation::Extractor, trace::TraceContextExt};
use tokio::time::Instant;

use super::told::{Headers, Told};
use crate::{
    correlation::Trace,
    telemetry::{Prepared, Spans, has_tracer, names},
};

/// What a consumer does with a message, by the conventions.
const PROCESS: &str = "process";

/// The span of a delivery, unless nobody would see it.
pub(super) fn prepare<M>(
    spans: &Spans,
    told: &Told<M>,
    started: Instant,
    message: &M,
) -> Option<Box<Prepared>> {
    if !has_tracer(started) {
        return None;
    }
    let mut span = match told.source {
        Some(source) => spans.named(format!("{PROCESS} {}", source.destination)),
        None => spans.plain(1),
    };
    if let Some(source) = told.source {
        span.note(names::MESSAGING_SYSTEM, source.system);
        span.note(names::MESSAGING_OPERATION, PROCESS);
        span.note(names::MESSAGING_OPERATION_TYPE, PROCESS);
        span.note(names::MESSAGING_DESTINATION, source.destination);
        if let Some(group) = source.group {
            span.note(names::MESSAGING_GROUP, group);
        }
    }
    if let Some(headers) = &told.headers {
        go_on(&mut span, &Of { headers: &**headers, message });
    }
    Some(Box::new(span))
}

/// Goes on with the trace of the producer; where the worker has one of its own, that goes on, with a link.
fn go_on(span: &mut Prepared, headers: &dyn Extractor) {
    let here = Context::current();
    let producer =
        global::get_text_map_propagator(|propagator| propagator.extract_with_context(&here, headers));
    if here.has_active_span() {
        let theirs = producer.span().span_context().clone();
        if theirs.is_valid() && theirs != *here.span().span_context() {
            span.link(theirs);
        }
    } else {
        span.child_of(producer);
    }
}

/// The headers of a message.
struct Of<'a, M> {
    headers: &'a Headers<M>,
    message: &'a M,
}

impl<M> Extractor for Of<'_, M> {
    fn get(&self, key: &str) -> Option<&str> {
        let value = (self.headers)(self.message, key)?;
        // OpenTelemetry's propagator takes one with short ids, too.
        (key != "traceparent" || Trace::parse(value).is_some()).then_some(value)
    }

    /// Propagators that look for what they find are not for messages.
    fn keys(&self) -> Vec<&str> {
        Vec::new()
    }
}
