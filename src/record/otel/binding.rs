use std::{
    cell::Cell,
    ptr,
    sync::{Arc, OnceLock},
};

use opentelemetry::{
    InstrumentationScope, KeyValue,
    metrics::{BoundHistogram, Histogram, Meter, MeterProvider},
};

use crate::telemetry;

/// A provider of whose histograms it is known that they can be bound.
pub(crate) struct Binding<P>(pub(crate) P);

thread_local! {
    /// Where the provider lies that was asked last.
    static ASKED: Cell<usize> = const { Cell::new(0) };
}

impl<P: MeterProvider> MeterProvider for Binding<P> {
    fn meter_with_scope(&self, scope: InstrumentationScope) -> Meter {
        ASKED.set(ptr::from_ref(self).addr());
        self.0.meter_with_scope(scope)
    }
}

/// The meter of the crate, and whether it was a [`Binding`] provider that gave it, and not another one that asked it.
pub(super) fn meter(provider: &Arc<dyn MeterProvider + Send + Sync>) -> (Meter, bool) {
    ASKED.set(0);
    let meter = provider.meter_with_scope(telemetry::scope());
    (meter, ASKED.take() == Arc::as_ptr(provider).addr())
}

/// A series that is bound when there is something to record, so that there is none before.
pub(super) struct Bound<T>(OnceLock<BoundHistogram<T>>);

impl<T> Bound<T> {
    pub(super) const fn new() -> Self {
        Self(OnceLock::new())
    }

    #[inline]
    pub(super) fn record(&self, histogram: &Histogram<T>, attributes: &[KeyValue], value: T) {
        self.0.get_or_init(|| histogram.bind(attributes)).record(value);
    }
}
