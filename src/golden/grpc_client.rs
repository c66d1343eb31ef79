use std::{
    fmt,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll},
};

use http::Request;
use pin_project_lite::pin_project;
use tonic::{Status, body::Body};
use tower::Service;

use super::{ClientBuilder, Handle, HasFallback, HasTimeout, WiredAttempts};
use crate::{
    call::Deadline,
    classify::ByCode,
    grpc::{GRPC_TIMEOUT, GrpcBody, GrpcTransport, patience, status, wire_headers},
    http::HttpFallbackPolicy,
    policy::{Lend, Policy, Stack, StackFuture},
    telemetry::{CallTelemetryPolicy, Side},
};

/// The layers of a client for gRPC.
pub type GrpcClientPolicy<F> = CallTelemetryPolicy<HttpFallbackPolicy<F, WiredAttempts<ByCode>>>;

impl<T, F, C> ClientBuilder<T, F, C> {
    /// A client over tonic's channel, to be put under a generated client in its place. Results are judged by [`ByCode`];
    /// no method is repeated until its name is given.
    ///
    /// A fallback gives a whole answer: [`grpc::reply`](crate::grpc::reply) makes one of an encoded message, and
    /// `tonic::Status::into_http` of a status.
    pub fn grpc<S>(self, channel: S) -> GrpcClient<F, S>
    where
        T: HasTimeout,
        F: HasFallback,
    {
        let (fallback, observer, handle, attempts) =
            self.wired(ByCode, |headers| headers.written(GRPC_TIMEOUT, wire_headers));
        let policy = HttpFallbackPolicy::new(fallback, observer.clone(), attempts);
        let policy = CallTelemetryPolicy::new(observer, Side::Internal, policy);
        let stack = Stack::new(Arc::new(policy), GrpcTransport::new(channel));
        GrpcClient { stack, handle, repeatable: Arc::new(|_| false) }
    }
}

/// A gRPC channel with the golden path in front of it.
///
/// It goes where the channel would go, under a generated client: `QuotesClient::new(quotes)`. It is always ready, and
/// clones share everything. Its error is a [`Status`], in which [`Rejected::find`](crate::Rejected::find) finds why this
/// side refused a call or cut it short.
///
/// ```
/// use std::time::Duration;
/// use moneta_resilience::golden;
/// use tonic::transport::Channel;
/// # mod quotes { pub struct QuotesClient<T>(T); impl<T> QuotesClient<T> { pub fn new(channel: T) -> Self { Self(channel) } } }
/// # use quotes::QuotesClient;
///
/// # #[tokio::main(flavor = "current_thread")] async fn main() {
/// let channel = Channel::from_static("http://[::1]:50051").connect_lazy();
/// let quotes = golden::client("quotes")
///     .timeout(Duration::from_millis(800))
///     .no_fallback()
///     .grpc(channel)
///     .repeatable_methods(["/market.Quotes/Get", "/market.Quotes/List"]);
/// let client = QuotesClient::new(quotes);
/// # drop(client); }
/// ```
///
/// # Cancellation
///
/// Dropping a call's future drops the attempt in flight, and gives back all that the call holds.
pub struct GrpcClient<F, S> {
    stack: Stack<GrpcClientPolicy<F>, GrpcTransport<S>>,
    handle: Handle,
    repeatable: Arc<Repeatable>,
}

type Repeatable = dyn Fn(&str) -> bool + Send + Sync;

impl<F, S> GrpcClient<F, S> {
    /// The methods that may be called twice with the same effect as once, as paths: `/package.Service/Method`. Default:
    /// none, because nothing about a gRPC call says it.
    ///
    /// Their messages are recorded while they are sent, up to 64 KiB; a call with more is one attempt.
    ///
    /// # Panics
    ///
    /// When one of them is not such a path, which no call would ever match.
    #[must_use]
    #[track_caller]
    pub fn repeatable_methods<M>(self, methods: M) -> Self
    where
        M: IntoIterator<Item: Into<String>>,
    {
        let methods: Vec<String> = methods.into_iter().map(Into::into).collect();
        for method in &methods {
            let parts: Vec<_> = method.split('/').collect();
            assert!(
                matches!(parts[..], ["", service, name] if !service.is_empty() && !name.is_empty()),
                "`{method}` is no path of a gRPC method; they look like `/package.Service/Method`"
            );
        }
        self.repeatable_if(move |path| methods.iter().any(|method| method == path))
    }

    /// The same by a function of the path. It replaces what was said before.
    ///
    /// It is asked in every call and must not block.
    #[must_use]
    pub fn repeatable_if(self, repeatable: impl Fn(&str) -> bool + Send + Sync + 'static) -> Self {
        Self { repeatable: Arc::new(repeatable), ..self }
    }

    /// A grip on the running stack.
    pub fn handle(&self) -> &Handle {
        &self.handle
    }
}

impl<F, S: Clone> Clone for GrpcClient<F, S> {
    fn clone(&self) -> Self {
        Self {
            stack: self.stack.clone(),
            handle: self.handle.clone(),
            repeatable: Arc::clone(&self.repeatable),
        }
    }
}

impl<F, S> fmt::Debug for GrpcClient<F, S> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("GrpcClient").field("handle", &self.handle).finish_non_exhaustive()
    }
}

impl<F, S> Service<Request<Body>> for GrpcClient<F, S>
where
    GrpcClientPolicy<F>: Policy<GrpcTransport<S>, Request<GrpcBody>>,
    S: Clone,
{
    type Response = <GrpcClientPolicy<F> as Policy<GrpcTransport<S>, Request<GrpcBody>>>::Response;
    type Error = Status;
    type Future = GrpcFuture<F, S>;

    /// Always ready: the channel's own readiness is awaited inside the call, under its deadline.
    fn poll_ready(&mut self, _cx: &mut Context<'_>) -> Poll<Result<(), Status>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: Request<Body>) -> Self::Future {
        let limit = patience(request.headers(), &GRPC_TIMEOUT).limit;
        let repeatable = (self.repeatable)(request.uri().path());
        let request = request.map(if repeatable { GrpcBody::recorded } else { GrpcBody::once });
        let send = || self.stack.send(request);
        let call = match limit {
            Some(limit) => {
                let asked = Deadline::after(limit);
                Deadline::current().map_or(asked, |current| current.min(asked)).enter(send)
            }
            None => send(),
        };
        GrpcFuture { call }
    }
}

pin_project! {
    /// The future of a [`GrpcClient`].
    #[must_use = "futures do nothing unless polled"]
    pub struct GrpcFuture<F, S>
    where
        GrpcClientPolicy<F>: Lend<GrpcTransport<S>, Request<GrpcBody>>,
    {
        #[pin]
        call: StackFuture<GrpcClientPolicy<F>, GrpcTransport<S>, Request<GrpcBody>>,
    }
}

impl<F, S> Future for GrpcFuture<F, S>
where
    GrpcClientPolicy<F>: Policy<GrpcTransport<S>, Request<GrpcBody>>,
{
    type Output =
        Result<<GrpcClientPolicy<F> as Policy<GrpcTransport<S>, Request<GrpcBody>>>::Response, Status>;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        self.project().call.poll(cx).map_err(status)
    }
}

impl<F, S> fmt::Debug for GrpcFuture<F, S>
where
    GrpcClientPolicy<F>: Lend<GrpcTransport<S>, Request<GrpcBody>>,
{
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("GrpcFuture").field("call", &self.call).finish()
    }
}
