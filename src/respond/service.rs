use std::{
    convert::Infallible,
    task::{Context, Poll},
};

use http::{Request, Response};
use tower::{Layer, Service};

use super::{ReadyOr, RespondBody, RespondFuture};
use crate::error::BoxError;

/// Turns errors into problem answers; see the [module](super).
#[derive(Clone, Copy, Debug, Default)]
#[must_use = "a layer does nothing until it is put in front of a service"]
pub struct RespondLayer {
    _private: (),
}

impl RespondLayer {
    /// Turns errors into problem answers.
    pub fn new() -> Self {
        Self::default()
    }
}

impl<S> Layer<S> for RespondLayer {
    type Service = Respond<S>;

    fn layer(&self, inner: S) -> Self::Service {
        Respond { inner, broken: None }
    }
}

/// A service whose errors are answers.
#[derive(Debug)]
pub struct Respond<S> {
    inner: S,
    broken: Option<BoxError>,
}

impl<S: Clone> Clone for Respond<S> {
    fn clone(&self) -> Self {
        Self { inner: self.inner.clone(), broken: None }
    }
}

impl<S, B, RB> Service<Request<B>> for Respond<S>
where
    S: Service<Request<B>, Response = Response<RB>>,
    S::Error: Into<BoxError>,
{
    type Response = Response<RespondBody<RB>>;
    type Error = Infallible;
    type Future = RespondFuture<ReadyOr<S::Future>>;

    /// A service that failed to get ready is "ready" to answer with that failure.
    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        if self.broken.is_some() {
            return Poll::Ready(Ok(()));
        }
        self.inner.poll_ready(cx).map(|ready| {
            self.broken = ready.err().map(Into::into);
            Ok(())
        })
    }

    fn call(&mut self, request: Request<B>) -> Self::Future {
        RespondFuture::new(match self.broken.take() {
            Some(error) => ReadyOr::unready(error),
            None => ReadyOr::call(|| self.inner.call(request)),
        })
    }
}
