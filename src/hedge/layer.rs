use std::{sync::Arc, time::Duration};

use tower::Layer;

use super::{
    HedgePolicy, Hedging,
    config::{Purse, Trigger},
};
use crate::{
    budget::RetryBudget,
    classify::ByError,
    observer::Observer,
    policy::{Leaf, Stack, StackFuture},
    ratio::Ratio,
};

/// A service whose slow calls are sent a second time.
pub type Hedge<S, C = ByError> = Stack<HedgePolicy<Hedging, Leaf<C>>, S>;
/// The future of a [`Hedge`].
pub type HedgeFuture<S, Req, C = ByError> = StackFuture<HedgePolicy<Hedging, Leaf<C>>, S, Req>;

/// Sends a call that takes too long a second time; see the [module](super).
#[derive(Debug)]
#[must_use = "a layer does nothing until it is put in front of a service"]
pub struct HedgeLayer<C = ByError> {
    policy: Arc<HedgePolicy<Hedging, Leaf<C>>>,
}

impl HedgeLayer {
    /// A copy at the live 95th percentile of first attempts, from a budget of its own; see the [module](super).
    pub fn new() -> Self {
        Self::with(Hedging::new(), Observer::unnamed("hedge"), Leaf::default())
    }
}

impl<C: Clone> HedgeLayer<C> {
    /// Sends the copy when a call has taken longer than this share of the latest first attempts. Default: 95 %.
    ///
    /// The share that is left is what hedging costs: at 95 % up to a twentieth more calls.
    pub fn quantile(self, quantile: Ratio) -> Self {
        self.map(|hedging| hedging.trigger = Trigger::at(quantile))
    }

    /// Sends the copy after this time, whatever the latencies are. It works from the first call on.
    ///
    /// # Panics
    ///
    /// When `delay` is zero: every call would be sent twice.
    #[track_caller]
    pub fn delay(self, delay: Duration) -> Self {
        assert!(
            !delay.is_zero(),
            "a hedge without a delay sends every call twice; give it a delay above zero"
        );
        self.map(|hedging| hedging.trigger = Trigger::After(delay))
    }

    /// What pays for the copies: the budget of the retry further out, which fills it. The hedge only draws on it.
    ///
    /// By default a golden client's hedge draws on the budget of that client's retry, and a layer that is used alone has
    /// a budget of its own, 20 % of the first attempts it sees plus 10 a second.
    pub fn budget(self, budget: RetryBudget) -> Self {
        self.map(|hedging| hedging.purse = Purse::Shared(budget))
    }

    /// Tells this observer; by default the layer has one of its own, named `hedge`.
    pub fn observer(self, observer: Observer) -> Self {
        Self::with(self.policy.hedging.renewed(), observer, self.policy.inner.clone())
    }

    fn map(self, change: impl FnOnce(&mut Hedging)) -> Self {
        let mut hedging = self.policy.hedging.renewed();
        change(&mut hedging);
        Self::with(hedging, self.policy.observer.clone(), self.policy.inner.clone())
    }
}

impl<C> HedgeLayer<C> {
    /// Judges results with this classifier. Default: [`ByError`], for which every response is a success.
    pub fn classify<D>(self, classifier: D) -> HedgeLayer<D> {
        let policy = &self.policy;
        HedgeLayer::with(policy.hedging.renewed(), policy.observer.clone(), Leaf::new(classifier))
    }

    /// How it hedges, for a golden client.
    pub(crate) fn into_hedging(self) -> Hedging {
        self.policy.hedging.clone()
    }

    fn with(hedging: Hedging, observer: Observer, leaf: Leaf<C>) -> Self {
        Self { policy: Arc::new(HedgePolicy::new(hedging, observer, leaf)) }
    }
}

impl Default for HedgeLayer {
    fn default() -> Self {
        Self::new()
    }
}

impl<C> Clone for HedgeLayer<C> {
    /// The clone has the same budget and knows the same latencies.
    fn clone(&self) -> Self {
        Self { policy: Arc::clone(&self.policy) }
    }
}

impl<S, C> Layer<S> for HedgeLayer<C> {
    type Service = Hedge<S, C>;

    fn layer(&self, service: S) -> Self::Service {
        Stack::new(Arc::clone(&self.policy), service)
    }
}
