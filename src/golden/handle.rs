#[cfg(feature = "idempotency")]
use std::time::Duration;
use std::{any::Any, fmt, sync::Arc};

use super::objectives::Objectives;
#[cfg(feature = "idempotency")]
use crate::idempotency::IdempotencyHandle;
#[cfg(feature = "rate-limit")]
use crate::rate_limit::RateLimitHandle;
use crate::{
    bulkhead::BulkheadHandle,
    cells::Cells,
    circuit_breaker::CircuitBreakerHandle,
    fault::Faults,
    name::Name,
    observer::{Observer, Sink},
    record,
    registry::{Inspect, Profile, Registry, StackState},
};

/// A grip on a running stack: what it is doing, and the parts that can be moved while it runs.
///
/// Clones are the same stack. A handle keeps the parts alive, not the stack's service.
///
/// ```
/// # #[tokio::main(flavor = "current_thread")] async fn main() -> Result<(), moneta_resilience::CallError> {
/// use std::time::Duration;
/// use moneta_resilience::{event::CircuitState, golden};
///
/// let ledger = golden::client("ledger").timeout(Duration::from_secs(1)).no_fallback().calls();
/// let handle = ledger.handle();
///
/// handle.circuit_breaker().expect("it is on by default").force_open();
/// assert_eq!(handle.state().circuit, Some(CircuitState::ForcedOpen));
/// assert!(ledger.run(|| async { Ok::<_, std::io::Error>(()) }).await.is_err());
/// # Ok(()) }
/// ```
#[derive(Clone)]
pub struct Handle {
    parts: Arc<Parts>,
}

pub(super) struct Parts {
    pub(super) profile: Profile,
    pub(super) observer: Observer,
    pub(super) circuit_breaker: Option<CircuitBreakerHandle>,
    #[cfg(feature = "rate-limit")]
    pub(super) rate_limit: Option<RateLimitHandle>,
    pub(super) bulkhead: Option<BulkheadHandle>,
    #[cfg(feature = "idempotency")]
    pub(super) keyed: Option<IdempotencyHandle>,
    pub(super) faults: Faults,
    pub(super) ingress_faults: Option<Faults>,
}

impl Handle {
    pub(super) fn enlist(parts: Parts, registry: Option<&Registry>) -> Self {
        let parts = Arc::new(parts);
        let stack: Arc<dyn Inspect> = parts.clone();
        registry.unwrap_or(Registry::global()).enlist(Arc::downgrade(&stack));
        Self { parts }
    }

    /// The handles of all stacks of this name that are alive in the registry, oldest first.
    pub fn find(registry: &Registry, name: &str) -> Vec<Self> {
        Self::all(registry).into_iter().filter(|handle| handle.name().as_str() == name).collect()
    }

    /// The handles of all golden stacks that are alive in the registry, oldest first.
    pub fn all(registry: &Registry) -> Vec<Self> {
        let stacks = registry.stacks().into_iter();
        stacks.filter_map(|stack| stack.as_any().downcast().ok()).map(|parts| Self { parts }).collect()
    }

    /// The name of the stack.
    pub fn name(&self) -> &Name {
        self.parts.observer.name()
    }

    /// What the stack is doing at this moment.
    pub fn state(&self) -> StackState {
        self.parts.state()
    }

    /// The circuit breaker; `None` when the stack has none.
    pub fn circuit_breaker(&self) -> Option<&CircuitBreakerHandle> {
        self.parts.circuit_breaker.as_ref()
    }

    /// The rate limit; `None` when the stack has none.
    #[cfg(feature = "rate-limit")]
    pub fn rate_limit(&self) -> Option<&RateLimitHandle> {
        self.parts.rate_limit.as_ref()
    }

    /// The bulkhead; `None` when the stack has none.
    pub fn bulkhead(&self) -> Option<&BulkheadHandle> {
        self.parts.bulkhead.as_ref()
    }

    /// Waits until no handler runs under a key: they run on when their callers are gone, or their deliveries. For a shutdown, after
    /// no more calls or messages are taken and before the runtime is dropped.
    ///
    /// # Cancellation
    ///
    /// Can be dropped and asked again.
    #[cfg(feature = "idempotency")]
    pub async fn drain(&self) {
        if let Some(keyed) = &self.parts.keyed {
            keyed.drain().await;
        }
    }

    /// Asks the store of idempotency keys every so often, from now on, for how long its oldest key has been in doubt, for
    /// [`StackState::oldest_in_doubt`] and the metric `resilience.idempotency.oldest_in_doubt`. It does not end unless the stack
    /// looks at no keys; give it to a task of its own:
    ///
    /// ```
    /// # #[tokio::main(flavor = "current_thread")] async fn main() {
    /// use std::time::Duration;
    /// use moneta_resilience::{golden, idempotency::MemoryStore};
    ///
    /// let payments = golden::server("payments")
    ///     .timeout(Duration::from_secs(2))
    ///     .idempotency(MemoryStore::default())
    ///     .layer();
    /// tokio::spawn(payments.handle().watch_doubts(Duration::from_secs(30)));
    /// # }
    /// ```
    ///
    /// Nothing does so unless it is said: a stack starts no task before there is a call, and exporters do not wait for a
    /// database.
    ///
    /// # Cancellation
    ///
    /// Can be dropped at any time.
    ///
    /// # Panics
    ///
    /// When `every` is zero.
    #[cfg(feature = "idempotency")]
    #[track_caller]
    pub fn watch_doubts(&self, every: Duration) -> impl Future<Output = ()> + Send + use<> {
        let watch = self.parts.keyed.as_ref().map(|keyed| keyed.watch_doubts(every));
        async move {
            if let Some(watch) = watch {
                watch.await;
            }
        }
    }

    /// The fault hook in front of the service or the handler.
    pub fn faults(&self) -> &Faults {
        &self.parts.faults
    }

    /// The fault hook where a call begins; `None` when the stack has none.
    pub fn ingress_faults(&self) -> Option<&Faults> {
        self.parts.ingress_faults.as_ref()
    }

    /// What has been counted under the stack's name, over all stacks of that name.
    pub fn counts(&self) -> &Cells {
        self.parts.observer.cells()
    }
}

/// Whom a stack tells: its sinks, its objectives, and the metrics backend of the process unless it lives in a registry of its
/// own.
pub(super) fn observer(
    name: &Name,
    registry: Option<&Registry>,
    sinks: Vec<Arc<dyn Sink>>,
    objectives: Objectives,
) -> Observer {
    let observer = registry.map_or_else(|| record::observer(name), |registry| registry.observer(name));
    objectives.watch(&sinks.into_iter().fold(observer, Observer::sink), registry)
}

/// The stack that an experiment can reach.
#[cfg(feature = "chaos")]
impl From<&Handle> for crate::chaos::Place {
    fn from(handle: &Handle) -> Self {
        let Parts { observer, faults, ingress_faults, .. } = &*handle.parts;
        let (name, cells) = (observer.name().clone(), Arc::clone(observer.cells()));
        Self::new(name, faults.clone(), ingress_faults.clone(), cells)
    }
}

impl fmt::Debug for Handle {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Handle").field(&self.state()).finish()
    }
}

impl Inspect for Parts {
    fn state(&self) -> StackState {
        let mut state = StackState::new(self.observer.name().clone(), self.profile);
        state.circuit = self.circuit_breaker.as_ref().map(CircuitBreakerHandle::state);
        state.bulkhead = self.bulkhead.as_ref().map(BulkheadHandle::state);
        #[cfg(feature = "idempotency")]
        {
            state.oldest_in_doubt = self.keyed.as_ref().and_then(IdempotencyHandle::oldest_in_doubt);
        }
        let hooks = [Some(&self.faults), self.ingress_faults.as_ref()];
        state.fault_armed = hooks.into_iter().flatten().any(|faults| !faults.armed().is_empty());
        state
    }

    fn as_any(self: Arc<Self>) -> Arc<dyn Any + Send + Sync> {
        self
    }
}
