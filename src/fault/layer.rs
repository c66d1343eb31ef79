use std::sync::Arc;

use tower::Layer;

use super::{FaultPolicy, Faults, Unseen};
use crate::{
    classify::ByError,
    observer::Observer,
    policy::{Leaf, Stack, StackFuture},
};

/// A service whose calls can be hit by faults.
pub type FaultHook<S, C = ByError> = Stack<FaultPolicy<Leaf<C>>, S>;
/// The future of a [`FaultHook`].
pub type FaultFuture<S, Req, C = ByError> = StackFuture<FaultPolicy<Leaf<C>>, S, Req>;

/// Lets faults hit calls; see the [module](super).
#[derive(Clone, Debug)]
#[must_use = "a layer does nothing until it is put in front of a service"]
pub struct FaultLayer {
    policy: Arc<FaultPolicy<Leaf>>,
}

impl FaultLayer {
    /// Calls are hit by what is armed in `faults`.
    pub fn new(faults: Faults) -> Self {
        Self::with(faults, Observer::unnamed("fault"))
    }

    /// Tells this observer; by default the layer has one of its own, named `fault`.
    pub fn observer(self, observer: Observer) -> Self {
        Self::with(self.policy.faults.clone(), observer)
    }

    fn with(faults: Faults, observer: Observer) -> Self {
        Self { policy: Arc::new(FaultPolicy::new(faults, Unseen, observer, Leaf::default())) }
    }
}

impl<S> Layer<S> for FaultLayer {
    type Service = FaultHook<S>;

    fn layer(&self, service: S) -> Self::Service {
        Stack::new(Arc::clone(&self.policy), service)
    }
}
