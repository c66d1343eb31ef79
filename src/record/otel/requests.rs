//! Requests over a wire: how long they took, how big their bodies were, and how many are under way.

use std::{
    cell::RefCell,
    sync::{Arc, OnceLock},
    time::Duration,
};

use opentelemetry::{
    KeyValue, Value,
    metrics::{AsyncInstrument, Meter},
};

use super::{
    messages::Messages,
    meters::{Histogram, Meters, Series},
};
use crate::{
    event::{End, Ended, Event, Exchange, Protocol, Source},
    record::{
        capped::Capped,
        requests::{self, Known, Label, MOST},
    },
    sync::{AtomicU64, Ordering, STRIPES, stripe},
    telemetry::names,
};

/// The histograms of each end of each protocol, made when there is something to record.
pub(super) struct Requests {
    meters: Meters,
    kinds: [OnceLock<Kind>; 4],
    messages: Messages,
}

struct Kind {
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
        Self { meters, kinds: Default::default(), messages: Messages::new() }
    }

    pub(super) fn record_message(&self, source: Source, error: Option<&'static str>, elapsed: Duration) {
        self.messages.record(&self.meters, source, error, elapsed.as_secs_f64());
    }

    pub(super) fn record(&self, known: &mut Known<Measured>, exchange: &Exchange, ended: &Ended) {
        let kind = self.kinds[exchange.protocol as usize * 2 + exchange.end as usize]
            .get_or_init(|| Kind::new(&self.meters, exchange.protocol, exchange.end));
        let series = requests::Series::finished(exchange, ended);
        let measured =
            known.get(&series, || kind.series.with(&series, || Measured::new(Some(&series)), Arc::clone));
        measured.duration.record(&kind.durations, &measured.attributes, ended.elapsed.as_secs_f64());
        if let Some(histograms) = &kind.sizes {
            let sizes = [ended.request_size, Some(ended.response_size)];
            for ((histogram, series), size) in histograms.iter().zip(&measured.sizes).zip(sizes) {
                if let Some(size) = size {
                    series.record(histogram, &measured.attributes, size);
                }
            }
        }
    }
}

impl Kind {
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

/// How many requests are under way, whether or not there is a provider: it may come before they end.
pub(super) struct Active([Capped<requests::Series, Arc<Gauge>>; 2]);

thread_local! {
    static KNOWN: RefCell<Known<Gauge>> = const { RefCell::new(Known::new()) };
}

impl Default for Active {
    fn default() -> Self {
        Self([(); 2].map(|()| Capped::new(MOST, Arc::default())))
    }
}

impl Active {
    #[inline]
    pub(super) fn count(&self, event: &Event) {
        let (exchange, change) = match event {
            Event::RequestStarted { exchange } => (exchange, 1),
            Event::RequestFinished { exchange, .. } => (exchange, u64::MAX),
            _ => return,
        };
        // The conventions know no such metric of gRPC.
        if exchange.protocol == Protocol::Http {
            self.add(exchange, change);
        }
    }

    fn add(&self, exchange: &Exchange, change: u64) {
        let series = requests::Series::active(exchange);
        let find = || self.0[exchange.end as usize].with(&series, Arc::default, Arc::clone);
        let added = KNOWN.try_with(|known| {
            known.borrow_mut().get(&series, find).add(change);
        });
        // A thread that is being torn down knows nothing any more, and yet a request may end in it.
        if added.is_err() {
            find().add(change);
        }
    }

    /// Makes the instruments, which read this for as long as `current` says so.
    pub(super) fn register(
        self: &Arc<Self>,
        meter: &Meter,
        current: impl Fn() -> bool + Clone + Send + Sync + 'static,
    ) {
        for (end, name) in
            [(End::Server, names::HTTP_SERVER_ACTIVE), (End::Client, names::HTTP_CLIENT_ACTIVE)]
        {
            let (active, current) = (Arc::clone(self), current.clone());
            meter
                .i64_observable_up_down_counter(name)
                .with_unit("{request}")
                .with_description("How many HTTP requests are under way")
                .with_callback(move |instrument| {
                    if current() {
                        active.observe(end, instrument);
                    }
                })
                .build();
        }
    }

    fn observe(&self, end: End, instrument: &dyn AsyncInstrument<i64>) {
        self.0[end as usize].each(|series, gauge| instrument.observe(gauge.value(), &attributes(series)));
    }
}

/// A number that goes up and down, striped like the cells of pipelines.
#[derive(Default)]
struct Gauge([Stripe; STRIPES]);

#[derive(Default)]
#[repr(align(64))]
struct Stripe(AtomicU64);

impl Gauge {
    /// Adds what wraps round: what goes up in one stripe may come down in another.
    #[inline]
    fn add(&self, change: u64) {
        // Relaxed: nothing but the number itself is read.
        self.0[stripe()].0.fetch_add(change, Ordering::Relaxed);
    }

    fn value(&self) -> i64 {
        let sum = self.0.iter().fold(0_u64, |sum, stripe| sum.wrapping_add(stripe.0.load(Ordering::Relaxed)));
        // Below 0 when a request moved on, from a stripe that was read to one that was not yet.
        i64::try_from(sum).unwrap_or(0)
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
