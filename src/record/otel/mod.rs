//! OpenTelemetry metrics through the global meter provider.
//!
//! Counts, states and gauges are *observable* instruments over the cells that the layers count in anyway: a call pays
//! nothing for them, they are exact, and they hold what was counted before there was a provider. Only durations are
//! recorded call by call.
//!
//! There is one set of instruments in the process, made when there is something to record and made anew when the global
//! provider was changed. A thread learns of a change from the old provider's being gone, which costs one load.

#[cfg(feature = "setup")]
mod binding;
#[cfg(not(feature = "setup"))]
#[path = "no_binding.rs"]
mod binding;
mod durations;
mod messages;
mod meters;
mod requests;
mod totals;

use std::{
    cell::RefCell,
    collections::HashMap,
    slice,
    sync::{Arc, OnceLock, Weak},
};

use opentelemetry::{
    global,
    metrics::{MeterProvider, noop::NoopMeterProvider},
};

#[cfg(feature = "setup")]
pub(crate) use self::binding::Binding;
use self::{
    durations::{Durations, Pipeline},
    meters::Meters,
    requests::{Measured, Requests},
};
use super::places::Known;
use crate::{
    event::Event,
    mix::ByAddress,
    name::Name,
    observer::{Interest, Sink},
    registry::Registry,
    sync::{AtomicU64, Mutex, Ordering, lock},
};

/// The sink that records durations in OpenTelemetry, one in the process. With it the totals and states of
/// [`Registry::global`] are exported.
///
/// It uses the global meter provider, whichever that is at the time, and does nothing while there is none. A provider
/// that comes late shows the totals from the first call on, durations from then on.
///
/// Golden stacks and [`record::observer`](super::observer) tell it already. It is for the stacks of a registry of one's
/// own, whose durations alone it then takes.
///
/// ```
/// use moneta_resilience::{Name, Registry, record};
///
/// let ledger = Name::new("ledger").expect("a good name");
/// let observer = Registry::new().observer(&ledger).sink(record::otel());
/// ```
pub fn otel() -> Arc<dyn Sink> {
    let otel = shared();
    // With a provider that is already there, states show up before the first call.
    otel.instruments();
    Arc::clone(otel) as Arc<dyn Sink>
}

/// What can be said about the histograms.
#[derive(Clone, Default)]
pub(crate) struct OtelSettings {
    /// Durations that their buckets are to tell apart as well, in seconds.
    pub(crate) bounds: Vec<f64>,
    /// Whether the sizes of bodies are measured.
    pub(crate) body_sizes: bool,
}

/// Has the histograms that are made from now on, which is with the next provider, be like that.
#[cfg(feature = "setup")]
pub(crate) fn otel_with(settings: OtelSettings) {
    *lock(&shared().settings) = settings;
}

fn shared() -> &'static Arc<Otel> {
    static OTEL: OnceLock<Arc<Otel>> = OnceLock::new();
    OTEL.get_or_init(Arc::default)
}

type Provider = Weak<dyn MeterProvider + Send + Sync>;

struct Otel {
    instruments: Mutex<Instruments>,
    /// Which set of instruments is the current one.
    generation: Arc<AtomicU64>,
    settings: Mutex<OtelSettings>,
}

/// The instruments, and the provider that they belong to.
///
/// It is held weakly: the global provider is kept alive by being that, and has to end once it is no more. That its
/// memory stays taken makes its address its identity.
#[derive(Clone)]
struct Instruments {
    provider: Provider,
    durations: Arc<Durations>,
    requests: Arc<Requests>,
}

/// What a thread keeps so that it takes no lock.
struct Local {
    instruments: Instruments,
    /// How many records until it asks for the global provider, should the old one be kept alive by somebody else.
    trusted: u32,
    /// What is recorded of each pipeline. The name beside it keeps its address taken.
    pipelines: Vec<(Name, Arc<Pipeline>)>,
    /// Where that is, by the address of the name: comparing it is cheaper than the text. Equal names from elsewhere have
    /// entries of their own.
    places: HashMap<usize, usize, ByAddress>,
    /// The address and the place that were looked up last, which the next record mostly asks for again.
    latest: (usize, usize),
    requests: Known<Arc<Measured>>,
}

thread_local! {
    static LOCAL: RefCell<Option<Local>> = const { RefCell::new(None) };
}

impl Otel {
    /// For how many records a thread trusts a provider that is still alive to be the global one.
    const TRUST: u32 = 256;

    /// Nothing is recorded by a thread that is being torn down, or by what a provider does while it records.
    #[inline]
    fn with_local(&self, record: impl FnOnce(&mut Local)) {
        let _ = LOCAL.try_with(|local| {
            if let Ok(mut local) = local.try_borrow_mut() {
                let local = local.get_or_insert_with(|| Local::new(self));
                local.trust(self);
                record(local);
            }
        });
    }

    /// The instruments of what is now the global provider.
    fn instruments(&self) -> Instruments {
        let mut instruments = lock(&self.instruments);
        let provider = global::meter_provider();
        if !instruments.provider.ptr_eq(&Arc::downgrade(&provider)) {
            // Relaxed: a callback that sees the old number writes once more what the new one writes too.
            let generation = self.generation.fetch_add(1, Ordering::Relaxed) + 1;
            let current = Arc::clone(&self.generation);
            let current = move || current.load(Ordering::Relaxed) == generation;
            let meters = Meters::of(&provider, lock(&self.settings).clone());
            totals::register(&meters.meter, current.clone());
            requests::register(&meters.meter, current);
            *instruments = Instruments::new(Arc::downgrade(&provider), meters);
        }
        instruments.clone()
    }
}

impl Default for Otel {
    fn default() -> Self {
        let none = Instruments::new(Weak::<NoopMeterProvider>::new(), Meters::none());
        Self { instruments: Mutex::new(none), generation: Arc::default(), settings: Mutex::default() }
    }
}

impl Instruments {
    fn new(provider: Provider, meters: Meters) -> Self {
        let durations = Arc::new(Durations::new(&meters));
        Self { provider, durations, requests: Arc::new(Requests::new(meters)) }
    }
}

impl Local {
    /// How many names a thread knows. Those that the registry had no room for share what is recorded, but each is found by
    /// itself: to find one anew takes a lock. With their texts they take some two megabytes at the most.
    const MOST_NAMES: usize = 8 * Registry::MAX_NAMES;

    #[cold]
    fn new(otel: &Otel) -> Self {
        Self {
            instruments: otel.instruments(),
            trusted: Otel::TRUST,
            pipelines: Vec::new(),
            places: HashMap::with_hasher(ByAddress::new()),
            latest: (0, 0),
            requests: Known::new(),
        }
    }

    /// Of every so many records one looks whether the provider is still the global one.
    #[inline]
    fn trust(&mut self, otel: &Otel) {
        self.trusted = self.trusted.saturating_sub(1);
        if self.trusted == 0 || self.instruments.provider.strong_count() == 0 {
            self.look_again(otel);
        }
    }

    #[inline]
    fn record(&mut self, pipeline: &Name, event: &Event) {
        let requests = &self.instruments.requests;
        match *event {
            Event::RequestFinished { exchange, ref ended } => {
                requests.record(&mut self.requests, exchange, ended);
            }
            Event::MessageProcessed { source, error, elapsed } => {
                requests.record_message(source, error, elapsed);
            }
            _ => self.record_of_pipeline(pipeline, event),
        }
    }

    #[inline]
    fn record_of_pipeline(&mut self, pipeline: &Name, event: &Event) {
        let address = pipeline.as_str().as_ptr().addr();
        if address != self.latest.0 {
            self.latest = (address, self.place(address, pipeline));
        }
        let (_, known) = &self.pipelines[self.latest.1];
        self.instruments.durations.record(known, event);
    }

    /// Where that is what is recorded of the pipeline.
    #[cold]
    fn place(&mut self, address: usize, pipeline: &Name) -> usize {
        if let Some(&place) = self.places.get(&address) {
            return place;
        }
        // Names made up at run time must not fill the memory either.
        if self.pipelines.len() >= Self::MOST_NAMES {
            self.pipelines.clear();
            self.places.clear();
        }
        let place = self.pipelines.len();
        self.pipelines.push((pipeline.clone(), self.instruments.durations.pipeline(pipeline)));
        self.places.insert(address, place);
        place
    }

    #[cold]
    fn look_again(&mut self, otel: &Otel) {
        let instruments = otel.instruments();
        if Arc::ptr_eq(&instruments.durations, &self.instruments.durations) {
            self.trusted = Otel::TRUST;
        } else {
            *self = Self::new(otel);
        }
    }
}

impl Sink for Otel {
    fn interest(&self) -> Interest {
        Interest::CALLS | Interest::WAITS | Interest::REQUESTS | Interest::STORES | Interest::UNDER_WAY
    }

    fn record(&self, pipeline: &Name, event: &Event) {
        self.record_all(pipeline, slice::from_ref(event));
    }

    fn record_all(&self, pipeline: &Name, events: &[Event]) {
        self.with_local(|local| {
            for event in events {
                local.record(pipeline, event);
            }
        });
    }
}

#[cfg(test)]
mod request_tests;

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::event::Outcome;

    #[test]
    fn names_made_up_at_run_time_take_bounded_memory_of_a_thread() {
        let otel = Otel::default();
        let mut local = Local::new(&otel);
        let event = Event::CallFinished {
            outcome: Outcome::Success,
            elapsed: Duration::ZERO,
            synthetic: false,
            injected: false,
        };
        for n in 0..2 * Local::MOST_NAMES {
            local.record(&Name::literal(&format!("made-up-{n}")), &event);
            assert_eq!(local.pipelines.len(), n % Local::MOST_NAMES + 1);
            assert_eq!(local.places.len(), local.pipelines.len());
        }
    }

    #[test]
    fn ten_thousand_names_used_in_turn_are_found_again_without_an_allocation() {
        let otel = Otel::default();
        let mut local = Local::new(&otel);
        let event = Event::CallFinished {
            outcome: Outcome::Success,
            elapsed: Duration::ZERO,
            synthetic: false,
            injected: false,
        };
        let names: Vec<_> = (0..10_000).map(|n| Name::literal(&format!("in-turn-{n}"))).collect();
        let mut round = || names.iter().for_each(|name| local.record(name, &event));
        round();
        assert_eq!(allocation_counter::measure(round).count_total, 0);
    }
}
