use std::{
    collections::BTreeMap,
    sync::{Arc, OnceLock},
};

use opentelemetry::KeyValue;

use super::meters::{Histogram, Meters, Series};
use crate::{
    event::{Event, Outcome, StoreOperation, StoreResult},
    name::Name,
    registry::Registry,
    sync::{Mutex, lock},
    telemetry::names,
};

/// The durations of pipelines.
pub(super) struct Durations {
    calls: Histogram<f64>,
    attempts: Histogram<f64>,
    waits: Histogram<f64>,
    stores: Histogram<f64>,
    /// What is recorded of each pipeline, for all threads.
    pipelines: Mutex<BTreeMap<Name, Arc<Pipeline>>>,
}

/// The durations of one pipeline.
pub(super) struct Pipeline {
    calls: ByOutcome,
    attempts: ByOutcome,
    waits: OnceLock<Point>,
    /// Made when a store is first asked: most pipelines have none.
    stores: OnceLock<Stores>,
    name: KeyValue,
}

/// Each is made when something ends so: most outcomes never come, and the labels of all would take kilobytes.
type ByOutcome = [OnceLock<Point>; Outcome::ALL.len()];

type Stores = Box<[[Point; StoreResult::ALL.len()]; StoreOperation::ALL.len()]>;

/// A series and its labels.
struct Point {
    attributes: Arc<[KeyValue]>,
    series: Series<f64>,
}

impl Durations {
    pub(super) fn new(meters: &Meters) -> Self {
        Self {
            calls: meters.durations(names::CALL_DURATION, "How long calls took, as the caller saw it"),
            attempts: meters
                .durations(names::ATTEMPT_DURATION, "How long single attempts at the transport took"),
            waits: meters.durations(
                names::BULKHEAD_WAIT_DURATION,
                "How long calls waited for a place in the bulkhead",
            ),
            stores: meters.durations(
                names::IDEMPOTENCY_STORE_DURATION,
                "How long the store of idempotency keys took to answer",
            ),
            pipelines: Mutex::default(),
        }
    }

    /// What is recorded of the pipeline. One whose name came too late shares it.
    pub(super) fn pipeline(&self, name: &Name) -> Arc<Pipeline> {
        let mut pipelines = lock(&self.pipelines);
        let name = if pipelines.len() < Registry::MAX_NAMES || pipelines.contains_key(name) {
            name.clone()
        } else {
            Name::literal(Registry::OVERFLOW)
        };
        Arc::clone(pipelines.entry(name).or_insert_with_key(|name| Arc::new(Pipeline::new(name))))
    }

    #[inline]
    pub(super) fn record(&self, pipeline: &Pipeline, event: &Event) {
        let (histogram, point, elapsed) = match *event {
            Event::CallFinished { outcome, elapsed, .. } => {
                (&self.calls, pipeline.ended(&pipeline.calls, outcome), elapsed)
            }
            Event::AttemptFinished { outcome, elapsed, .. } => {
                (&self.attempts, pipeline.ended(&pipeline.attempts, outcome), elapsed)
            }
            Event::BulkheadWaited { elapsed } => (&self.waits, pipeline.waited(), elapsed),
            Event::StoreAsked { operation, result, elapsed } => {
                (&self.stores, &pipeline.stores()[operation as usize][result as usize], elapsed)
            }
            _ => return,
        };
        point.series.record(histogram, &point.attributes, elapsed.as_secs_f64());
    }
}

impl Pipeline {
    fn new(name: &Name) -> Self {
        let text: Arc<str> = name.as_str().into();
        Self {
            calls: Default::default(),
            attempts: Default::default(),
            waits: OnceLock::new(),
            stores: OnceLock::new(),
            name: KeyValue::new(names::PIPELINE, text),
        }
    }

    #[inline]
    fn ended<'a>(&self, points: &'a ByOutcome, outcome: Outcome) -> &'a Point {
        let labels = || [KeyValue::new(names::OUTCOME, outcome.as_str()), self.name.clone()];
        points[outcome as usize].get_or_init(|| Point::new(labels()))
    }

    fn waited(&self) -> &Point {
        self.waits.get_or_init(|| Point::new([self.name.clone()]))
    }

    fn stores(&self) -> &Stores {
        let series = |operation: StoreOperation, result: StoreResult| {
            Point::new([
                KeyValue::new(names::OPERATION, operation.as_str()),
                self.name.clone(),
                KeyValue::new(names::RESULT, result.as_str()),
            ])
        };
        self.stores.get_or_init(|| {
            Box::new(
                StoreOperation::ALL.map(|operation| StoreResult::ALL.map(|result| series(operation, result))),
            )
        })
    }
}

impl Point {
    fn new<const N: usize>(attributes: [KeyValue; N]) -> Self {
        Self { attributes: attributes.into(), series: Series::new() }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_made_up_at_run_time_take_bounded_memory() {
        let durations = Durations::new(&Meters::none());
        for n in 0..3 * Registry::MAX_NAMES {
            durations.pipeline(&Name::literal(&format!("made-up-{n}")));
        }
        let pipelines = lock(&durations.pipelines);
        assert_eq!(pipelines.len(), Registry::MAX_NAMES + 1);
        assert!(pipelines.contains_key(&Name::literal(Registry::OVERFLOW)));
    }
}
