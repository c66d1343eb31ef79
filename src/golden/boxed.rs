use std::{
    fmt,
    task::{Context, Poll},
};

use futures::TryFutureExt as _;
use tower::{Service, util::BoxCloneSyncService};

use super::Handle;
use crate::error::{BoxError, CallError};

/// A [`Client`](super::Client) whose type says only what it takes and gives.
pub struct BoxedClient<Req, Res> {
    service: BoxCloneSyncService<Req, Res, BoxError>,
    handle: Handle,
}

impl<Req, Res> BoxedClient<Req, Res> {
    pub(super) fn new<S>(service: S, handle: Handle) -> Self
    where
        S: Service<Req, Response = Res, Error = BoxError> + Clone + Send + Sync + 'static,
        S::Future: Send + 'static,
    {
        Self { service: BoxCloneSyncService::new(service), handle }
    }

    /// A grip on the running stack.
    pub fn handle(&self) -> &Handle {
        &self.handle
    }

    /// Makes one call; see [`Client::send`](super::Client::send).
    ///
    /// # Errors
    ///
    /// [`CallError`]: the service's own error, or why this side refused the call or cut it short.
    pub fn send(&self, request: Req) -> impl Future<Output = Result<Res, CallError>> + Send + use<Req, Res> {
        // A golden client is always ready, and its clone as well.
        self.service.clone().call(request).map_err(CallError::new)
    }
}

impl<Req, Res> Service<Req> for BoxedClient<Req, Res> {
    type Response = Res;
    type Error = BoxError;
    type Future = <BoxCloneSyncService<Req, Res, BoxError> as Service<Req>>::Future;

    /// Always ready: the service's own readiness is awaited inside the call, under its deadline.
    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), BoxError>> {
        self.service.poll_ready(cx)
    }

    fn call(&mut self, request: Req) -> Self::Future {
        self.service.call(request)
    }
}

impl<Req, Res> Clone for BoxedClient<Req, Res> {
    fn clone(&self) -> Self {
        Self { service: self.service.clone(), handle: self.handle.clone() }
    }
}

impl<Req, Res> fmt::Debug for BoxedClient<Req, Res> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("BoxedClient").field("handle", &self.handle).finish_non_exhaustive()
    }
}
