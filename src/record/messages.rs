//! What is measured of messages off queues, and by which labels.

use crate::{event::Source, telemetry::names};

pub(super) const DURATION: (&str, &str) =
    (names::MESSAGING_PROCESS_DURATION, "How long messages took to process");
pub(super) const CONSUMED: (&str, &str) =
    (names::MESSAGING_CONSUMED, "Messages that were delivered to a consumer");

/// The labels of a series.
pub(super) fn labels(
    source: &Source,
    error: Option<&'static str>,
) -> impl Iterator<Item = (&'static str, &'static str)> + use<> {
    let all = [
        (names::ERROR_TYPE, error),
        (names::MESSAGING_GROUP, source.group),
        (names::MESSAGING_DESTINATION, Some(source.destination)),
        (names::MESSAGING_OPERATION, Some("process")),
        (names::MESSAGING_SYSTEM, Some(source.system)),
    ];
    all.into_iter().filter_map(|(name, value)| Some((name, value?)))
}
