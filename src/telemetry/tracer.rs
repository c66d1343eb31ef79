//! The tracer, cached.
//!
//! Asking the global provider for a tracer takes a lock and allocates, and the provider may be set or changed at any
//! time without a word to anybody. So each thread keeps a tracer for a second. While the provider is a no-op, which
//! only the first span that it makes can tell, the thread keeps nothing, and a call pays for one comparison.

use std::{
    cell::{Cell, RefCell},
    rc::Rc,
    time::Duration,
};

use opentelemetry::{
    Context, InstrumentationScope,
    global::{self, BoxedTracer},
    trace::{Span as _, TraceContextExt, Tracer},
};
use tokio::time::Instant;

use super::span::Prepared;
use crate::{clock, local};

const REFRESH: Duration = Duration::from_secs(1);

/// A while of the monotonic clock. A clock that went back belongs to another runtime, in a test: its time lies outside.
#[derive(Clone, Copy)]
struct While {
    from: Instant,
    until: Instant,
}

impl While {
    fn has(self, now: Instant) -> bool {
        self.from <= now && now < self.until
    }
}

thread_local! {
    /// For how long the answer of the global provider is good.
    static GOOD: Cell<Option<While>> = const { Cell::new(None) };
    /// Whether it makes spans, as long as it is. Both lie apart from the tracer because they have nothing to drop, and are had
    /// for less.
    static MAKES_SPANS: Cell<bool> = const { Cell::new(false) };
    static TRACER: RefCell<Option<Rc<BoxedTracer>>> = const { RefCell::new(None) };
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

#[inline]
fn tracer(now: Instant) -> Option<Rc<BoxedTracer>> {
    let good = local::get(&GOOD).is_some_and(|good| good.has(now));
    if good && !local::get(&MAKES_SPANS) { None } else { kept(good, now) }
}

/// The tracer that this thread keeps, or, where that is not good any more, a new one.
fn kept(good: bool, now: Instant) -> Option<Rc<BoxedTracer>> {
    // Neither while the thread is torn down nor inside of a provider's own doing is there a tracer.
    let kept = TRACER.try_with(|tracer| {
        let mut tracer = tracer.try_borrow_mut().ok()?;
        if !good {
            *tracer = Some(Rc::new(global::tracer_with_scope(scope())));
            GOOD.set(Some(While { from: now, until: now + REFRESH }));
            MAKES_SPANS.set(true);
        }
        tracer.clone()
    });
    kept.ok().flatten()
}

fn give_up() {
    MAKES_SPANS.set(false);
    let _ = TRACER.try_with(|tracer| tracer.try_borrow_mut().map(|mut tracer| *tracer = None));
}
