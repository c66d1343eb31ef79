use std::{
    convert::Infallible,
    task::{Context, Poll},
};

use bytes::Bytes;
use http::{Request, Response};
use http_body_util::Empty;
use tower::Service;

use super::{HasTimeout, KeyedOrNot, Off, Server, ServerBody, ServerBuilder, ServerLayer, ServerPolicy};
use crate::{
    classify::ByCode,
    error::BoxError,
    grpc::{GRPC_TIMEOUT, Grpc, RefusalBody, patience, refusal},
    http::DeadlineHeaderPolicy,
    policy::{Policy, StackFuture},
    respond::RespondFuture,
};

/// The golden path in front of a gRPC server; see [`ServerBuilder::grpc_layer`].
pub type GrpcServerLayer<K = Off> = ServerLayer<ByCode, K>;
/// A gRPC service with the golden path in front of it.
pub type GrpcServer<S, K = Off> = Server<S, ByCode, K>;
/// The future of a [`GrpcServer`].
pub type GrpcServerFuture<S, B, K = Off> =
    RespondFuture<StackFuture<ServerPolicy<ByCode, K>, S, Request<B>>, Empty<Bytes>>;

impl<T, K> ServerBuilder<T, K> {
    /// The layer for tonic's `Server::layer`. However often it is applied, it is one stack with one state.
    ///
    /// Deadlines come in `grpc-timeout`, results are judged by [`ByCode`], and refusals are answers without a body whose
    /// headers hold the status: see [`grpc`](crate::grpc).
    ///
    /// # Panics
    ///
    /// When places of a bulkhead are to be shared out, and there is none: `priorities` and `without_bulkhead`.
    #[track_caller]
    pub fn grpc_layer(self) -> GrpcServerLayer<K>
    where
        T: HasTimeout,
        K: KeyedOrNot,
    {
        let over_grpc = self.with(|timeout, keys| (timeout, keys.over_grpc()));
        over_grpc.build(&Grpc, ByCode, |observer, policy| {
            DeadlineHeaderPolicy::new(GRPC_TIMEOUT, observer, policy).reading(patience)
        })
    }
}

impl<S, K, B, RB> Service<Request<B>> for GrpcServer<S, K>
where
    K: KeyedOrNot,
    S: Service<Request<K::Asked<B>>, Response = Response<RB>> + Clone,
    S::Error: Into<BoxError>,
    ServerPolicy<ByCode, K>: Policy<S, Request<B>, Response = Response<ServerBody<RB, K>>>,
{
    type Response = Response<RefusalBody<ServerBody<RB, K>>>;
    type Error = Infallible;
    type Future = GrpcServerFuture<S, B, K>;

    /// Always ready: the handler's own readiness is awaited inside the call, under its deadline.
    fn poll_ready(&mut self, _cx: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: Request<B>) -> Self::Future {
        RespondFuture::refusing(self.stack.send(request), refusal)
    }
}
