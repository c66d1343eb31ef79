//! What stands in for spans in a build without OpenTelemetry: nothing, at no cost.

use tokio::time::Instant;

use super::Side;
use crate::{event::Outcome, observer::Observer};

/// The span in which this thread works: there is none.
#[cfg(feature = "logs")]
pub(crate) const fn current() -> Option<crate::correlation::Trace> {
    None
}

#[derive(Clone, Debug)]
pub(crate) struct Spans;

impl Spans {
    pub(crate) fn new(_observer: &Observer, _side: Side) -> Self {
        Self
    }

    #[expect(clippy::unused_self, reason = "what it stands in for has a self")]
    pub(crate) fn plain(&self, _attempt: u32) -> Prepared {
        Prepared
    }
}

#[derive(Debug)]
pub(crate) struct Prepared;

#[derive(Clone, Copy, Debug)]
#[expect(dead_code, reason = "nobody asks how a span ended that is none")]
pub(crate) struct SpanEnd {
    pub(crate) outcome: Outcome,
    pub(crate) error: Option<&'static str>,
    pub(crate) now: Instant,
}

#[derive(Debug)]
pub(crate) struct Span;

#[expect(clippy::unused_self, reason = "the span that it stands in for has a self")]
impl Span {
    pub(crate) const fn new() -> Self {
        Self
    }

    #[inline]
    pub(crate) fn begin(&mut self, _now: Instant, _prepare: impl FnOnce() -> Option<Prepared>) {}

    #[inline]
    pub(crate) fn enter<T>(&self, work: impl FnOnce() -> T) -> T {
        work()
    }

    #[cfg(feature = "http")]
    #[inline]
    pub(crate) fn attach(&self) -> Option<()> {
        None
    }

    #[inline]
    pub(crate) fn end(&mut self, _end: impl FnOnce() -> SpanEnd) {}
}
