//! The trace of a caller, as a `traceparent` says it.
//!
//! OpenTelemetry's propagator takes one whose ids are short, or begin with a sign: two callers who send `1` would share a
//! trace. Here it is what [W3C Trace Context](https://www.w3.org/TR/trace-context/#traceparent-header), section 3.2, asks for,
//! or nothing.

use std::fmt;

/// Where a piece of work stands: its trace, and the span in there.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Trace {
    pub(crate) id: TraceId,
    pub(crate) span: SpanId,
    pub(crate) sampled: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct TraceId(pub(crate) u128);

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct SpanId(pub(crate) u64);

impl fmt::Display for TraceId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:032x}", self.0)
    }
}

impl fmt::Display for SpanId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:016x}", self.0)
    }
}

impl Trace {
    /// What the headers say. Who names two parents has none.
    #[cfg(feature = "http")]
    pub(crate) fn of(headers: &http::HeaderMap) -> Option<Self> {
        let mut all = headers.get_all("traceparent").iter();
        let one = all.next().filter(|_| all.next().is_none())?;
        Self::parse(one.to_str().ok()?)
    }

    /// What one header says.
    pub(crate) fn parse(header: &str) -> Option<Self> {
        let (fixed, rest) = header.as_bytes().split_at_checked(55)?;
        let [version, id, span, flags] = [0..2, 3..35, 36..52, 53..55].map(|at| hex(&fixed[at]));
        let (version, id, span, flags) = (version?, id?, span?, flags?);
        let divided = [2, 35, 52].iter().all(|&at| fixed[at] == b'-');
        // Of versions to come only what may follow is not known.
        let ends = rest.is_empty() || version > 0 && rest[0] == b'-';
        let span = u64::try_from(span).ok()?;
        (divided && ends && version != 0xff && id != 0 && span != 0).then_some(Self {
            id: TraceId(id),
            span: SpanId(span),
            sampled: flags & 1 == 1,
        })
    }
}

/// Small letters only.
fn hex(digits: &[u8]) -> Option<u128> {
    digits.iter().try_fold(0, |number, digit| {
        let value = match digit {
            b'0'..=b'9' => digit - b'0',
            b'a'..=b'f' => digit - b'a' + 10,
            _ => return None,
        };
        Some(number << 4 | u128::from(value))
    })
}
