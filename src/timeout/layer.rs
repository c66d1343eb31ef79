use std::{sync::Arc, time::Duration};

use tower::Layer;

use super::TimeoutPolicy;
use crate::{
    classify::ByError,
    error::Reason,
    event::Observer,
    policy::{Leaf, Stack, StackFuture},
};

/// A service whose calls are cut at a limit.
pub type Timeout<S, C = ByError> = Stack<TimeoutPolicy<Leaf<C>>, S>;
/// The future of a [`Timeout`].
pub type TimeoutFuture<S, Req, C = ByError> = StackFuture<TimeoutPolicy<Leaf<C>>, S, Req>;

/// Cuts each call at a limit; see the [module](super).
#[derive(Clone, Debug)]
#[must_use = "a layer does nothing until it is put in front of a service"]
pub struct TimeoutLayer {
    policy: Arc<TimeoutPolicy<Leaf>>,
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
        Self::with(TimeoutPolicy::new(limit, Reason::Timeout, Observer::unnamed("timeout"), Leaf::default()))
    }

    /// Says that this limit is the whole call's, outside of any retry: its rejection is a
    /// [`DeadlineExceeded`](Reason::DeadlineExceeded), which no layer outside counts as a failure of the dependency.
    pub fn whole_call(self) -> Self {
        self.map(|policy| policy.reason = Reason::DeadlineExceeded)
    }

    /// Tells this observer; by default the layer has one of its own, named `timeout`.
    pub fn observer(self, observer: Observer) -> Self {
        self.map(|policy| policy.observer = observer)
    }

    fn map(self, change: impl FnOnce(&mut TimeoutPolicy<Leaf>)) -> Self {
        let mut policy = Arc::unwrap_or_clone(self.policy);
        change(&mut policy);
        Self::with(policy)
    }

    fn with(policy: TimeoutPolicy<Leaf>) -> Self {
        Self { policy: Arc::new(policy) }
    }
}

impl<S> Layer<S> for TimeoutLayer {
    type Service = Timeout<S>;

    fn layer(&self, service: S) -> Self::Service {
        Stack::new(Arc::clone(&self.policy), service)
    }
}
