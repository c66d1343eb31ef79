//! What calls are made of.

use std::{
    hint::black_box,
    pin::pin,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    task::{Context, Waker},
};

use opentelemetry::{KeyValue, global};
use tokio::time::{Instant, sleep};

use super::FAR;
use crate::{
    scenario::Scenarios,
    work::{After, Tower},
};

pub(super) fn add(all: &mut Scenarios) {
    all.pattern("bare service");
    each!(all.add, "no layer", Tower);
    each!(all.add, "and a look at the clock", |inner| {
        let first = || _ = black_box(Instant::now());
        After { first, inner }
    });
    each!(all.add, "and an atomic addition", |inner| {
        let count = Arc::new(AtomicU64::new(0));
        After { first: move || _ = black_box(&*count).fetch_add(1, Ordering::Relaxed), inner }
    });
    each!(all.add, "and a clone of an `Arc`, and its drop", |inner| {
        let shared = Arc::new(7);
        After { first: move || drop(black_box(Arc::clone(&shared))), inner }
    });
    each!(all.add, "and an allocation", |inner| {
        let first = || drop(black_box(Box::new(7_u64)));
        After { first, inner }
    });
    each!(all.add, "and a record in a bound histogram", |inner| {
        let histogram = global::meter("pieces").f64_histogram("pieces").build();
        let bound = Arc::new(histogram.bind(&[KeyValue::new("piece", "histogram")]));
        After { first: move || bound.record(black_box(0.001)), inner }
    });
    each!(all.add, "and a timer of tokio", |inner| {
        let first = || {
            let pending = pin!(sleep(FAR)).poll(&mut Context::from_waker(Waker::noop())).is_pending();
            assert!(pending, "it is far");
        };
        After { first, inner }
    });
}
