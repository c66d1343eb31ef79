//! The stack of a server as the layer and the service that it is.

use std::{
    convert::Infallible,
    fmt,
    sync::Arc,
    task::{Context, Poll},
};

use http::{Request, Response};
use tower::{Layer, Service};

use super::{ServerBody, ServerPolicy};
use crate::{
    classify::ByStatus,
    error::BoxError,
    golden::{Handle, KeyedOrNot, Off},
    policy::{Policy, Stack, StackFuture},
    respond::{RespondBody, RespondFuture},
};

/// The golden path in front of a server. Clones are the same stack.
#[must_use = "a layer does nothing until it is put in front of a service"]
pub struct ServerLayer<C = ByStatus, K: KeyedOrNot = Off> {
    policy: Arc<ServerPolicy<C, K>>,
    handle: Handle,
}

impl<C, K: KeyedOrNot> ServerLayer<C, K> {
    pub(super) fn new(policy: ServerPolicy<C, K>, handle: Handle) -> Self {
        Self { policy: Arc::new(policy), handle }
    }

    /// A grip on the running stack.
    pub fn handle(&self) -> &Handle {
        &self.handle
    }
}

impl<C, K: KeyedOrNot> Clone for ServerLayer<C, K> {
    fn clone(&self) -> Self {
        Self { policy: Arc::clone(&self.policy), handle: self.handle.clone() }
    }
}

impl<C, K: KeyedOrNot> fmt::Debug for ServerLayer<C, K> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ServerLayer").field("handle", &self.handle).finish_non_exhaustive()
    }
}

impl<C, K: KeyedOrNot, S> Layer<S> for ServerLayer<C, K> {
    type Service = Server<S, C, K>;

    fn layer(&self, service: S) -> Self::Service {
        Server { stack: Stack::new(Arc::clone(&self.policy), service), handle: self.handle.clone() }
    }
}

/// A service with the golden path in front of it.
pub struct Server<S, C = ByStatus, K: KeyedOrNot = Off> {
    pub(in crate::golden) stack: Stack<ServerPolicy<C, K>, S>,
    handle: Handle,
}

/// The future of a [`Server`].
pub type ServerFuture<S, B, K = Off> = RespondFuture<StackFuture<ServerPolicy<ByStatus, K>, S, Request<B>>>;

impl<S, C, K: KeyedOrNot> Server<S, C, K> {
    /// A grip on the running stack.
    pub fn handle(&self) -> &Handle {
        &self.handle
    }
}

impl<S, K, B, RB> Service<Request<B>> for Server<S, ByStatus, K>
where
    K: KeyedOrNot,
    S: Service<Request<K::Asked<B>>, Response = Response<RB>> + Clone,
    S::Error: Into<BoxError>,
    ServerPolicy<ByStatus, K>: Policy<S, Request<B>, Response = Response<ServerBody<RB, K>>>,
{
    type Response = Response<RespondBody<ServerBody<RB, K>>>;
    type Error = Infallible;
    type Future = ServerFuture<S, B, K>;

    /// Always ready: the handler's own readiness is awaited inside the call, under its deadline.
    fn poll_ready(&mut self, _cx: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: Request<B>) -> Self::Future {
        RespondFuture::new(self.stack.send(request))
    }
}

impl<S: Clone, C, K: KeyedOrNot> Clone for Server<S, C, K> {
    fn clone(&self) -> Self {
        Self { stack: self.stack.clone(), handle: self.handle.clone() }
    }
}

impl<S, C, K: KeyedOrNot> fmt::Debug for Server<S, C, K> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Server").field("handle", &self.handle).finish_non_exhaustive()
    }
}
