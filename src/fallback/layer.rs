use std::{fmt, sync::Arc};

use tower::Layer;

use super::{Answering, FallbackPolicy, Why};
use crate::{
    classify::ByError,
    error::BoxError,
    observer::Observer,
    policy::{Leaf, Stack, StackFuture},
};

/// A service whose failures a closure answers.
pub type Fallback<S, G, C = ByError> = Stack<FallbackPolicy<Answering<G>, Leaf<C>>, S>;
/// The future of a [`Fallback`].
pub type FallbackFuture<S, G, Req, C = ByError> = StackFuture<FallbackPolicy<Answering<G>, Leaf<C>>, S, Req>;

/// Answers failures with a closure; see the [module](super).
#[must_use = "a layer does nothing until it is put in front of a service"]
pub struct FallbackLayer<G, C = ByError> {
    policy: Arc<FallbackPolicy<Answering<G>, Leaf<C>>>,
}

impl<G> FallbackLayer<G> {
    /// Asks `answer` whenever a call failed, timed out or was refused.
    ///
    /// It runs inside the call and must not block.
    pub fn new<Res>(answer: G) -> Self
    where
        G: Fn(Why) -> Result<Res, BoxError>,
    {
        Self::with(FallbackPolicy::new(Answering(answer), Observer::unnamed("fallback"), Leaf::default()))
    }
}

impl<G, C> FallbackLayer<G, C> {
    /// Judges results with `classifier` instead of [`ByError`].
    pub fn classify<D>(self, classifier: D) -> FallbackLayer<G, D>
    where
        G: Clone,
    {
        let policy = &self.policy;
        FallbackLayer::with(FallbackPolicy::new(
            policy.fallback.clone(),
            policy.observer.clone(),
            Leaf::new(classifier),
        ))
    }

    /// Tells this observer; by default the layer has one of its own, named `fallback`.
    pub fn observer(self, observer: Observer) -> Self
    where
        G: Clone,
        C: Clone,
    {
        let mut policy = Arc::unwrap_or_clone(self.policy);
        policy.observer = observer;
        Self::with(policy)
    }

    fn with(policy: FallbackPolicy<Answering<G>, Leaf<C>>) -> Self {
        Self { policy: Arc::new(policy) }
    }
}

impl<G, C> Clone for FallbackLayer<G, C> {
    fn clone(&self) -> Self {
        Self { policy: Arc::clone(&self.policy) }
    }
}

impl<G, C> fmt::Debug for FallbackLayer<G, C> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("FallbackLayer").field("observer", &self.policy.observer).finish_non_exhaustive()
    }
}

impl<S, G, C> Layer<S> for FallbackLayer<G, C> {
    type Service = Fallback<S, G, C>;

    fn layer(&self, service: S) -> Self::Service {
        Stack::new(Arc::clone(&self.policy), service)
    }
}
