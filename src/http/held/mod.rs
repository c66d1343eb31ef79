//! A place in a bulkhead that is held until the body of the answer ends.

use std::{
    fmt,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll, ready},
};

use http::Response;
use http_body::{Body, Frame, SizeHint};
use pin_project_lite::pin_project;
use tokio::time::Instant;
use tower::Layer;

use crate::{
    bulkhead::{BulkheadHandle, BulkheadLayer, BulkheadPass, BulkheadPermit, BulkheadPolicy, KeyOf, Unkeyed},
    class::Ending,
    classify::ByError,
    error::BoxError,
    policy::{Course, Leaf, Lend, Parcel, Policy, Poller, Seat, Slot, Stack, StackFuture, sealed::Sealed},
};

/// An HTTP service whose calls hold their places until the bodies of their answers end.
pub type BodyBulkhead<S, C = ByError, K = Unkeyed> = Stack<BodyBulkheadPolicy<Leaf<C>, K>, S>;
/// The future of a [`BodyBulkhead`].
pub type BodyBulkheadFuture<S, Req, C = ByError, K = Unkeyed> =
    StackFuture<BodyBulkheadPolicy<Leaf<C>, K>, S, Req>;

#[cfg(test)]
mod tests;

impl<C, K> BulkheadLayer<C, K> {
    /// Holds the place of a call until the *body* of its answer ends: read to the end, to its trailers or to an error, or
    /// dropped. Without it the place is free once the head of the answer is there.
    ///
    /// For downloads and streams, whose work begins where the head ends. A reader that takes its time keeps its place,
    /// and one that never drops a body, for ever.
    ///
    /// ```
    /// # #[tokio::main(flavor = "current_thread")] async fn main() {
    /// use bytes::Bytes;
    /// use http::{Request, Response};
    /// use http_body_util::{BodyExt, Full};
    /// use moneta_resilience::bulkhead::BulkheadLayer;
    /// use tower::{BoxError, ServiceBuilder, ServiceExt, service_fn};
    ///
    /// let bulkhead = BulkheadLayer::new(20).until_body_end();
    /// let handle = bulkhead.handle();
    /// let service = ServiceBuilder::new()
    ///     .layer(bulkhead)
    ///     .service(service_fn(|_: Request<()>| async {
    ///         Ok::<_, BoxError>(Response::new(Full::<Bytes>::from("a long list")))
    ///     }));
    ///
    /// let answer = service.oneshot(Request::new(())).await.expect("there is room");
    /// assert_eq!(handle.state().in_use, 1);
    /// let list = answer.into_body().collect().await.expect("it is in memory").to_bytes();
    /// assert_eq!((handle.state().in_use, list.len()), (0, 11));
    /// # }
    /// ```
    pub fn until_body_end(&self) -> BodyBulkheadLayer<C, K>
    where
        C: Clone,
        K: Clone,
    {
        BodyBulkheadLayer { policy: Arc::new(BodyBulkheadPolicy { bulkhead: self.alone(), held: true }) }
    }
}

/// A [`BulkheadLayer`] whose places are held until the bodies of the answers end; see
/// [`BulkheadLayer::until_body_end`], whose places it shares.
#[must_use = "a layer does nothing until it is put in front of a service"]
pub struct BodyBulkheadLayer<C = ByError, K = Unkeyed> {
    policy: Arc<BodyBulkheadPolicy<Leaf<C>, K>>,
}

impl<C, K> BodyBulkheadLayer<C, K> {
    /// The bulkhead while it runs: its limit, which can be changed, and its counts.
    #[expect(clippy::missing_panics_doc, reason = "a layer cannot switch its bulkhead off")]
    pub fn handle(&self) -> BulkheadHandle {
        self.policy.bulkhead.handle().expect("a layer cannot switch its bulkhead off")
    }
}

impl<C, K> Clone for BodyBulkheadLayer<C, K> {
    /// The clone shares the places.
    fn clone(&self) -> Self {
        Self { policy: Arc::clone(&self.policy) }
    }
}

impl<C, K> fmt::Debug for BodyBulkheadLayer<C, K> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("BodyBulkheadLayer").field("handle", &self.handle()).finish()
    }
}

impl<S, C, K> Layer<S> for BodyBulkheadLayer<C, K> {
    type Service = BodyBulkhead<S, C, K>;

    fn layer(&self, service: S) -> Self::Service {
        Stack::new(Arc::clone(&self.policy), service)
    }
}

/// A bulkhead in front of HTTP, whose places may be held until the bodies of the answers end.
#[derive(Debug)]
pub struct BodyBulkheadPolicy<I, K = Unkeyed> {
    bulkhead: BulkheadPolicy<I, K>,
    held: bool,
}

impl<I, K> BodyBulkheadPolicy<I, K> {
    pub(crate) fn new(bulkhead: BulkheadPolicy<I, K>, held: bool) -> Self {
        Self { bulkhead, held }
    }
}

impl<I, K> Sealed for BodyBulkheadPolicy<I, K> {}

impl<I, K, S, Req> Lend<S, Req> for BodyBulkheadPolicy<I, K>
where
    I: Lend<S, Req>,
{
    type Pass = BulkheadPass<I::Pass>;

    fn pass(&self) -> Self::Pass {
        Lend::<S, Req>::pass(&self.bulkhead)
    }

    fn begin(&self, pass: Pin<&mut Self::Pass>, parcel: &mut Parcel<Req>, course: &mut Course) {
        self.bulkhead.begin(pass, parcel, course);
    }

    fn abandon(&self, pass: Pin<&mut Self::Pass>, course: &mut Course, ending: Ending, now: Instant) {
        Lend::<S, Req>::abandon(&self.bulkhead, pass, course, ending, now);
    }
}

impl<I, K, S, Req, B> Policy<S, Req> for BodyBulkheadPolicy<I, K>
where
    I: Policy<S, Req, Response = Response<B>>,
    K: KeyOf<Req>,
{
    type Response = Response<HeldBody<B>>;

    fn poll(
        &self,
        pass: Pin<&mut Self::Pass>,
        parcel: &mut Parcel<Req>,
        seat: &mut Seat<S>,
        cx: &mut Poller<'_, '_>,
        out: &mut Slot<Self::Response>,
    ) -> Poll<()> {
        let mut slot = Slot::new();
        let permit = ready!(self.bulkhead.poll_keeping(pass, parcel, seat, cx, &mut slot, self.held));
        out.put_changed(slot, |response| response.map(|body| HeldBody { body, permit }))
    }

    fn poll_ready(&self, seat: &mut Seat<S>, cx: &mut Context<'_>) -> Poll<Result<(), BoxError>> {
        self.bulkhead.poll_ready(seat, cx)
    }
}

pin_project! {
    /// The body of an answer, which may hold a place in a bulkhead until it ends or is dropped.
    pub struct HeldBody<B> {
        // Before the permit, so that the work is gone when its place is given back.
        #[pin]
        body: B,
        permit: Option<BulkheadPermit>,
    }
}

impl<B: Body> Body for HeldBody<B> {
    type Data = B::Data;
    type Error = B::Error;

    fn poll_frame(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<B::Data>, B::Error>>> {
        let mut this = self.project();
        let poll = this.body.as_mut().poll_frame(cx);
        let goes_on = match &poll {
            Poll::Pending => true,
            // Whoever was told that this is the end need not ask again.
            Poll::Ready(Some(Ok(frame))) => !frame.is_trailers() && !this.body.is_end_stream(),
            Poll::Ready(Some(Err(_)) | None) => false,
        };
        if !goes_on {
            *this.permit = None;
        }
        poll
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}

impl<B: fmt::Debug> fmt::Debug for HeldBody<B> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("HeldBody").field("body", &self.body).finish_non_exhaustive()
    }
}
