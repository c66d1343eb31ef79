use std::{sync::Arc, time::Duration};

use tower::Layer;

use super::{
    Backoff, RetryPolicy,
    config::{NeverProcessed, RetryConfig},
};
use crate::{
    budget::RetryBudget,
    classify::ByError,
    error::BoxError,
    observer::Observer,
    policy::{Leaf, Stack, StackFuture},
};

/// A service whose failed calls are tried again.
pub type Retry<S, C = ByError> = Stack<RetryPolicy<Leaf<C>>, S>;
/// The future of a [`Retry`].
pub type RetryFuture<S, Req, C = ByError> = StackFuture<RetryPolicy<Leaf<C>>, S, Req>;

/// Tries failed calls again; see the [module](super).
#[derive(Debug)]
#[must_use = "a layer does nothing until it is put in front of a service"]
pub struct RetryLayer<C = ByError> {
    policy: Arc<RetryPolicy<Leaf<C>>>,
}

impl RetryLayer {
    /// Three attempts in all, full jitter from 50 ms, and a budget of its own; see the [module](super).
    pub fn new() -> Self {
        Self::with(RetryConfig::default(), Observer::unnamed("retry"), Leaf::default())
    }
}

impl<C: Clone> RetryLayer<C> {
    /// How many attempts there are in all, the first one included. Default: 3. With 1 nothing is ever tried again. The copies
    /// that a hedge sends are not counted: the budget bounds them.
    ///
    /// # Panics
    ///
    /// When `attempts` is zero: the first attempt is one of them.
    #[track_caller]
    pub fn attempts(self, attempts: u32) -> Self {
        assert!(attempts > 0, "the first attempt counts too; with 1 attempt nothing is ever tried again");
        self.map(|config| config.attempts = attempts)
    }

    /// How long to wait after a passing failure. Default: full jitter, base 50 ms, cap 20 s.
    pub fn backoff(self, backoff: Backoff) -> Self {
        self.map(|config| config.backoff = backoff)
    }

    /// How long to wait where the dependency asked for fewer calls. Default: full jitter, base 1 s, cap 20 s.
    pub fn throttled_backoff(self, backoff: Backoff) -> Self {
        self.map(|config| config.throttled_backoff = backoff)
    }

    /// What pays for the retries. Default: a budget of this layer's own, 20 % of the first attempts plus 10 a second.
    ///
    /// Clones of a budget are the same budget, so this is also how several layers share one.
    pub fn budget(self, budget: RetryBudget) -> Self {
        self.map(|config| config.budget = Some(budget))
    }

    /// How much of the deadline must be left after the wait for another attempt to be worth it. Default: what half of
    /// the attempts that succeed take (their live median), and 1 ms until that is known.
    pub fn min_useful_attempt(self, time: Duration) -> Self {
        self.map(|config| config.min_useful_attempt = Some(time))
    }

    /// Which errors say that the service has not even begun. After one of them also a request that must not be sent twice
    /// is sent again, once, if [`Repeat::if_unprocessed`] gives a copy of it. Default:
    /// [`classify::never_processed`](crate::classify::never_processed), which lists them.
    ///
    /// For transports that tell such failures apart in errors of their own. Where the transport repeats them by itself,
    /// leave them out. With `|_| false` there are none: say it of a service that asks several others, or follows redirects,
    /// because the last of them may refuse its connection after the first has done its work.
    ///
    /// [`Repeat::if_unprocessed`]: crate::Repeat::if_unprocessed
    pub fn never_processed(self, judge: impl Fn(&BoxError) -> bool + Send + Sync + 'static) -> Self {
        self.map(|config| config.never_processed = NeverProcessed::by(judge))
    }

    /// Waits as long as the dependency asks, however long that is; the deadline alone limits it.
    ///
    /// Without this a hint can make the wait at most five seconds longer than the backoff would be, so that a
    /// `Retry-After: 86400` parks nobody.
    pub fn trust_hints(self) -> Self {
        self.map(|config| config.trust_hints = true)
    }

    /// Fixes the jitter, for tests that compare delays. Default: a different seed in each process and layer.
    pub fn seed(self, seed: u64) -> Self {
        self.map(|config| config.seed = Some(seed))
    }

    /// Tells this observer; by default the layer has one of its own, named `retry`.
    pub fn observer(self, observer: Observer) -> Self {
        Self::with(self.policy.config.clone(), observer, self.policy.inner.clone())
    }

    fn map(self, change: impl FnOnce(&mut RetryConfig)) -> Self {
        let mut config = self.policy.config.clone();
        change(&mut config);
        Self::with(config, self.policy.observer.clone(), self.policy.inner.clone())
    }
}

impl<C> RetryLayer<C> {
    /// Judges results with this classifier. Default: [`ByError`], for which every response is a success.
    pub fn classify<D>(self, classifier: D) -> RetryLayer<D> {
        let policy = &self.policy;
        RetryLayer::with(policy.config.clone(), policy.observer.clone(), Leaf::new(classifier))
    }

    /// The same retries round another policy, told to another observer.
    pub(crate) fn over<I>(&self, observer: Observer, inner: I) -> RetryPolicy<I> {
        self.policy.over(observer, inner)
    }

    /// The budget that pays for the retries, for whoever is to draw on it as well.
    pub(crate) fn shared_budget(&self) -> RetryBudget {
        self.policy.shared_budget()
    }

    fn with(config: RetryConfig, observer: Observer, leaf: Leaf<C>) -> Self {
        Self { policy: Arc::new(RetryPolicy::new(config, observer, leaf)) }
    }
}

impl Default for RetryLayer {
    fn default() -> Self {
        Self::new()
    }
}

impl<C> Clone for RetryLayer<C> {
    /// The clone has the same budget and counts into the same cells.
    fn clone(&self) -> Self {
        Self { policy: Arc::clone(&self.policy) }
    }
}

impl<S, C> Layer<S> for RetryLayer<C> {
    type Service = Retry<S, C>;

    fn layer(&self, service: S) -> Self::Service {
        Stack::new(Arc::clone(&self.policy), service)
    }
}
