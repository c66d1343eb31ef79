//! Nothing is bound: without feature `setup` the crate puts no SDK in place.

use std::{marker::PhantomData, sync::Arc};

use opentelemetry::{
    KeyValue,
    metrics::{Histogram, Meter, MeterProvider},
};

use crate::telemetry;

pub(super) fn meter(provider: &Arc<dyn MeterProvider + Send + Sync>) -> (Meter, bool) {
    (provider.meter_with_scope(telemetry::scope()), false)
}

pub(super) struct Bound<T>(PhantomData<T>);

impl<T> Bound<T> {
    pub(super) const fn new() -> Self {
        Self(PhantomData)
    }

    #[expect(clippy::unused_self, reason = "its twin is bound")]
    pub(super) fn record(&self, histogram: &Histogram<T>, attributes: &[KeyValue], value: T) {
        histogram.record(value, attributes);
    }
}
