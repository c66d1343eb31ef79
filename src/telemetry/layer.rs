use std::{fmt, sync::Arc};

use tower::Layer;

use super::{CallTelemetryPolicy, Side};
use crate::{
    classify::ByError,
    observer::Observer,
    policy::{Leaf, Stack, StackFuture},
};

/// A service whose calls are told of.
pub type TelemetryService<S, C = ByError> = Stack<CallTelemetryPolicy<Leaf<C>>, S>;
/// The future of a [`TelemetryService`].
pub type TelemetryFuture<S, Req, C = ByError> = StackFuture<CallTelemetryPolicy<Leaf<C>>, S, Req>;

/// Tells how each call ended and how long it took; see the [module](super).
///
/// Its constructor stands in `record`, which knows the backend of the process; a pattern does not.
#[must_use = "a layer does nothing until it is put in front of a service"]
pub struct TelemetryLayer<C = ByError> {
    policy: Arc<CallTelemetryPolicy<Leaf<C>>>,
}

impl<C> TelemetryLayer<C> {
    /// Tells this observer, under its name.
    pub fn observer(self, observer: Observer) -> Self
    where
        C: Clone,
    {
        Self::with(observer, self.policy.inner().clone())
    }

    /// Judges results with `classifier` instead of [`ByError`].
    pub fn classify<D>(self, classifier: D) -> TelemetryLayer<D> {
        TelemetryLayer::with(self.policy.observer().clone(), Leaf::new(classifier))
    }

    pub(crate) fn with(observer: Observer, leaf: Leaf<C>) -> Self {
        Self { policy: Arc::new(CallTelemetryPolicy::new(observer, Side::Internal, leaf)) }
    }
}

impl<C> Clone for TelemetryLayer<C> {
    /// The clone tells the same observer.
    fn clone(&self) -> Self {
        Self { policy: Arc::clone(&self.policy) }
    }
}

impl<C> fmt::Debug for TelemetryLayer<C> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("TelemetryLayer").field("observer", self.policy.observer()).finish_non_exhaustive()
    }
}

impl<S, C> Layer<S> for TelemetryLayer<C> {
    type Service = TelemetryService<S, C>;

    fn layer(&self, service: S) -> Self::Service {
        Stack::new(Arc::clone(&self.policy), service)
    }
}
