use std::sync::Arc;

use opentelemetry::{
    KeyValue,
    metrics::{Histogram, Meter},
};

use crate::{
    event::{Event, Outcome},
    name::Name,
    record::BUCKETS,
    telemetry::names,
};

/// The histograms.
pub(super) struct Durations {
    calls: Histogram<f64>,
    attempts: Histogram<f64>,
    waits: Histogram<f64>,
}

impl Durations {
    /// The instruments, whose buckets end at `bounds` as well.
    pub(super) fn new(meter: &Meter, bounds: &[f64]) -> Self {
        let mut bounds = [&BUCKETS, bounds].concat();
        bounds.sort_by(f64::total_cmp);
        bounds.dedup();
        let histogram = |name, description| {
            meter
                .f64_histogram(name)
                .with_unit("s")
                .with_description(description)
                .with_boundaries(bounds.clone())
                .build()
        };
        Self {
            calls: histogram(names::CALL_DURATION, "How long calls took, as the caller saw it"),
            attempts: histogram(names::ATTEMPT_DURATION, "How long single attempts at the transport took"),
            waits: histogram(
                names::BULKHEAD_WAIT_DURATION,
                "How long calls waited for a place in the bulkhead",
            ),
        }
    }

    pub(super) fn record(&self, labels: &Labels, event: &Event) {
        match *event {
            Event::CallFinished { outcome, elapsed } => {
                self.calls.record(elapsed.as_secs_f64(), labels.of(outcome));
            }
            Event::AttemptFinished { outcome, elapsed, .. } => {
                self.attempts.record(elapsed.as_secs_f64(), labels.of(outcome));
            }
            Event::BulkheadWaited { elapsed } => {
                self.waits.record(elapsed.as_secs_f64(), &labels.pipeline);
            }
            _ => {}
        }
    }
}

/// The attributes of a pipeline's durations, made once so that a record allocates nothing.
pub(super) struct Labels {
    pipeline: [KeyValue; 1],
    by_outcome: [[KeyValue; 2]; Outcome::ALL.len()],
}

impl Labels {
    pub(super) fn new(pipeline: &Name) -> Self {
        let text: Arc<str> = pipeline.as_str().into();
        let pipeline = KeyValue::new(names::PIPELINE, text);
        Self {
            by_outcome: Outcome::ALL
                .map(|outcome| [pipeline.clone(), KeyValue::new(names::OUTCOME, outcome.as_str())]),
            pipeline: [pipeline],
        }
    }

    fn of(&self, outcome: Outcome) -> &[KeyValue] {
        &self.by_outcome[outcome as usize]
    }
}
