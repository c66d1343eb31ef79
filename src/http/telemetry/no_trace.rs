//! What stands in for the spans of HTTP in a build without OpenTelemetry: nothing, at no cost.

use http::HeaderMap;
use tokio::time::Instant;

use super::{judge::Verdict, open::Seen, teller::Teller};
use crate::{
    call::Call,
    event::Exchange,
    head::Head,
    policy::Course,
    telemetry::{Prepared, Span},
};

pub(super) fn prepare(_: &Teller, _: &Seen, _: Instant, _: &Call, _: Head<'_>) -> Option<Box<Prepared>> {
    None
}

pub(super) fn note_end(_: &Span, _: &Exchange, _: Option<&str>, _: &Verdict) {}

pub(super) fn lend(_: &Span, _: &mut Course) {}

pub(super) fn borrow(_: &mut Span, _: &mut Course) {}

pub(in crate::http) fn inject(_: &mut HeaderMap) {}
