use std::{fmt, sync::Arc};

use tower::Layer;

use super::{Answering, AnsweringAsync, AnsweringByService, FallbackPolicy, Judged, When, Why};
use crate::{
    classify::ByError,
    error::BoxError,
    observer::Observer,
    policy::{Leaf, Stack, StackFuture},
};

/// A service whose failures a fallback answers.
pub type Fallback<S, F, C = ByError> = Stack<FallbackPolicy<F, Leaf<C>>, S>;
/// The future of a [`Fallback`].
pub type FallbackFuture<S, F, Req, C = ByError> = StackFuture<FallbackPolicy<F, Leaf<C>>, S, Req>;

/// Answers failures; see the [module](super).
#[must_use = "a layer does nothing until it is put in front of a service"]
pub struct FallbackLayer<F, C = ByError> {
    policy: Arc<FallbackPolicy<F, Leaf<C>>>,
}

impl<G> FallbackLayer<Answering<G>> {
    /// Asks `answer` whenever a call failed, timed out or was refused.
    ///
    /// It runs inside the call and must not block.
    pub fn new<Res>(answer: G) -> Self
    where
        G: Fn(Why) -> Result<Res, BoxError>,
    {
        Self::with_kind(Answering(answer))
    }
}

impl<G, Fut> FallbackLayer<AnsweringAsync<G, Fut>> {
    /// Asks `answer` for a future, which has until the [`Deadline`](crate::Deadline) of the work in hand. Some of that
    /// time is kept for it; without a deadline it has no limit.
    ///
    /// # Panics
    ///
    /// When there is a deadline, a call that waits for the future does outside of a tokio runtime with time enabled.
    pub fn from_async<Res>(answer: G) -> Self
    where
        G: Fn(Why) -> Fut,
        Fut: Future<Output = Result<Res, BoxError>>,
    {
        Self::with_kind(AnsweringAsync::new(answer))
    }
}

impl<S> FallbackLayer<AnsweringByService<S>> {
    /// Asks `service` with a copy of the request, which must be [`Repeat`](crate::Repeat). The failure of a request that
    /// gives no copy stays a failure.
    ///
    /// A clone of the service gets ready, and is called, inside the call. It has until the
    /// [`Deadline`](crate::Deadline) of the work in hand. Some of that time is kept for it; without a deadline it has no
    /// limit.
    ///
    /// # Panics
    ///
    /// When there is a deadline, a call that waits for the service does outside of a tokio runtime with time enabled.
    pub fn from_service(service: S) -> Self {
        Self::with_kind(AnsweringByService::new(service))
    }
}

impl<F> FallbackLayer<F> {
    pub(crate) fn with_kind(fallback: F) -> Self {
        Self::with(FallbackPolicy::new(fallback, Observer::unnamed("fallback"), Leaf::default()))
    }
}

impl<F, C> FallbackLayer<F, C> {
    /// Asks the fallback when `is_wanted` says so, and only then, whatever the class of the result.
    ///
    /// It is asked at the end of every call, also of those that went well.
    ///
    /// ```
    /// # #[tokio::main(flavor = "current_thread")] async fn main() {
    /// use moneta_resilience::{BoxError, fallback::FallbackLayer};
    /// use tower::{Layer, ServiceExt, service_fn};
    ///
    /// let layer = FallbackLayer::new(|_why| Ok(Some("unknown")))
    ///     .when(|end| end.is_failure() || end.response() == Some(&None));
    /// let nobody = service_fn(async |_: u64| Ok::<_, BoxError>(None));
    /// assert_eq!(layer.layer(nobody).oneshot(7).await.expect("it answers"), Some("unknown"));
    /// # }
    /// ```
    pub fn when<W, Res>(self, is_wanted: W) -> FallbackLayer<When<F, W>, C>
    where
        W: Fn(Judged<'_, Res>) -> bool,
        F: Clone,
        C: Clone,
    {
        let FallbackPolicy { fallback, observer, inner, .. } = Arc::unwrap_or_clone(self.policy);
        FallbackLayer::with(FallbackPolicy::new(When::new(fallback, is_wanted), observer, inner))
    }

    /// Judges results with `classifier` instead of [`ByError`].
    pub fn classify<D>(self, classifier: D) -> FallbackLayer<F, D>
    where
        F: Clone,
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
        F: Clone,
        C: Clone,
    {
        let mut policy = Arc::unwrap_or_clone(self.policy);
        policy.observer = observer;
        Self::with(policy)
    }

    fn with(policy: FallbackPolicy<F, Leaf<C>>) -> Self {
        Self { policy: Arc::new(policy) }
    }
}

impl<F, C> Clone for FallbackLayer<F, C> {
    fn clone(&self) -> Self {
        Self { policy: Arc::clone(&self.policy) }
    }
}

impl<F, C> fmt::Debug for FallbackLayer<F, C> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("FallbackLayer").field("observer", &self.policy.observer).finish_non_exhaustive()
    }
}

impl<S, F, C> Layer<S> for FallbackLayer<F, C> {
    type Service = Fallback<S, F, C>;

    fn layer(&self, service: S) -> Self::Service {
        Stack::new(Arc::clone(&self.policy), service)
    }
}
