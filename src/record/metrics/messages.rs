//! Messages off queues: how long each took, and how many there were.

use std::time::Duration;

use ::metrics::{Key, Label, Recorder, Unit, with_recorder};

use super::METADATA;
use crate::{
    event::Source,
    record::{
        capped::Capped,
        messages::{CONSUMED, DURATION, labels},
        requests::MOST,
    },
    telemetry::names,
};

/// The metrics of messages, whose labels are the same for all pipelines.
pub(super) struct Messages(Capped<(Source, Option<&'static str>), Keys>);

struct Keys {
    durations: Key,
    consumed: Key,
}

impl Keys {
    fn new(labels: impl Iterator<Item = (&'static str, &'static str)>) -> Self {
        let labels: Vec<_> = labels.map(|(name, value)| Label::from_static_parts(name, value)).collect();
        let key = |name| Key::from_parts(name, labels.clone()).to_retained();
        Self { durations: key(DURATION.0), consumed: key(CONSUMED.0) }
    }
}

impl Default for Messages {
    fn default() -> Self {
        Self(Capped::new(MOST, Keys::new([(names::METRIC_OVERFLOW, "true")].into_iter())))
    }
}

impl Messages {
    pub(super) fn record(&self, source: Source, error: Option<&'static str>, elapsed: Duration) {
        let tell = |keys: &Keys| {
            with_recorder(|recorder| {
                recorder.register_histogram(&keys.durations, &METADATA).record(elapsed.as_secs_f64());
                recorder.register_counter(&keys.consumed, &METADATA).increment(1);
            });
        };
        self.0.with(&(source, error), || Keys::new(labels(&source, error)), tell);
    }
}

pub(super) fn describe(recorder: &dyn Recorder) {
    recorder.describe_histogram(DURATION.0.into(), Some(Unit::Seconds), DURATION.1.into());
    recorder.describe_counter(CONSUMED.0.into(), Some(Unit::Count), CONSUMED.1.into());
}
