use std::{hash::Hash, sync::Arc, time::Duration};

use tower::Layer;

#[cfg(feature = "http")]
use super::ByHead;
use super::{
    KeyedBy, RateLimitPolicy, Unkeyed,
    policy::{RateLimitConfig, State},
};
#[cfg(feature = "http")]
use crate::head::Head;
use crate::{
    classify::ByError,
    observer::Observer,
    policy::{Leaf, Stack, StackFuture},
    quota::Quota,
};

/// A service with a limit on the rate of its calls.
pub type RateLimit<S, K = Unkeyed, C = ByError> = Stack<RateLimitPolicy<Leaf<C>, K>, S>;
/// The future of a [`RateLimit`].
pub type RateLimitFuture<S, Req, K = Unkeyed, C = ByError> = StackFuture<RateLimitPolicy<Leaf<C>, K>, S, Req>;

/// Limits the rate of calls; see the [module](super).
///
/// The quota belongs to the layer: all services that one layer, or its clones, was put in front of draw on it. A setter
/// gives a layer with a quota of its own, so take the [`handle`](Self::handle) after the last one.
#[derive(Debug)]
#[must_use = "a layer does nothing until it is put in front of a service"]
pub struct RateLimitLayer<K = Unkeyed> {
    policy: Arc<RateLimitPolicy<Leaf, K>>,
}

impl RateLimitLayer {
    /// Lets calls begin as `quota` says and refuses the others.
    ///
    /// ```
    /// use std::time::Duration;
    /// use moneta_resilience::{Quota, rate_limit::RateLimitLayer};
    ///
    /// let a_hundred_a_second = RateLimitLayer::new(Quota::per_second(100));
    /// let evenly = RateLimitLayer::new(Quota::per(600, Duration::from_secs(60)).burst(1))
    ///     .max_wait(Duration::from_millis(500));
    /// # let _ = (a_hundred_a_second, evenly);
    /// ```
    pub fn new(quota: Quota) -> Self {
        let config = RateLimitConfig { quota, max_wait: Duration::ZERO, max_keys: 10_000 };
        Self::with(config, Observer::unnamed("rate_limit"), Unkeyed)
    }

    /// Gives each key that `key` takes from a request a quota of its own.
    ///
    /// It is called once for each call and must not block.
    pub fn key_by<Req, Key, F>(self, key: F) -> RateLimitLayer<KeyedBy<F>>
    where
        F: Fn(&Req) -> Key,
        Key: Hash,
    {
        RateLimitLayer::with(self.policy.config, self.policy.observer.clone(), KeyedBy::new(key))
    }

    /// The same for HTTP requests with a body of any type, as the golden server takes it.
    ///
    /// Requests without what the key is taken from have a quota together.
    ///
    /// ```
    /// use moneta_resilience::{Quota, rate_limit::RateLimitLayer};
    ///
    /// let per_caller = RateLimitLayer::new(Quota::per_second(50))
    ///     .key_by_head(|head| head.headers.get("x-api-key").cloned());
    /// # let _ = per_caller;
    /// ```
    #[cfg(feature = "http")]
    pub fn key_by_head<Key: Hash>(
        self,
        key: impl Fn(Head<'_>) -> Key + Send + Sync + 'static,
    ) -> RateLimitLayer<ByHead> {
        RateLimitLayer::with(self.policy.config, self.policy.observer.clone(), ByHead::new(key))
    }
}

impl<K: Clone> RateLimitLayer<K> {
    /// How long a call may wait for its turn, and never past its deadline. Default 0: it is refused at once.
    pub fn max_wait(self, max_wait: Duration) -> Self {
        self.map(|config| config.max_wait = max_wait)
    }

    /// How many keys are told apart. Default 10,000; a key takes some 300 bytes.
    ///
    /// # Panics
    ///
    /// When it is zero.
    #[track_caller]
    pub fn max_keys(self, max_keys: usize) -> Self {
        assert!(
            max_keys > 0,
            "a rate limit that tells no keys apart has no use for keys; leave `key_by` out"
        );
        self.map(|config| config.max_keys = max_keys)
    }

    /// Tells this observer; by default the layer has one of its own, named `rate_limit`.
    pub fn observer(self, observer: Observer) -> Self {
        Self::with(self.policy.config, observer, self.policy.key.clone())
    }

    /// The rate limit while it runs.
    #[expect(clippy::missing_panics_doc, reason = "a layer cannot switch its limit off")]
    pub fn handle(&self) -> RateLimitHandle {
        self.policy.handle().expect("a layer cannot switch its limit off")
    }

    /// The same limit round another policy, told to another observer.
    pub(crate) fn over<I>(&self, observer: Observer, inner: I) -> RateLimitPolicy<I, K> {
        self.policy.over(self.policy.key.clone(), observer, inner)
    }

    /// The same limit, with the same quota, in the type that servers have.
    #[cfg(feature = "http")]
    pub(crate) fn into_by_head(self) -> RateLimitLayer<ByHead>
    where
        K: Into<ByHead>,
    {
        let (key, observer) = (self.policy.key.clone().into(), self.policy.observer.clone());
        RateLimitLayer { policy: Arc::new(self.policy.over(key, observer, Leaf::default())) }
    }

    fn map(self, change: impl FnOnce(&mut RateLimitConfig)) -> Self {
        let mut config = self.policy.config;
        change(&mut config);
        Self::with(config, self.policy.observer.clone(), self.policy.key.clone())
    }

    fn with(config: RateLimitConfig, observer: Observer, key: K) -> Self {
        Self { policy: Arc::new(RateLimitPolicy::new(config, observer, key, Leaf::default())) }
    }
}

impl<K> Clone for RateLimitLayer<K> {
    /// The clone draws on the same quota.
    fn clone(&self) -> Self {
        Self { policy: Arc::clone(&self.policy) }
    }
}

impl<S, K> Layer<S> for RateLimitLayer<K> {
    type Service = RateLimit<S, K>;

    fn layer(&self, service: S) -> Self::Service {
        Stack::new(Arc::clone(&self.policy), service)
    }
}

/// A rate limit while it runs. Clones are the same one.
#[derive(Clone, Debug)]
pub struct RateLimitHandle {
    state: Arc<State>,
}

impl RateLimitHandle {
    pub(super) fn new(state: Arc<State>) -> Self {
        Self { state }
    }

    /// The quota: of each key, where there are keys.
    pub fn quota(&self) -> Quota {
        self.state.quota()
    }

    /// Changes the quota from the next call on. Every key begins with a full burst then. Calls that wait are served as they
    /// were told. With the quota that it already has, nothing changes.
    pub fn set_quota(&self, quota: Quota) {
        self.state.set_quota(quota);
    }
}
