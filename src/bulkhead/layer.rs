use std::{fmt, hash::Hash, sync::Arc, time::Duration};

use tower::Layer;

#[cfg(feature = "http")]
use super::ByHead;
use super::{
    BulkheadHandle, BulkheadPolicy, ConcurrencyLimit, Gradient, KeyedBy, Unkeyed, config::BulkheadConfig,
};
#[cfg(feature = "http")]
use crate::head::Head;
use crate::{
    classify::ByError,
    observer::Observer,
    policy::{Leaf, Stack, StackFuture},
};

/// A service with a bound on its calls in flight.
pub type Bulkhead<S, C = ByError, K = Unkeyed> = Stack<BulkheadPolicy<Leaf<C>, K>, S>;
/// The future of a [`Bulkhead`].
pub type BulkheadFuture<S, Req, C = ByError, K = Unkeyed> = StackFuture<BulkheadPolicy<Leaf<C>, K>, S, Req>;

/// Bounds the calls in flight; see the [module](super).
///
/// The bound belongs to the layer: all services that one layer, or its clones, was put in front of share it.
/// A setter gives a layer with a bulkhead of its own, so take the [`handle`](Self::handle) after the last
/// one.
#[must_use = "a layer does nothing until it is put in front of a service"]
pub struct BulkheadLayer<C = ByError, K = Unkeyed> {
    policy: Arc<BulkheadPolicy<Leaf<C>, K>>,
}

impl BulkheadLayer {
    /// At most so many calls in flight, with a queue of 64 and a wait of 100 ms. More than 2,097,151 mean that many.
    ///
    /// The limit is a number, or a law by which it adapts: [`Gradient`], [`Aimd`](super::Aimd).
    ///
    /// # Panics
    ///
    /// When the limit is zero: no call could ever get in.
    #[track_caller]
    pub fn new(limit: impl Into<ConcurrencyLimit>) -> Self {
        let limit = limit.into();
        assert!(
            limit != ConcurrencyLimit::Fixed(0),
            "a bulkhead of zero would refuse every call; give it a limit above zero"
        );
        let config = BulkheadConfig { limit, ..BulkheadConfig::CLIENT };
        Self::with(config, Unkeyed, Observer::unnamed("bulkhead"), Leaf::default())
    }

    /// As many calls in flight as the dependency can take: a [`Gradient`] with its defaults finds out how many that are,
    /// and goes on finding out.
    pub fn adaptive() -> Self {
        Self::new(Gradient::new())
    }
}

impl<C, K> BulkheadLayer<C, K> {
    /// Judges results with `classifier` instead of [`ByError`]; a limit that adapts learns from what it says. In a
    /// golden stack the stack's own classifier is used.
    ///
    /// ```
    /// use moneta_resilience::{BoxError, Class, bulkhead::BulkheadLayer};
    ///
    /// let layer = BulkheadLayer::adaptive().classify(|result: Result<&u32, &BoxError>| match result {
    ///     Ok(429) => Class::THROTTLED,
    ///     Ok(_) => Class::Success,
    ///     Err(_) => Class::TRANSIENT,
    /// });
    /// # drop(layer);
    /// ```
    pub fn classify<D>(self, classifier: D) -> BulkheadLayer<D, K>
    where
        K: Clone,
    {
        let policy = &self.policy;
        let (key, observer) = (policy.key.clone(), policy.observer.clone());
        BulkheadLayer::with(policy.config, key, observer, Leaf::new(classifier))
    }

    /// The bulkhead while it runs: its limit, which can be changed, and its counts.
    #[expect(clippy::missing_panics_doc, reason = "a layer cannot switch its bulkhead off")]
    pub fn handle(&self) -> BulkheadHandle {
        self.policy.handle().expect("a layer cannot switch its bulkhead off")
    }

    /// The same bulkhead round another policy, told to another observer.
    pub(crate) fn over<I>(&self, observer: Observer, inner: I) -> BulkheadPolicy<I, K>
    where
        K: Clone,
    {
        self.policy.over(observer, inner)
    }

    /// The same bulkhead, to be put in front of a service in another way.
    #[cfg(feature = "http")]
    pub(crate) fn alone(&self) -> BulkheadPolicy<Leaf<C>, K>
    where
        C: Clone,
        K: Clone,
    {
        self.policy.over(self.policy.observer.clone(), self.policy.inner.clone())
    }

    fn with(config: BulkheadConfig, key: K, observer: Observer, leaf: Leaf<C>) -> Self {
        Self { policy: Arc::new(BulkheadPolicy::new(config, key, observer, leaf)) }
    }
}

impl<C: Clone> BulkheadLayer<C> {
    /// Divides the limit into equal shares by a key of the request: one share for each of up to `keys` keys that are in
    /// use at a time, and one for all others together. A tenant that floods the service fills its own share, and no
    /// other.
    ///
    /// The shares are strict. No key gets more than its own, also when the rest is idle, so that everybody finds theirs
    /// free at once; and together they are never more than the limit: a share is `limit / (keys + 1)`, at least 1. The
    /// queue is divided likewise. A key has its share for as long as one of its calls is in flight or waits, and
    /// takes no memory after that. Give as many keys as there are tenants to be told apart, and a key that
    /// callers cannot make up: of those who came when all shares were taken, nobody is told apart.
    ///
    /// `key` is asked once, when the call begins, and must not block. Its hash is all that is kept.
    ///
    /// ```
    /// use moneta_resilience::bulkhead::BulkheadLayer;
    ///
    /// struct Order { tenant: u32 }
    ///
    /// let ten_places_each = BulkheadLayer::new(110).partition_by(10, |order: &Order| order.tenant);
    /// # drop(ten_places_each);
    /// ```
    ///
    /// # Panics
    ///
    /// When `keys` is zero: all would have one share.
    #[track_caller]
    pub fn partition_by<Req, Key, F>(self, keys: usize, key: F) -> BulkheadLayer<C, KeyedBy<F>>
    where
        F: Fn(&Req) -> Key,
        Key: Hash,
    {
        self.partition(keys, KeyedBy::new(key))
    }

    /// Like [`partition_by`](Self::partition_by), for HTTP requests with bodies of any type: on a golden server.
    ///
    /// ```
    /// # #[cfg(feature = "http")] {
    /// use std::time::Duration;
    /// use moneta_resilience::{bulkhead::BulkheadLayer, golden};
    ///
    /// let tenants = BulkheadLayer::new(1100)
    ///     .max_queue(0)
    ///     .partition_by_head(10, |head| head.headers.get("x-tenant").cloned());
    /// let layer = golden::server("payments").timeout(Duration::from_secs(2)).bulkhead_layer(tenants).layer();
    /// # drop(layer);
    /// # }
    /// ```
    ///
    /// # Panics
    ///
    /// When `keys` is zero: all would have one share.
    #[cfg(feature = "http")]
    #[track_caller]
    pub fn partition_by_head<Key: Hash>(
        self,
        keys: usize,
        key: impl Fn(Head<'_>) -> Key + Send + Sync + 'static,
    ) -> BulkheadLayer<C, ByHead> {
        self.partition(keys, ByHead::new(key))
    }

    #[track_caller]
    fn partition<K>(self, keys: usize, key: K) -> BulkheadLayer<C, K> {
        assert!(keys > 0, "shares of no key are one for all; give at least one key");
        let policy = &self.policy;
        let config = BulkheadConfig { keys: Some(keys), ..policy.config };
        BulkheadLayer::with(config, key, policy.observer.clone(), policy.inner.clone())
    }
}

impl<C: Clone, K: Clone> BulkheadLayer<C, K> {
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

    /// Keeps places for the more important calls: each [`Priority`](crate::Priority) may fill its
    /// [`share`](crate::Priority::share) of the limit. `Sheddable` 60 %, `SheddablePlus` 75 %, `Critical` 90 %, `CriticalPlus` all.
    ///
    /// A call that finds its share full is refused at once, with reason [`Shed`](crate::Reason::Shed): only `CriticalPlus`
    /// queues. Refused callers are told to come back after 0.5 to 4 s, by chance, so that they do not come back together.
    /// Without this, everyone has all of the limit.
    pub fn priorities(self) -> Self {
        self.map(|config| config.priorities = true)
    }

    /// Tells this observer; by default the layer has one of its own, named `bulkhead`.
    pub fn observer(self, observer: Observer) -> Self {
        Self::with(self.policy.config, self.policy.key.clone(), observer, self.policy.inner.clone())
    }

    fn map(self, change: impl FnOnce(&mut BulkheadConfig)) -> Self {
        let policy = &self.policy;
        let mut config = policy.config;
        change(&mut config);
        Self::with(config, policy.key.clone(), policy.observer.clone(), policy.inner.clone())
    }
}

#[cfg(feature = "http")]
impl<C: Clone, K: Clone + Into<ByHead>> BulkheadLayer<C, K> {
    /// The same bulkhead, with the same places, as one whose key may be taken from the head of an HTTP request.
    pub(crate) fn into_by_head(self) -> BulkheadLayer<C, ByHead> {
        BulkheadLayer { policy: Arc::new(self.alone().with_key(self.policy.key.clone().into())) }
    }
}

impl<C, K> Clone for BulkheadLayer<C, K> {
    /// The clone shares the places.
    fn clone(&self) -> Self {
        Self { policy: Arc::clone(&self.policy) }
    }
}

impl<C, K> fmt::Debug for BulkheadLayer<C, K> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("BulkheadLayer").field("config", &self.policy.config).finish_non_exhaustive()
    }
}

impl<S, C, K> Layer<S> for BulkheadLayer<C, K> {
    type Service = Bulkhead<S, C, K>;

    fn layer(&self, service: S) -> Self::Service {
        Stack::new(Arc::clone(&self.policy), service)
    }
}
