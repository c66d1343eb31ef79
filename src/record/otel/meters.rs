//! Makes histograms, and records in their series.
//!
//! A series that is *bound* is at hand; any other one an SDK looks up by its labels, at every record. Only the SDK can
//! bind, and only with a feature of its own: elsewhere what is bound records nothing, without a word. So series are
//! bound where [`Telemetry::init`](crate::Telemetry::init) put the SDK in place, and nowhere else.

use std::sync::Arc;

use opentelemetry::{
    KeyValue,
    metrics::{self, Meter, MeterProvider, noop::NoopMeterProvider},
};

use super::{
    OtelSettings,
    binding::{Binder, Bound, Word, meter},
};
use crate::record::{BUCKETS, totals::TOTALS};

/// The upper bounds of the buckets of sizes, in bytes.
const BYTES: [f64; 9] =
    [256.0, 1_024.0, 4_096.0, 16_384.0, 65_536.0, 262_144.0, 1_048_576.0, 4_194_304.0, 16_777_216.0];

/// What makes the histograms.
pub(super) struct Meters {
    pub(super) meter: Meter,
    binder: Option<Binder>,
    settings: OtelSettings,
}

/// A histogram.
pub(super) struct Histogram<T> {
    instrument: metrics::Histogram<T>,
    binder: Option<Binder>,
}

/// A series of a histogram.
pub(super) struct Series<T> {
    bound: Bound<T>,
}

impl Meters {
    pub(super) fn of(provider: &Arc<dyn MeterProvider + Send + Sync>, settings: OtelSettings) -> Self {
        let (meter, binder) = meter(provider);
        if let Some(binder) = binder.clone() {
            // An SDK calls back before it collects. It has to be by a metric, and this one is there anyway.
            let [total, ..] = TOTALS;
            meter
                .u64_observable_counter(total.name)
                .with_unit(total.unit)
                .with_description(total.description)
                .with_callback(move |_| binder.record_all())
                .build();
        }
        Self { meter, binder, settings }
    }

    pub(super) fn none() -> Self {
        Self { meter: NoopMeterProvider::new().meter(""), binder: None, settings: OtelSettings::default() }
    }

    /// Whether the sizes of bodies are wanted.
    pub(super) fn body_sizes(&self) -> bool {
        self.settings.body_sizes
    }

    pub(super) fn durations(&self, name: &'static str, description: &'static str) -> Histogram<f64> {
        let mut bounds = [&BUCKETS, &*self.settings.bounds].concat();
        bounds.sort_by(f64::total_cmp);
        bounds.dedup();
        let instrument = self.meter.f64_histogram(name).with_unit("s").with_description(description);
        Histogram { instrument: instrument.with_boundaries(bounds).build(), binder: self.binder.clone() }
    }

    pub(super) fn sizes(&self, name: &'static str, description: &'static str) -> Histogram<u64> {
        let instrument = self.meter.u64_histogram(name).with_unit("By").with_description(description);
        Histogram {
            instrument: instrument.with_boundaries(BYTES.to_vec()).build(),
            binder: self.binder.clone(),
        }
    }
}

impl Histogram<f64> {
    /// Records in the series that has these labels, which are looked up.
    pub(super) fn record(&self, attributes: &[KeyValue], value: f64) {
        self.instrument.record(value, attributes);
    }
}

impl<T: Word> Series<T> {
    pub(super) const fn new() -> Self {
        Self { bound: Bound::new() }
    }

    /// Records in the series of the histogram that has these labels, which are always the same ones.
    #[inline]
    pub(super) fn record(&self, histogram: &Histogram<T>, attributes: &[KeyValue], value: T) {
        match &histogram.binder {
            Some(binder) => self.bound.record(binder, &histogram.instrument, attributes, value),
            None => histogram.instrument.record(value, attributes),
        }
    }
}
