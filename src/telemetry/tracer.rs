//! The tracer, cached.
//!
//! Asking the global provider for a tracer takes a lock and allocates, and the provider may be set or changed at any
//! time without a word to anybody. So each thread keeps a tracer for a second. While the provider is a no-op, which
//! only the first span that it makes can tell, the thread keeps nothing, and a call pays for one comparison.

use std::{cell::RefCell, rc::Rc, time::Duration};

use opentelemetry::{
    Context, InstrumentationScope,
    global::{self, BoxedTracer},
    trace::{Span as _, TraceContextExt, Tracer},
};
use tokio::time::Instant;

use super::span::Prepared;
use crate::clock;

const REFRESH: Duration = Duration::from_secs(1);

struct Cache {
    /// When the global provider was last asked, and until when that is good.
    asked: Option<(Instant, Instant)>,
    /// What it gave; `None` once that turned out to make no spans.
    tracer: Option<Rc<BoxedTracer>>,
}

thread_local! {
    static CACHE: RefCell<Cache> = const { RefCell::new(Cache { asked: None, tracer: None }) };
}

/// A context with a new span in it, which is a child of the current one unless what was prepared says otherwise. `None`
/// when nobody would see the span.
pub(super) fn open(now: Instant, prepare: impl FnOnce() -> Option<Prepared>) -> Option<Context> {
    let tracer = tracer(now)?;
    Context::map_current(|current| {
        if current.is_telemetry_suppressed() {
            return None;
        }
        let Prepared { builder, parent } = prepare()?;
        let parent = parent.as_ref().unwrap_or(current);
        let span = tracer.build_with_context(builder.with_start_time(clock::wall(now)), parent);
        // A span that was sampled out has an identity of its own, which its children need to be sampled out with it.
        // A no-op has none, or its parent's.
        let own = span.span_context();
        if own.is_valid() && own.span_id() != parent.span().span_context().span_id() {
            Some(parent.with_span(span))
        } else {
            give_up();
            None
        }
    })
}

/// Whether spans are made, as far as this thread knows.
pub(crate) fn has_tracer(now: Instant) -> bool {
    tracer(now).is_some()
}

/// Who measures: the instrumentation scope of everything that the crate tells OpenTelemetry.
pub(crate) fn scope() -> InstrumentationScope {
    InstrumentationScope::builder(env!("CARGO_PKG_NAME")).with_version(env!("CARGO_PKG_VERSION")).build()
}

fn tracer(now: Instant) -> Option<Rc<BoxedTracer>> {
    // Neither while the thread is torn down nor inside of a provider's own doing is there a tracer.
    let cached = CACHE.try_with(|cache| {
        let mut cache = cache.try_borrow_mut().ok()?;
        // A clock that went back belongs to another runtime, in a test: its time says nothing about the age.
        if !cache.asked.is_some_and(|(asked, until)| asked <= now && now < until) {
            cache.tracer = Some(Rc::new(global::tracer_with_scope(scope())));
            cache.asked = Some((now, now + REFRESH));
        }
        cache.tracer.clone()
    });
    cached.ok().flatten()
}

fn give_up() {
    let _ = CACHE.try_with(|cache| cache.try_borrow_mut().map(|mut cache| cache.tracer = None));
}
