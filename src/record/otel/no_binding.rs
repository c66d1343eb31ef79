//! Nothing is bound: without feature `setup` the crate puts no SDK in place.

use std::{marker::PhantomData, sync::Arc};

use opentelemetry::{
    KeyValue,
    metrics::{Histogram, Meter, MeterProvider},
};

use crate::telemetry;

pub(super) fn meter(provider: &Arc<dyn MeterProvider + Send + Sync>) -> (Meter, Option<Binder>) {
    (provider.meter_with_scope(telemetry::scope()), None)
}

/// There is none.
#[derive(Clone)]
pub(super) enum Binder {}

impl Binder {
    pub(super) fn record_all(&self) {
        match *self {}
    }
}

pub(super) trait Word {}

impl<T> Word for T {}

pub(super) struct Bound<T>(PhantomData<T>);

impl<T> Bound<T> {
    pub(super) const fn new() -> Self {
        Self(PhantomData)
    }

    #[expect(clippy::unused_self, reason = "its twin is bound")]
    pub(super) fn record(&self, binder: &Binder, _: &Histogram<T>, _: &[KeyValue], _: T) {
        match *binder {}
    }
}
