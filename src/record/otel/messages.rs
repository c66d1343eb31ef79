//! Messages off queues: how long each took, and how many there were.

use std::sync::{Arc, OnceLock};

use opentelemetry::{KeyValue, metrics::Counter};

use super::meters::{Histogram, Meters};
use crate::{
    event::Source,
    record::{capped::Capped, messages, requests::MOST},
    telemetry::names,
};

/// The instruments of messages, made when there is something to record.
pub(super) struct Messages {
    instruments: OnceLock<Instruments>,
}

struct Instruments {
    durations: Histogram<f64>,
    consumed: Counter<u64>,
    attributes: Capped<(Source, Option<&'static str>), Arc<[KeyValue]>>,
}

impl Messages {
    pub(super) const fn new() -> Self {
        Self { instruments: OnceLock::new() }
    }

    pub(super) fn record(&self, meters: &Meters, source: Source, error: Option<&'static str>, seconds: f64) {
        let Instruments { durations, consumed, attributes } =
            self.instruments.get_or_init(|| Instruments::new(meters));
        let make =
            || messages::labels(&source, error).map(|(name, value)| KeyValue::new(name, value)).collect();
        let attributes = attributes.with(&(source, error), make, Arc::clone);
        durations.record(&attributes, seconds);
        consumed.add(1, &attributes);
    }
}

impl Instruments {
    fn new(meters: &Meters) -> Self {
        let (name, description) = messages::DURATION;
        let (total, meaning) = messages::CONSUMED;
        let consumed = meters.meter.u64_counter(total).with_unit("{message}").with_description(meaning);
        Self {
            durations: meters.durations(name, description),
            consumed: consumed.build(),
            attributes: Capped::new(MOST, [KeyValue::new(names::METRIC_OVERFLOW, true)].into()),
        }
    }
}
