//! A build without OpenTelemetry has no spans.

/// The identity of a span: there is none.
#[derive(Clone, Copy)]
pub(super) enum Trace {}

pub(super) const fn current() -> Option<Trace> {
    None
}

pub(super) const fn request_id() -> Option<Box<str>> {
    None
}

impl Trace {
    pub(super) const fn trace_id(self) -> &'static str {
        match self {}
    }

    pub(super) const fn span_id(self) -> &'static str {
        match self {}
    }

    pub(super) const fn flags(self) -> &'static str {
        match self {}
    }
}
