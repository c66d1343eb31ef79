use std::{
    convert::Infallible,
    panic::AssertUnwindSafe,
    pin::Pin,
    task::{Context, Poll, ready},
};

use futures::future::{CatchUnwind, FutureExt as _};
use http::Response;
use pin_project_lite::pin_project;

use super::{RespondBody, problem};
use crate::error::BoxError;

pin_project! {
    /// The future of a [`Respond`](super::Respond).
    #[derive(Debug)]
    #[must_use = "futures do nothing unless polled"]
    pub struct RespondFuture<F> {
        #[pin]
        inner: Option<CatchUnwind<AssertUnwindSafe<F>>>,
    }
}

impl<F: Future> RespondFuture<F> {
    pub(crate) fn new(inner: F) -> Self {
        // After a panic the future is only dropped, which gives back what it held; it is not polled again.
        Self { inner: Some(AssertUnwindSafe(inner).catch_unwind()) }
    }
}

impl<F, B, E> Future for RespondFuture<F>
where
    F: Future<Output = Result<Response<B>, E>>,
    E: Into<BoxError>,
{
    type Output = Result<Response<RespondBody<B>>, Infallible>;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let mut inner = self.project().inner;
        let future = inner.as_mut().as_pin_mut().expect("polled again after it was ready");
        let response = match ready!(future.poll(cx)) {
            Ok(Ok(response)) => response.map(RespondBody::Left),
            Ok(Err(error)) => problem::answer(&error.into()),
            Err(_panic) => problem::panicked(),
        };
        inner.set(None);
        Poll::Ready(Ok(response))
    }
}

pin_project! {
    /// A call, or the error with which the service failed to get ready for it.
    #[derive(Debug)]
    pub struct ReadyOr<F> {
        #[pin]
        call: Option<F>,
        broken: Option<BoxError>,
    }
}

impl<F> ReadyOr<F> {
    pub(super) fn called(call: F) -> Self {
        Self { call: Some(call), broken: None }
    }

    pub(super) fn broken(error: BoxError) -> Self {
        Self { call: None, broken: Some(error) }
    }
}

impl<F, T, E> Future for ReadyOr<F>
where
    F: Future<Output = Result<T, E>>,
    E: Into<BoxError>,
{
    type Output = Result<T, BoxError>;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let this = self.project();
        match this.call.as_pin_mut() {
            Some(call) => call.poll(cx).map_err(Into::into),
            None => Poll::Ready(Err(this.broken.take().expect("polled again after it was ready"))),
        }
    }
}
