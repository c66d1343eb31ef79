//! Requests over a wire: how long they took, and how many are under way.

use std::time::Duration;

use ::metrics::{Key, Label as Pair, Recorder, Unit, with_recorder};

use super::METADATA;
use crate::{
    event::{End, Protocol},
    record::{
        active,
        capped::Capped,
        requests::{Label, MOST, Series, duration},
    },
    telemetry::names,
};

/// The metrics of requests, whose labels are the same for all pipelines.
pub(super) struct Requests {
    durations: [Capped<Series, Key>; 4],
}

const KINDS: [(Protocol, End); 4] = [
    (Protocol::Http, End::Server),
    (Protocol::Http, End::Client),
    (Protocol::Grpc, End::Server),
    (Protocol::Grpc, End::Client),
];

impl Default for Requests {
    fn default() -> Self {
        Self {
            durations: KINDS.map(|(protocol, end)| Capped::new(MOST, key(duration(protocol, end).0, None))),
        }
    }
}

impl Requests {
    pub(super) fn measure(&self, series: &Series, elapsed: Duration) {
        let kind = series.protocol as usize * 2 + series.end as usize;
        let make = || key(duration(series.protocol, series.end).0, Some(series));
        let histogram = |key: &Key| with_recorder(|recorder| recorder.register_histogram(key, &METADATA));
        self.durations[kind].with(series, make, histogram).record(elapsed.as_secs_f64());
    }
}

/// Writes how many requests are under way.
pub(super) fn publish(recorder: &dyn Recorder) {
    for end in [End::Server, End::Client] {
        active::each(end, |series, count| {
            #[expect(clippy::cast_precision_loss, reason = "what is under way stays far below 2^52")]
            recorder.register_gauge(&key(name(end), series), &METADATA).set(count as f64);
        });
    }
}

pub(super) fn describe(recorder: &dyn Recorder) {
    for (protocol, end) in KINDS {
        let (name, description) = duration(protocol, end);
        recorder.describe_histogram(name.into(), Some(Unit::Seconds), description.into());
    }
    for end in [End::Server, End::Client] {
        let description = "How many HTTP requests are under way";
        recorder.describe_gauge(name(end).into(), Some(Unit::Count), description.into());
    }
}

const fn name(end: End) -> &'static str {
    match end {
        End::Server => names::HTTP_SERVER_ACTIVE,
        End::Client => names::HTTP_CLIENT_ACTIVE,
    }
}

/// The key of a series, or of what those share for which there was no room.
fn key(name: &'static str, series: Option<&Series>) -> Key {
    let labels = match series {
        Some(series) => series.labels().into_iter().map(pair).collect(),
        None => vec![Pair::from_static_parts(names::METRIC_OVERFLOW, "true")],
    };
    Key::from_parts(name, labels).to_retained()
}

fn pair((name, label): (&'static str, Label)) -> Pair {
    match label {
        Label::Text(text) => Pair::from_static_parts(name, text),
        Label::Number(number) => Pair::new(name, number.to_string()),
    }
}
