//! Requests over a wire: how long they took, how big their bodies were, and how many are under way.

use std::{
    sync::{Arc, OnceLock},
    time::Duration,
};

use opentelemetry::{KeyValue, Value, metrics::Meter};

use super::{
    messages::Messages,
    meters::{Histogram, Meters, Series},
};
use crate::{
    event::{End, Ended, Exchange, Protocol, Source},
    record::{
        active,
        capped::Capped,
        places::{Known, Place},
        requests::{self, Label, MOST},
    },
    telemetry::names,
};

/// The histograms of each end of each protocol, made when there is something to record.
pub(super) struct Requests {
    meters: Meters,
    histograms: [OnceLock<Histograms>; 4],
    messages: Messages,
}

struct Histograms {
    durations: Histogram<f64>,
    /// Of requests and of responses.
    sizes: Option<[Histogram<u64>; 2]>,
    series: Capped<requests::Series, Arc<Measured>>,
}

/// What is measured with the same labels.
pub(super) struct Measured {
    attributes: Arc<[KeyValue]>,
    duration: Series<f64>,
    sizes: [Series<u64>; 2],
}

impl Requests {
    pub(super) fn new(meters: Meters) -> Self {
        Self { meters, histograms: Default::default(), messages: Messages::new() }
    }

    pub(super) fn record_message(&self, source: Source, error: Option<&'static str>, elapsed: Duration) {
        self.messages.record(&self.meters, source, error, elapsed.as_secs_f64());
    }

    pub(super) fn record(
        &self,
        known: &mut Known<Arc<Measured>>,
        exchange: &'static Exchange,
        ended: &Ended,
    ) {
        let histograms = self.histograms[exchange.protocol as usize * 2 + exchange.end as usize]
            .get_or_init(|| Histograms::new(&self.meters, exchange.protocol, exchange.end));
        let measured = known.get(Place::finished(exchange, ended), || {
            let series = requests::Series::finished(exchange, ended);
            histograms.series.with(&series, || Measured::new(Some(&series)), Arc::clone)
        });
        let attributes = &measured.attributes;
        measured.duration.record(&histograms.durations, attributes, ended.elapsed.as_secs_f64());
        if let Some(histograms) = &histograms.sizes {
            let sizes = [ended.request_size, Some(ended.response_size)];
            for ((histogram, series), size) in histograms.iter().zip(&measured.sizes).zip(sizes) {
                if let Some(size) = size {
                    series.record(histogram, attributes, size);
                }
            }
        }
    }
}

impl Histograms {
    fn new(meters: &Meters, protocol: Protocol, end: End) -> Self {
        let (name, description) = requests::duration(protocol, end);
        let bodies = match end {
            End::Server => [names::HTTP_SERVER_REQUEST_SIZE, names::HTTP_SERVER_RESPONSE_SIZE],
            End::Client => [names::HTTP_CLIENT_REQUEST_SIZE, names::HTTP_CLIENT_RESPONSE_SIZE],
        };
        let sizes = meters.body_sizes() && protocol == Protocol::Http;
        let [request, response] = bodies;
        Self {
            durations: meters.durations(name, description),
            sizes: sizes.then(|| {
                [
                    meters.sizes(request, "The size of requests' bodies"),
                    meters.sizes(response, "The size of answers' bodies"),
                ]
            }),
            series: Capped::new(MOST, Measured::new(None)),
        }
    }
}

impl Measured {
    fn new(series: Option<&requests::Series>) -> Arc<Self> {
        let attributes = attributes(series).into();
        Arc::new(Self { attributes, duration: Series::new(), sizes: [Series::new(), Series::new()] })
    }
}

/// Makes the instruments that show how many requests are under way, for as long as `current` says so.
pub(super) fn register(meter: &Meter, current: impl Fn() -> bool + Clone + Send + Sync + 'static) {
    for (end, name) in [(End::Server, names::HTTP_SERVER_ACTIVE), (End::Client, names::HTTP_CLIENT_ACTIVE)] {
        let current = current.clone();
        meter
            .i64_observable_up_down_counter(name)
            .with_unit("{request}")
            .with_description("How many HTTP requests are under way")
            .with_callback(move |instrument| {
                if current() {
                    active::each(end, |series, value| instrument.observe(value, &attributes(series)));
                }
            })
            .build();
    }
}

fn attributes(series: Option<&requests::Series>) -> Vec<KeyValue> {
    // What those share for which there was no room: an SDK, which has a limit of its own, calls it the same.
    let Some(series) = series else { return vec![KeyValue::new(names::METRIC_OVERFLOW, true)] };
    let labels = series.labels().into_iter();
    labels
        .map(|(name, label)| match label {
            Label::Text(text) => KeyValue::new(name, text),
            Label::Number(number) => KeyValue::new(name, Value::I64(number.into())),
        })
        .collect()
}
