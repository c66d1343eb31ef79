//! The totals and states of the process as observable instruments.

use std::sync::Arc;

use opentelemetry::{
    KeyValue,
    metrics::{AsyncInstrument, Meter},
};

use crate::{
    record::{
        pipelines::pipelines,
        totals::{AGES, EVENTS, Reading, STATES, TOTALS, WHOLE},
    },
    registry::Registry,
    telemetry::names,
};

/// Makes the instruments. They write for as long as `current` says that theirs is the global provider: one that was
/// replaced goes quiet, and one that comes back is not written to twice.
pub(super) fn register(meter: &Meter, current: impl Fn() -> bool + Clone + Send + Sync + 'static) {
    for total in TOTALS {
        let current = current.clone();
        meter
            .u64_observable_counter(total.name)
            .with_unit(total.unit)
            .with_description(total.description)
            .with_callback(move |instrument| {
                if current() {
                    observe(&total, instrument);
                }
            })
            .build();
    }
    for total in WHOLE {
        let current = current.clone();
        meter
            .u64_observable_counter(total.name)
            .with_unit(total.unit)
            .with_description(total.description)
            .with_callback(move |instrument| {
                if current() {
                    instrument.observe((total.read)(), &[]);
                }
            })
            .build();
    }
    for events in EVENTS {
        let current = current.clone();
        meter
            .u64_observable_counter(events.name)
            .with_unit(events.unit)
            .with_description(events.description)
            .with_callback(move |instrument| {
                if current() {
                    events.write(Registry::global(), |count, labels| {
                        let labels = labels.map(|(key, value)| KeyValue::new(key, value.to_owned()));
                        instrument.observe(count, &labels);
                    });
                }
            })
            .build();
    }
    for state in STATES {
        let current = current.clone();
        meter
            .i64_observable_up_down_counter(state.name)
            .with_unit(state.unit)
            .with_description(state.description)
            .with_callback(move |instrument| {
                if current() {
                    observe(&state, instrument);
                }
            })
            .build();
    }
    for age in AGES {
        let current = current.clone();
        meter
            .f64_observable_gauge(age.name)
            .with_unit(age.unit)
            .with_description(age.description)
            .with_callback(move |instrument| {
                if current() {
                    observe(&age, instrument);
                }
            })
            .build();
    }
}

fn observe<T>(reading: &Reading<T>, instrument: &dyn AsyncInstrument<T>) {
    for (name, pipeline) in pipelines(Registry::global()) {
        let name: Arc<str> = name.as_str().into();
        reading.of(&pipeline, &mut |value, labels| {
            let pipeline = [KeyValue::new(names::PIPELINE, Arc::clone(&name))];
            let labels = labels.iter().map(|&(key, value)| KeyValue::new(key, value));
            instrument.observe(value, &pipeline.into_iter().chain(labels).collect::<Vec<_>>());
        });
    }
}
