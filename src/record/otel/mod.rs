//! OpenTelemetry metrics through the global meter provider.
//!
//! Counts, states and gauges are *observable* instruments over the cells that the layers count in anyway: a call pays
//! nothing for them, they are exact, and they hold what was counted before there was a provider. Only durations are
//! recorded call by call.
//!
//! There is one set of instruments in the process, made when there is something to record and made anew when the global
//! provider was changed. A thread learns of a change from the old provider's being gone, which costs one load.

mod durations;
mod totals;

use std::{
    cell::RefCell,
    collections::BTreeMap,
    sync::{Arc, OnceLock, Weak},
};

#[cfg(feature = "setup")]
use std::time::Duration;

use opentelemetry::{
    global,
    metrics::{MeterProvider, noop::NoopMeterProvider},
};

use self::durations::{Durations, Labels};
use crate::{
    event::Event,
    name::Name,
    observer::{Interest, Sink},
    registry::Registry,
    sync::{AtomicU64, Mutex, Ordering, lock},
    telemetry,
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

/// Has the histograms that are made from now on, which is with the next provider, tell these durations apart as well.
#[cfg(feature = "setup")]
pub(crate) fn otel_with(bounds: &[Duration]) {
    *lock(&shared().bounds) = bounds.iter().map(Duration::as_secs_f64).collect();
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
    /// The labels of each pipeline, shared by all threads.
    labels: Mutex<BTreeMap<Name, Arc<Labels>>>,
    /// Bounds of buckets that were asked for, in seconds.
    bounds: Mutex<Vec<f64>>,
}

/// The instruments, and the provider that they belong to.
///
/// It is held weakly: the global provider is kept alive by being that, and has to end once it is no more. That its
/// memory stays taken makes its address its identity.
#[derive(Clone)]
struct Instruments {
    provider: Provider,
    durations: Arc<Durations>,
}

/// What a thread keeps so that it takes no lock.
struct Local {
    instruments: Instruments,
    /// How many records until it asks for the global provider, should the old one be kept alive by somebody else.
    trusted: u32,
    /// The labels of each pipeline, by the address of its name: comparing that is cheaper than the text. The name beside
    /// them keeps the address taken. Equal names from elsewhere have entries of their own.
    labels: BTreeMap<usize, (Name, Arc<Labels>)>,
}

thread_local! {
    static LOCAL: RefCell<Option<Local>> = const { RefCell::new(None) };
}

impl Otel {
    /// For how many records a thread trusts a provider that is still alive to be the global one.
    const TRUST: u32 = 256;

    /// The instruments of what is now the global provider.
    fn instruments(&self) -> Instruments {
        let mut instruments = lock(&self.instruments);
        let provider = global::meter_provider();
        if !instruments.provider.ptr_eq(&Arc::downgrade(&provider)) {
            // Relaxed: a callback that sees the old number writes once more what the new one writes too.
            let generation = self.generation.fetch_add(1, Ordering::Relaxed) + 1;
            let meter = provider.meter_with_scope(telemetry::scope());
            let current = Arc::clone(&self.generation);
            totals::register(&meter, move || current.load(Ordering::Relaxed) == generation);
            *instruments = Instruments {
                provider: Arc::downgrade(&provider),
                durations: Arc::new(Durations::new(&meter, &lock(&self.bounds))),
            };
        }
        instruments.clone()
    }

    fn labels(&self, pipeline: &Name) -> Arc<Labels> {
        let mut labels = lock(&self.labels);
        let pipeline = if labels.len() < Registry::MAX_NAMES || labels.contains_key(pipeline) {
            pipeline.clone()
        } else {
            Name::literal(Registry::OVERFLOW)
        };
        Arc::clone(labels.entry(pipeline).or_insert_with_key(|pipeline| Arc::new(Labels::new(pipeline))))
    }
}

impl Default for Otel {
    fn default() -> Self {
        Self {
            instruments: Mutex::new(Instruments::none()),
            generation: Arc::default(),
            labels: Mutex::default(),
            bounds: Mutex::default(),
        }
    }
}

impl Instruments {
    fn none() -> Self {
        let provider = Weak::<NoopMeterProvider>::new();
        Self { provider, durations: Arc::new(Durations::new(&NoopMeterProvider::new().meter(""), &[])) }
    }
}

impl Local {
    fn new(otel: &Otel) -> Self {
        Self { instruments: otel.instruments(), trusted: Otel::TRUST, labels: BTreeMap::new() }
    }

    fn record(&mut self, otel: &Otel, pipeline: &Name, event: &Event) {
        self.trusted = self.trusted.saturating_sub(1);
        if self.trusted == 0 || self.instruments.provider.strong_count() == 0 {
            self.instruments = otel.instruments();
            self.trusted = Otel::TRUST;
        }
        let address = pipeline.as_str().as_ptr().addr();
        if let Some((_, labels)) = self.labels.get(&address) {
            self.instruments.durations.record(labels, event);
        } else {
            let labels = otel.labels(pipeline);
            self.instruments.durations.record(&labels, event);
            // Names made up at run time must not fill the memory either.
            if self.labels.len() > Registry::MAX_NAMES {
                self.labels.clear();
            }
            self.labels.insert(address, (pipeline.clone(), labels));
        }
    }
}

impl Sink for Otel {
    fn interest(&self) -> Interest {
        Interest::CALLS | Interest::ATTEMPTS | Interest::WAITS
    }

    fn record(&self, pipeline: &Name, event: &Event) {
        // Nothing is recorded by a thread that is being torn down, or by what a provider does while it records.
        let _ = LOCAL.try_with(|local| {
            if let Ok(mut local) = local.try_borrow_mut() {
                local.get_or_insert_with(|| Local::new(self)).record(self, pipeline, event);
            }
        });
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::event::Outcome;

    #[test]
    fn names_made_up_at_run_time_take_bounded_memory() {
        let otel = Otel::default();
        let mut local = Local::new(&otel);
        let event = Event::CallFinished { outcome: Outcome::Success, elapsed: Duration::ZERO };
        for n in 0..3 * Registry::MAX_NAMES {
            local.record(&otel, &Name::literal(&format!("made-up-{n}")), &event);
        }
        assert!(local.labels.len() <= Registry::MAX_NAMES + 1);
        let labels = lock(&otel.labels);
        assert_eq!(labels.len(), Registry::MAX_NAMES + 1);
        assert!(labels.contains_key(&Name::literal(Registry::OVERFLOW)));
    }
}
