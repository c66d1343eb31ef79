//! Series that are bound: of the SDK that [`Telemetry::init`](crate::Telemetry::init) put in place.

use std::{
    cell::Cell,
    ptr,
    sync::{Arc, OnceLock},
};

use opentelemetry::{
    InstrumentationScope, KeyValue,
    metrics::{BoundHistogram, Histogram, Meter, MeterProvider},
};

pub(super) use crate::buffer::Word;
use crate::{
    buffer::Buffer,
    sync::{Mutex, lock},
    telemetry,
};

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

/// The meter of the crate, and what binds series of its histograms, where it was a [`Binding`] provider that gave it, and not
/// another one that asked it.
pub(super) fn meter(provider: &Arc<dyn MeterProvider + Send + Sync>) -> (Meter, Option<Binder>) {
    ASKED.set(0);
    let meter = provider.meter_with_scope(telemetry::scope());
    (meter, (ASKED.take() == Arc::as_ptr(provider).addr()).then(Binder::default))
}

/// Binds series, and knows which it bound.
#[derive(Clone, Default)]
pub(super) struct Binder(Arc<Mutex<Vec<Arc<dyn Waiting>>>>);

/// Of which something may wait to be recorded.
trait Waiting: Send + Sync {
    fn record_all(&self);
}

impl Binder {
    /// Records everything that waits.
    pub(super) fn record_all(&self) {
        // Not under the lock: to record may be to bind another.
        let bound = lock(&self.0).clone();
        for series in bound {
            series.record_all();
        }
    }
}

/// A series that is bound when there is something to record, so that there is none before.
pub(super) struct Bound<T>(OnceLock<Arc<Series<T>>>);

struct Series<T> {
    histogram: BoundHistogram<T>,
    buffer: Buffer<T>,
}

impl<T: Word> Bound<T> {
    pub(super) const fn new() -> Self {
        Self(OnceLock::new())
    }

    #[inline]
    pub(super) fn record(
        &self,
        binder: &Binder,
        histogram: &Histogram<T>,
        attributes: &[KeyValue],
        value: T,
    ) {
        let Series { histogram, buffer } =
            &**self.0.get_or_init(|| Series::new(binder, histogram, attributes));
        buffer.put(value, |value| histogram.record(value));
    }
}

impl<T: Word> Series<T> {
    fn new(binder: &Binder, histogram: &Histogram<T>, attributes: &[KeyValue]) -> Arc<Self> {
        let series = Arc::new(Self { histogram: histogram.bind(attributes), buffer: Buffer::default() });
        lock(&binder.0).push(Arc::clone(&series) as Arc<dyn Waiting>);
        series
    }
}

impl<T: Word> Waiting for Series<T> {
    fn record_all(&self) {
        self.buffer.drain(|value| self.histogram.record(value));
    }
}
