use std::{
    convert::Infallible,
    panic::{AssertUnwindSafe, catch_unwind, resume_unwind},
    pin::Pin,
    task::{Context, Poll, ready},
};

use bytes::Bytes;
use http::Response;
use http_body_util::{Either, Full};
use pin_project_lite::pin_project;

use super::problem;
use crate::error::BoxError;

/// Answers in the place of a call that ended in an error, or, with `None`, in a panic.
type Refuse<E> = fn(Option<&BoxError>) -> Response<E>;

pin_project! {
    /// The future of a [`Respond`](super::Respond). `R` is the body of a refusal.
    #[derive(Debug)]
    #[must_use = "futures do nothing unless polled"]
    pub struct RespondFuture<F, R = Full<Bytes>> {
        refuse: Refuse<R>,
        #[pin]
        inner: Option<F>,
    }
}

impl<F> RespondFuture<F> {
    pub(crate) fn new(inner: F) -> Self {
        Self::refusing(inner, problem::answer)
    }
}

impl<F, R> RespondFuture<F, R> {
    /// The same in another protocol.
    pub(crate) fn refusing(inner: F, refuse: Refuse<R>) -> Self {
        Self { refuse, inner: Some(inner) }
    }
}

impl<F, B, E, R> Future for RespondFuture<F, R>
where
    F: Future<Output = Result<Response<B>, E>>,
    E: Into<BoxError>,
{
    type Output = Result<Response<Either<B, R>>, Infallible>;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let this = self.project();
        let mut inner = this.inner;
        let future = inner.as_mut().as_pin_mut().expect("polled again after it was ready");
        // After a panic the future is only dropped, which gives back what it held; it is not polled again.
        let response = match catch_unwind(AssertUnwindSafe(|| future.poll(cx))) {
            Ok(answer) => match ready!(answer) {
                Ok(response) => response.map(Either::Left),
                Err(error) => (this.refuse)(Some(&error.into())).map(Either::Right),
            },
            Err(_panic) => (this.refuse)(None).map(Either::Right),
        };
        // The answer stands, also when the handler panics once more while it is dropped.
        _ = catch_unwind(AssertUnwindSafe(|| inner.set(None)));
        Poll::Ready(Ok(response))
    }
}

pin_project! {
    /// A call, or what came in its place.
    #[derive(Debug)]
    pub struct ReadyOr<F> {
        #[pin]
        call: Option<F>,
        failed: Option<Failed>,
    }
}

#[derive(Debug)]
enum Failed {
    /// The service failed to get ready.
    Unready(BoxError),
    /// It panicked when it was called.
    Panicked,
}

impl<F> ReadyOr<F> {
    pub(super) fn unready(error: BoxError) -> Self {
        Self { call: None, failed: Some(Failed::Unready(error)) }
    }

    /// Makes the call. Its panic is put off to the first poll, where it meets the one who answers for it.
    pub(super) fn call(call: impl FnOnce() -> F) -> Self {
        match catch_unwind(AssertUnwindSafe(call)) {
            Ok(call) => Self { call: Some(call), failed: None },
            Err(_panic) => Self { call: None, failed: Some(Failed::Panicked) },
        }
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
            None => match this.failed.take().expect("polled again after it was ready") {
                Failed::Unready(error) => Poll::Ready(Err(error)),
                Failed::Panicked => resume_unwind(Box::new("the service panicked when it was called")),
            },
        }
    }
}
