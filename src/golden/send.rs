use std::{
    fmt,
    pin::Pin,
    task::{Context, Poll},
};

use pin_project_lite::pin_project;
use tower::Service;

use super::{BoxedClient, Handle};
use crate::{
    error::{BoxError, CallError},
    policy::{Lend, Policy, Stack, StackFuture},
};

/// A client of a service, with the golden path in front of it.
///
/// It is always ready, and clones share everything, so it is called through `&self` and fits into shared state. It is a
/// tower service as well.
pub struct Client<P, S> {
    stack: Stack<P, S>,
    handle: Handle,
}

impl<P, S> Client<P, S> {
    pub(super) fn new(stack: Stack<P, S>, handle: Handle) -> Self {
        Self { stack, handle }
    }

    /// A grip on the running stack.
    pub fn handle(&self) -> &Handle {
        &self.handle
    }

    /// Makes one call.
    ///
    /// # Errors
    ///
    /// [`CallError`]: the service's own error, or why this side refused the call or cut it short.
    ///
    /// # Cancellation
    ///
    /// Dropping the future drops the attempt in flight, and gives back all that the call holds.
    pub fn send<Req>(&self, request: Req) -> SendFuture<P, S, Req>
    where
        P: Policy<S, Req>,
        S: Clone,
    {
        SendFuture { call: self.stack.send(request) }
    }

    /// Erases the type, at the price of two allocations a call.
    pub fn boxed<Req>(self) -> BoxedClient<Req, P::Response>
    where
        P: Policy<S, Req> + Send + Sync + 'static,
        P::Pass: Send,
        S: Clone + Send + Sync + 'static,
        Req: Send + 'static,
    {
        let handle = self.handle.clone();
        BoxedClient::new(self, handle)
    }
}

impl<P, S: Clone> Clone for Client<P, S> {
    fn clone(&self) -> Self {
        Self { stack: self.stack.clone(), handle: self.handle.clone() }
    }
}

impl<P, S> fmt::Debug for Client<P, S> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Client").field("handle", &self.handle).finish_non_exhaustive()
    }
}

impl<P, S, Req> Service<Req> for Client<P, S>
where
    P: Policy<S, Req>,
    S: Clone,
{
    type Response = P::Response;
    type Error = BoxError;
    type Future = StackFuture<P, S, Req>;

    /// Always ready: the service's own readiness is awaited inside the call, under its deadline.
    fn poll_ready(&mut self, _cx: &mut Context<'_>) -> Poll<Result<(), BoxError>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: Req) -> Self::Future {
        self.stack.send(request)
    }
}

pin_project! {
    /// The future of [`Client::send`].
    #[must_use = "futures do nothing unless polled"]
    pub struct SendFuture<P: Lend<S, Req>, S, Req> {
        #[pin]
        call: StackFuture<P, S, Req>,
    }
}

impl<P: Policy<S, Req>, S, Req> Future for SendFuture<P, S, Req> {
    type Output = Result<P::Response, CallError>;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        self.project().call.poll(cx).map_err(CallError::new)
    }
}

impl<P: Lend<S, Req>, S, Req> fmt::Debug for SendFuture<P, S, Req> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SendFuture").field("call", &self.call).finish()
    }
}
