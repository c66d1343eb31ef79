use std::{num::NonZeroUsize, sync::Arc, time::Duration};

use tower::Layer;

use super::{BulkheadPolicy, config::BulkheadConfig, machine::Machine};
use crate::{
    classify::ByError,
    observer::Observer,
    policy::{Leaf, Stack, StackFuture},
    registry::BulkheadState,
};

/// A service with a bound on its calls in flight.
pub type Bulkhead<S, C = ByError> = Stack<BulkheadPolicy<Leaf<C>>, S>;
/// The future of a [`Bulkhead`].
pub type BulkheadFuture<S, Req, C = ByError> = StackFuture<BulkheadPolicy<Leaf<C>>, S, Req>;

/// Bounds the calls in flight; see the [module](super).
///
/// The bound belongs to the layer: all services that one layer, or its clones, was put in front of share it.
/// A setter gives a layer with a bulkhead of its own, so take the [`handle`](Self::handle) after the last
/// one.
#[derive(Clone, Debug)]
#[must_use = "a layer does nothing until it is put in front of a service"]
pub struct BulkheadLayer {
    policy: Arc<BulkheadPolicy<Leaf>>,
}

impl BulkheadLayer {
    /// At most `max_concurrent` calls in flight, with a queue of 64 and a wait of 100 ms. More than 2,097,151
    /// mean that many.
    ///
    /// # Panics
    ///
    /// When `max_concurrent` is zero: no call could ever get in.
    #[track_caller]
    pub fn new(max_concurrent: usize) -> Self {
        assert!(max_concurrent > 0, "a bulkhead of zero would refuse every call; give it a limit above zero");
        Self::with(BulkheadConfig { max_concurrent, ..BulkheadConfig::CLIENT }, Observer::unnamed("bulkhead"))
    }

    /// How many calls may wait for a place; the next is refused at once. Default 64; with 0 nobody waits.
    pub fn max_queue(self, max_queue: usize) -> Self {
        self.map(|config| config.max_queue = max_queue)
    }

    /// How long a call may wait for a place, and never past its deadline. Default 100 ms.
    pub fn max_wait(self, max_wait: Duration) -> Self {
        self.map(|config| config.max_wait = max_wait)
    }

    /// Lets every call wait for a place, however many wait already and however long it takes; only the deadline of the
    /// call ends its wait. For a consumer, whose messages would have to be asked for again: it takes no more than it
    /// can handle, and refuses none. A queue of 2,097,151 calls is full all the same.
    ///
    /// ```
    /// use moneta_resilience::bulkhead::BulkheadLayer;
    ///
    /// let twenty_messages_at_once = BulkheadLayer::new(20).without_refusals();
    /// # drop(twenty_messages_at_once);
    /// ```
    pub fn without_refusals(self) -> Self {
        self.max_queue(usize::MAX).max_wait(Duration::MAX)
    }

    /// Tells this observer; by default the layer has one of its own, named `bulkhead`.
    pub fn observer(self, observer: Observer) -> Self {
        Self::with(self.policy.config, observer)
    }

    /// The bulkhead while it runs: its limit, which can be changed, and its counts.
    #[expect(clippy::missing_panics_doc, reason = "a layer cannot switch its bulkhead off")]
    pub fn handle(&self) -> BulkheadHandle {
        self.policy.handle().expect("a layer cannot switch its bulkhead off")
    }

    /// The same bulkhead round another policy, told to another observer.
    pub(crate) fn over<I>(&self, observer: Observer, inner: I) -> BulkheadPolicy<I> {
        self.policy.over(observer, inner)
    }

    fn map(self, change: impl FnOnce(&mut BulkheadConfig)) -> Self {
        let mut config = self.policy.config;
        change(&mut config);
        Self::with(config, self.policy.observer.clone())
    }

    fn with(config: BulkheadConfig, observer: Observer) -> Self {
        Self { policy: Arc::new(BulkheadPolicy::new(config, observer, Leaf::default())) }
    }
}

impl<S> Layer<S> for BulkheadLayer {
    type Service = Bulkhead<S>;

    fn layer(&self, service: S) -> Self::Service {
        Stack::new(Arc::clone(&self.policy), service)
    }
}

/// A bulkhead while it runs. Clones are the same one.
#[derive(Clone, Debug)]
pub struct BulkheadHandle {
    machine: Arc<Machine>,
}

impl BulkheadHandle {
    pub(super) fn new(machine: Arc<Machine>) -> Self {
        Self { machine }
    }

    /// The limit, and how many calls are in flight and in the queue, all at one moment.
    ///
    /// More can be in flight than the limit allows, for a while after it was lowered.
    pub fn state(&self) -> BulkheadState {
        self.machine.state()
    }

    /// Changes the limit from the next call on. A higher one lets waiting calls in at once; a lower one
    /// leaves the calls in flight alone and admits no other until enough of them have ended.
    pub fn set_limit(&self, limit: NonZeroUsize) {
        self.machine.set_limit(limit.get());
    }
}
