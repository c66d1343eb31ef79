use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Mutex,
};

use ::metrics::{Key, Label, Recorder, Unit, with_recorder};

use super::{METADATA, METRICS, key, messages, requests};
use crate::{
    name::Name,
    record::{
        pipelines::{Pipeline, pipelines},
        totals::{AGES, EVENTS, STATES, TOTALS, WHOLE},
    },
    registry::Registry,
    sync::lock,
    telemetry::names,
};

/// What the durations are called, and what they measure.
const DURATIONS: [(&str, &str); 4] = [
    (names::CALL_DURATION, "How long calls took, as the caller saw it"),
    (names::ATTEMPT_DURATION, "How long single attempts at the transport took"),
    (names::BULKHEAD_WAIT_DURATION, "How long calls waited for a place in the bulkhead"),
    (names::IDEMPOTENCY_STORE_DURATION, "How long the store of idempotency keys took to answer"),
];

/// The states that were published last, by pipeline: a recorder shows what it was told until it is told otherwise.
static SHOWN: Mutex<BTreeMap<Name, BTreeSet<Key>>> = Mutex::new(BTreeMap::new());

impl Registry {
    /// Writes the totals and the states of all pipelines to the recorder of the `metrics` crate.
    ///
    /// Call it before each scrape, or at an interval where the exporter pushes. Nothing is lost in between: the totals are
    /// counted in memory. The states of stacks that are gone become 0. Without a recorder it does nothing.
    ///
    /// It is for [`Registry::global`], or for a registry whose names no other one has. It takes some microseconds a
    /// pipeline, and does not block.
    pub fn publish(&self) {
        let pipelines = pipelines(self);
        with_recorder(|recorder| {
            describe(recorder);
            for total in WHOLE {
                recorder
                    .register_counter(&Key::from_static_name(total.name), &METADATA)
                    .absolute((total.read)());
            }
            for events in EVENTS {
                events.write(self, |count, labels| {
                    let labels: Vec<_> = labels.map(|(key, value)| Label::new(key, value.to_owned())).into();
                    let key = Key::from_parts(events.name, labels);
                    recorder.register_counter(&key, &METADATA).absolute(count);
                });
            }
            if METRICS.get().is_some() {
                requests::publish(recorder);
            }
            for (name, pipeline) in &pipelines {
                write_totals(recorder, name, pipeline);
                write_states(recorder, name, pipeline);
            }
        });
    }
}

fn describe(recorder: &dyn Recorder) {
    for total in TOTALS {
        recorder.describe_counter(total.name.into(), Some(Unit::Count), total.description.into());
    }
    for total in WHOLE {
        recorder.describe_counter(total.name.into(), Some(Unit::Count), total.description.into());
    }
    for events in EVENTS {
        recorder.describe_counter(events.name.into(), Some(Unit::Count), events.description.into());
    }
    for state in STATES {
        recorder.describe_gauge(state.name.into(), Some(Unit::Count), state.description.into());
    }
    for age in AGES {
        recorder.describe_gauge(age.name.into(), Some(Unit::Seconds), age.description.into());
    }
    for (name, description) in DURATIONS {
        recorder.describe_histogram(name.into(), Some(Unit::Seconds), description.into());
    }
    messages::describe(recorder);
    requests::describe(recorder);
}

fn write_totals(recorder: &dyn Recorder, name: &Name, pipeline: &Pipeline) {
    for total in TOTALS {
        total.of(pipeline, &mut |value, labels| {
            recorder.register_counter(&key(total.name, name.as_str(), labels), &METADATA).absolute(value);
        });
    }
}

fn write_states(recorder: &dyn Recorder, name: &Name, pipeline: &Pipeline) {
    // Taken out, and not held: the recorder is somebody else's code.
    let mut left = lock(&SHOWN).remove(name).unwrap_or_default();
    let mut shown = BTreeSet::new();
    let mut show = |state, value, labels: &[_]| {
        let key = key(state, name.as_str(), labels);
        recorder.register_gauge(&key, &METADATA).set(value);
        left.remove(&key);
        shown.insert(key);
    };
    for state in STATES {
        #[expect(clippy::cast_precision_loss, reason = "what is counted here stays far below 2^52")]
        state.of(pipeline, &mut |value, labels| show(state.name, value as f64, labels));
    }
    for age in AGES {
        age.of(pipeline, &mut |value, labels| show(age.name, value, labels));
    }
    for key in left {
        recorder.register_gauge(&key, &METADATA).set(0.0);
    }
    // Whoever publishes at the same time has put its own there.
    lock(&SHOWN).entry(name.clone()).or_default().append(&mut shown);
}
