//! What stands in for spans in a build without OpenTelemetry: nothing, at no cost.

use tokio::time::Instant;

use super::Side;
use crate::{error::BoxError, event::Outcome, observer::Observer};

#[derive(Clone, Debug)]
pub(super) struct Spans;

impl Spans {
    pub(super) fn new(_observer: &Observer, _side: Side) -> Self {
        Self
    }
}

#[derive(Debug)]
pub(super) struct Span;

#[expect(clippy::unused_self, reason = "the span that it stands in for has a self")]
impl Span {
    pub(super) const fn new() -> Self {
        Self
    }

    #[inline]
    pub(super) fn begin(&mut self, _spans: &Spans, _attempt: u32, _started: Instant) {}

    #[inline]
    pub(super) fn enter<T>(&self, work: impl FnOnce() -> T) -> T {
        work()
    }

    #[inline]
    pub(super) fn end(
        &mut self,
        _spans: &Spans,
        _outcome: Outcome,
        _error: Option<&BoxError>,
        _now: Instant,
    ) {
    }
}
