//! What stands in for the spans of deliveries in a build without OpenTelemetry: nothing, at no cost.

use tokio::time::Instant;

use super::told::Told;
use crate::telemetry::{Prepared, Spans};

pub(super) fn prepare<M>(_: &Spans, _: &Told<M>, _: Instant, _: &M) -> Option<Box<Prepared>> {
    None
}
