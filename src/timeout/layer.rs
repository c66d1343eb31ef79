use std::{sync::Arc, time::Duration};

use tower::Layer;

use super::{PerRequest, TimeoutPolicy};
use crate::{
    classify::ByError,
    error::Reason,
    observer::Observer,
    policy::{Leaf, Stack, StackFuture},
};

/// A service whose calls are cut at a limit.
pub type Timeout<S, C = ByError, L = Duration> = Stack<TimeoutPolicy<Leaf<C>, L>, S>;
/// The future of a [`Timeout`].
pub type TimeoutFuture<S, Req, C = ByError, L = Duration> = StackFuture<TimeoutPolicy<Leaf<C>, L>, S, Req>;

/// Cuts each call at a limit; see the [module](super).
#[derive(Debug)]
#[must_use = "a layer does nothing until it is put in front of a service"]
pub struct TimeoutLayer<L = Duration> {
    policy: Arc<TimeoutPolicy<Leaf, L>>,
}

impl TimeoutLayer {
    /// Cuts each call `limit` after it began.
    ///
    /// # Panics
    ///
    /// When `limit` is zero: no call could ever succeed.
    #[track_caller]
    pub fn new(limit: Duration) -> Self {
        assert!(!limit.is_zero(), "a timeout of zero would cut every call; give it a limit above zero");
        Self::of(limit)
    }
}

impl<F> TimeoutLayer<PerRequest<F>> {
    /// Cuts each call after what `limit` says of its request: a limit for each route or method.
    ///
    /// It is asked once, when the call begins, and must not block. A call whose limit is zero is refused as one that
    /// arrives after its deadline.
    ///
    /// ```
    /// use std::time::Duration;
    /// use moneta_resilience::timeout::TimeoutLayer;
    ///
    /// struct Query { report: bool }
    ///
    /// let layer = TimeoutLayer::per_request(|query: &Query| {
    ///     Duration::from_millis(if query.report { 30_000 } else { 500 })
    /// });
    /// # let _ = layer;
    /// ```
    pub fn per_request<Req>(limit: F) -> Self
    where
        F: Fn(&Req) -> Duration,
    {
        Self::of(PerRequest(limit))
    }
}

impl<L> TimeoutLayer<L> {
    fn of(limit: L) -> Self {
        Self::with(TimeoutPolicy::new(limit, Reason::Timeout, Observer::unnamed("timeout"), Leaf::default()))
    }

    fn with(policy: TimeoutPolicy<Leaf, L>) -> Self {
        Self { policy: Arc::new(policy) }
    }
}

impl<L: Clone> TimeoutLayer<L> {
    /// Says that this limit is the whole call's, outside of any retry: its rejection is a
    /// [`DeadlineExceeded`](Reason::DeadlineExceeded), which no layer outside counts as a failure of the dependency.
    pub fn whole_call(self) -> Self {
        self.map(|policy| policy.reason = Reason::DeadlineExceeded)
    }

    /// Tells this observer; by default the layer has one of its own, named `timeout`.
    pub fn observer(self, observer: Observer) -> Self {
        self.map(|policy| policy.observer = observer)
    }

    fn map(self, change: impl FnOnce(&mut TimeoutPolicy<Leaf, L>)) -> Self {
        let mut policy = Arc::unwrap_or_clone(self.policy);
        change(&mut policy);
        Self::with(policy)
    }
}

impl<L> Clone for TimeoutLayer<L> {
    /// The clone counts into the same cells.
    fn clone(&self) -> Self {
        Self { policy: Arc::clone(&self.policy) }
    }
}

impl<S, L> Layer<S> for TimeoutLayer<L> {
    type Service = Timeout<S, ByError, L>;

    fn layer(&self, service: S) -> Self::Service {
        Stack::new(Arc::clone(&self.policy), service)
    }
}
