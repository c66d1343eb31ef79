use std::{sync::Arc, time::Duration};

use tower::Layer;

use super::{ThrottlePolicy, machine::ThrottleConfig};
use crate::{
    classify::ByError,
    observer::Observer,
    policy::{Leaf, Stack, StackFuture},
    ratio::Ratio,
};

/// A service that is asked less when it refuses calls.
pub type Throttle<S, C = ByError> = Stack<ThrottlePolicy<Leaf<C>>, S>;
/// The future of a [`Throttle`].
pub type ThrottleFuture<S, Req, C = ByError> = StackFuture<ThrottlePolicy<Leaf<C>>, S, Req>;

/// Sends less to a service that refuses calls; see the [module](super).
///
/// What is known belongs to the layer: all services that one layer, or its clones, was put in front of share it. A setter
/// gives a layer that knows nothing yet.
#[derive(Debug)]
#[must_use = "a layer does nothing until it is put in front of a service"]
pub struct ThrottleLayer<C = ByError> {
    policy: Arc<ThrottlePolicy<Leaf<C>>>,
}

impl ThrottleLayer {
    /// Sends twice what the other side accepted in the last two minutes.
    pub fn new() -> Self {
        Self::with(ThrottleConfig::default(), Observer::unnamed("throttle"), Leaf::default())
    }
}

impl Default for ThrottleLayer {
    fn default() -> Self {
        Self::new()
    }
}

impl<C> ThrottleLayer<C> {
    /// Judges results with `classifier` instead of [`ByError`]. Inside a golden client the classifier is the client's.
    pub fn classify<D>(self, classifier: D) -> ThrottleLayer<D> {
        ThrottleLayer::with(self.policy.config, self.policy.observer.clone(), Leaf::new(classifier))
    }

    /// The same throttle round another policy, told to another observer.
    pub(crate) fn over<I>(&self, observer: Observer, inner: I) -> ThrottlePolicy<I> {
        self.policy.over(observer, inner)
    }

    fn with(config: ThrottleConfig, observer: Observer, leaf: Leaf<C>) -> Self {
        Self { policy: Arc::new(ThrottlePolicy::new(config, observer, leaf)) }
    }
}

impl<C: Clone> ThrottleLayer<C> {
    /// How many times what the other side accepts is sent. Default 2; nearer to 1 it refuses sooner, and finds out later that
    /// the other side is back.
    ///
    /// # Panics
    ///
    /// When it is below 1, which would refuse calls that are accepted, or not a finite number.
    #[track_caller]
    pub fn ratio(self, ratio: f64) -> Self {
        assert!(
            ratio.is_finite() && ratio >= 1.0,
            "a throttle's ratio is at least 1: less refuses what is accepted"
        );
        self.map(|config| config.ratio = ratio)
    }

    /// How long an answer is remembered. Default 2 minutes.
    ///
    /// # Panics
    ///
    /// When it is zero.
    #[track_caller]
    pub fn window(self, window: Duration) -> Self {
        assert!(!window.is_zero(), "a throttle that remembers nothing refuses nothing; leave it out");
        self.map(|config| config.window = window)
    }

    /// How many requests a second there must be over the window before any is refused. Default 1.
    pub fn min_rate(self, min_rate: u32) -> Self {
        self.map(|config| config.min_rate = min_rate)
    }

    /// The greatest share of the calls that is refused. Default 95 %.
    ///
    /// # Panics
    ///
    /// When it is all of them: nobody would find out that the other side is back.
    #[track_caller]
    pub fn max_refused(self, max_refused: Ratio) -> Self {
        assert!(max_refused < Ratio::ONE, "a throttle that refuses all calls never ends; leave some through");
        self.map(|config| config.max_refused = max_refused)
    }

    /// Fixes which calls are refused, for tests.
    pub fn seed(self, seed: u64) -> Self {
        self.map(|config| config.seed = Some(seed))
    }

    /// Tells this observer; by default the layer has one of its own, named `throttle`.
    pub fn observer(self, observer: Observer) -> Self {
        Self::with(self.policy.config, observer, self.policy.inner.clone())
    }

    fn map(self, change: impl FnOnce(&mut ThrottleConfig)) -> Self {
        let mut config = self.policy.config;
        change(&mut config);
        Self::with(config, self.policy.observer.clone(), self.policy.inner.clone())
    }
}

impl<C> Clone for ThrottleLayer<C> {
    /// The clone knows what this one knows.
    fn clone(&self) -> Self {
        Self { policy: Arc::clone(&self.policy) }
    }
}

impl<S, C> Layer<S> for ThrottleLayer<C> {
    type Service = Throttle<S, C>;

    fn layer(&self, service: S) -> Self::Service {
        Stack::new(Arc::clone(&self.policy), service)
    }
}
