use std::{
    fmt, mem,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll, ready},
};

use bytes::Bytes;
use http::{
    Request, Response, Uri,
    uri::{self, Authority, PathAndQuery, Scheme},
};
use pin_project_lite::pin_project;
use tonic::{Status, body::Body};
use tower::{Service, ServiceExt as _, util::BoxCloneSyncService};

use super::{ClientBuilder, Handle, HasFallback, HasTimeout, Wired, WiredAttempts};
use crate::{
    call::Deadline,
    classify::{ByCode, in_progress},
    error::BoxError,
    grpc::{
        GRPC_TIMEOUT, Grpc, GrpcAnswerBody, GrpcBody, GrpcTransport, is_stream, patience, status,
        wire_headers,
    },
    hedge::{HedgeChoice, NoHedge},
    http::{BodyTimeoutPolicy, HttpFallbackPolicy, HttpTelemetryPolicy, Part, Teller, WireHeaders},
    policy::{Lend, Policy, Stack, StackFuture},
    timeout::LimitByHeadPolicy,
};

/// The layers of a client for gRPC.
pub type GrpcClientPolicy<F, H = NoHedge> =
    HttpTelemetryPolicy<LimitByHeadPolicy<HttpFallbackPolicy<F, HttpTelemetryPolicy<GrpcAttempts<H>>>>>;
/// What stands inside the telemetry of a request of a client for gRPC, all of whose attempts are one.
pub type GrpcAttempts<H = NoHedge> = BodyTimeoutPolicy<WiredAttempts<Wired<ByCode>, H>>;

impl<T, F, C, H> ClientBuilder<T, F, C, H> {
    /// A client over tonic's channel, to be put under a generated client in its place. Results are judged by [`ByCode`];
    /// no method is repeated, and none may go on past the timeout, until its name is given.
    ///
    /// A fallback gives a whole answer: [`grpc::reply`](crate::grpc::reply) makes one of an encoded message, and
    /// `tonic::Status::into_http` of a status. Another channel that is to answer goes in as
    /// `fallback_service(GrpcTransport::new(channel))`.
    ///
    /// # Panics
    ///
    /// When it has objectives that are to open its circuit breaker, and none: `slo_opening_breaker` and
    /// `without_circuit_breaker`.
    #[track_caller]
    pub fn grpc<S>(self, channel: S) -> GrpcClient<F, S, H>
    where
        T: HasTimeout,
        F: HasFallback,
        H: HedgeChoice,
    {
        let by_head = self.limit_by_head();
        let limits = self.limits_of_bodies().or_streaming(is_stream);
        let wire = |headers: WireHeaders| headers.of_protocol(GRPC_TIMEOUT, wire_headers, in_progress);
        let (fallback, observer, handle, attempts) = self.wired(ByCode, wire, |_, attempt| attempt);
        let policy = BodyTimeoutPolicy::new(limits, observer.clone(), attempts);
        let breaker = handle.circuit_breaker().cloned();
        let teller = Teller::new(&Grpc, observer.clone(), Part::Client).breaking(breaker);
        let policy = HttpTelemetryPolicy::new(teller, policy);
        let policy = HttpFallbackPolicy::new(fallback, observer.clone(), policy);
        let policy = LimitByHeadPolicy::new(by_head, policy);
        let policy = HttpTelemetryPolicy::new(Teller::new(&Grpc, observer, Part::Call), policy);
        let stack = Stack::new(Arc::new(policy), GrpcTransport::new(channel));
        let no_method: Arc<Methods> = Arc::new(|_| false);
        GrpcClient { stack, handle, origin: None, repeatable: Arc::clone(&no_method), streaming: no_method }
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
///     .repeatable_methods(["/market.Quotes/Get", "/market.Quotes/List"])
///     .streaming_methods(["/market.Quotes/Watch"]);
/// let client = QuotesClient::new(quotes);
/// # drop(client); }
/// ```
///
/// # Cancellation
///
/// Dropping a call's future drops the attempt in flight, and gives back all that the call holds.
pub struct GrpcClient<F, S, H = NoHedge> {
    stack: Stack<GrpcClientPolicy<F, H>, GrpcTransport<S>>,
    handle: Handle,
    origin: Option<(Scheme, Authority)>,
    repeatable: Arc<Methods>,
    streaming: Arc<Methods>,
}

/// A [`GrpcClient`] whose type says only what it takes and gives; see [`GrpcClient::boxed`].
pub type BoxedGrpcClient = BoxCloneSyncService<Request<Body>, Response<Body>, Status>;

/// Methods, told by their paths.
type Methods = dyn Fn(&str) -> bool + Send + Sync;

impl<F, S, H> GrpcClient<F, S, H> {
    /// The methods that may be called twice with the same effect as once, as paths: `/package.Service/Method`. Default:
    /// none, because nothing about a gRPC method says it. A call that carries an `idempotency-key` may be sent twice
    /// whatever its method.
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
        self.repeatable_if(named(methods.into_iter().map(Into::into).collect()))
    }

    /// The same by a function of the path. It replaces what was said before.
    ///
    /// It is asked in every call and must not block.
    #[must_use]
    pub fn repeatable_if(self, repeatable: impl Fn(&str) -> bool + Send + Sync + 'static) -> Self {
        Self { repeatable: Arc::new(repeatable), ..self }
    }

    /// The methods whose answers are streams that may go on for ever, as paths: `/package.Service/Method`. Default: none.
    ///
    /// The timeout of such a call ends with the headers of its answer; then a single message may take as long as the
    /// [idle limit](ClientBuilder::body_idle_timeout) of the body. A limit for the stream as a whole is the request's
    /// (`tonic::Request::set_timeout`): it goes to the server, which ends the stream by it.
    ///
    /// A stream that ends by itself within the timeout need not be named.
    ///
    /// # Panics
    ///
    /// When one of them is not such a path, which no call would ever match.
    #[must_use]
    #[track_caller]
    pub fn streaming_methods<M>(self, methods: M) -> Self
    where
        M: IntoIterator<Item: Into<String>>,
    {
        self.streaming_if(named(methods.into_iter().map(Into::into).collect()))
    }

    /// The same by a function of the path. It replaces what was said before.
    ///
    /// It is asked in every call and must not block.
    #[must_use]
    pub fn streaming_if(self, streaming: impl Fn(&str) -> bool + Send + Sync + 'static) -> Self {
        Self { streaming: Arc::new(streaming), ..self }
    }

    /// Says whom the channel talks to, which it keeps to itself: `https://quotes.internal:50051`.
    ///
    /// It is what telemetry calls the server (`server.address`, `server.port`), and the host that
    /// [`trace_hosts`](ClientBuilder::trace_hosts) is about: where that is said and this is not, nobody is told of the trace.
    /// Requests that name no server name this one; tonic's channel puts its own in its place.
    ///
    /// # Panics
    ///
    /// When it has no scheme or no host.
    #[must_use]
    #[track_caller]
    pub fn origin(self, origin: Uri) -> Self {
        let uri::Parts { scheme, authority, .. } = origin.into_parts();
        let (Some(scheme), Some(authority)) = (scheme, authority) else {
            panic!("an origin has a scheme and a host, like `https://quotes.internal:50051`")
        };
        Self { origin: Some((scheme, authority)), ..self }
    }

    fn address(&self, uri: &mut Uri) {
        if let (None, Some((scheme, authority))) = (uri.authority(), &self.origin) {
            let mut parts = mem::take(uri).into_parts();
            (parts.scheme, parts.authority) = (Some(scheme.clone()), Some(authority.clone()));
            parts.path_and_query.get_or_insert_with(|| PathAndQuery::from_static("/"));
            *uri = Uri::from_parts(parts).expect("it has a scheme, a host and a path");
        }
    }

    /// A grip on the running stack.
    pub fn handle(&self) -> &Handle {
        &self.handle
    }

    /// Erases the type, so that it can be written down, at the price of two allocations a call. What the methods are is
    /// said before, and the [`handle`](Self::handle) taken.
    ///
    /// ```
    /// use moneta_resilience::golden::BoxedGrpcClient;
    /// # mod quotes { pub struct QuotesClient<T>(pub T); }
    /// # use quotes::QuotesClient;
    ///
    /// struct Desk {
    ///     quotes: QuotesClient<BoxedGrpcClient>,
    /// }
    /// # let _ = |quotes| Desk { quotes: QuotesClient(quotes) };
    /// ```
    pub fn boxed<B>(self) -> BoxedGrpcClient
    where
        Self: Service<Request<Body>, Response = Response<B>, Error = Status, Future: Send + 'static>,
        Self: Clone + Send + Sync + 'static,
        B: http_body::Body<Data = Bytes, Error: Into<BoxError>> + Send + 'static,
    {
        BoxCloneSyncService::new(self.map_response(|answer: Response<B>| answer.map(Body::new)))
    }
}

/// Tells these methods by their paths.
#[track_caller]
fn named(methods: Vec<String>) -> impl Fn(&str) -> bool {
    for method in &methods {
        let parts: Vec<_> = method.split('/').collect();
        assert!(
            matches!(parts[..], ["", service, name] if !service.is_empty() && !name.is_empty()),
            "`{method}` is no path of a gRPC method; they look like `/package.Service/Method`"
        );
    }
    move |path| methods.iter().any(|method| method == path)
}

impl<F, S: Clone, H> Clone for GrpcClient<F, S, H> {
    fn clone(&self) -> Self {
        Self {
            stack: self.stack.clone(),
            handle: self.handle.clone(),
            origin: self.origin.clone(),
            repeatable: Arc::clone(&self.repeatable),
            streaming: Arc::clone(&self.streaming),
        }
    }
}

impl<F, S, H> fmt::Debug for GrpcClient<F, S, H> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("GrpcClient").field("handle", &self.handle).finish_non_exhaustive()
    }
}

impl<F, S, H, B> Service<Request<Body>> for GrpcClient<F, S, H>
where
    GrpcClientPolicy<F, H>: Policy<GrpcTransport<S>, Request<GrpcBody>, Response = Response<B>>,
    S: Clone,
{
    type Response = Response<GrpcAnswerBody<B>>;
    type Error = Status;
    type Future = GrpcFuture<F, S, H>;

    /// Always ready: the channel's own readiness is awaited inside the call, under its deadline.
    fn poll_ready(&mut self, _cx: &mut Context<'_>) -> Poll<Result<(), Status>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: Request<Body>) -> Self::Future {
        let (mut head, body) = request.into_parts();
        self.address(&mut head.uri);
        let path = head.uri.path();
        let body = GrpcBody::new(body, (self.repeatable)(path));
        let body = if (self.streaming)(path) { body.streaming(&head.headers) } else { body };
        let limit = patience(&head.headers, &GRPC_TIMEOUT).limit;
        let send = || self.stack.send(Request::from_parts(head, body));
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
    pub struct GrpcFuture<F, S, H = NoHedge>
    where
        GrpcClientPolicy<F, H>: Lend<GrpcTransport<S>, Request<GrpcBody>>,
    {
        #[pin]
        call: StackFuture<GrpcClientPolicy<F, H>, GrpcTransport<S>, Request<GrpcBody>>,
    }
}

impl<F, S, H, B> Future for GrpcFuture<F, S, H>
where
    GrpcClientPolicy<F, H>: Policy<GrpcTransport<S>, Request<GrpcBody>, Response = Response<B>>,
{
    type Output = Result<Response<GrpcAnswerBody<B>>, Status>;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let result = ready!(self.project().call.poll(cx));
        Poll::Ready(result.map(|answer| answer.map(GrpcAnswerBody::new)).map_err(status))
    }
}

impl<F, S, H> fmt::Debug for GrpcFuture<F, S, H>
where
    GrpcClientPolicy<F, H>: Lend<GrpcTransport<S>, Request<GrpcBody>>,
{
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("GrpcFuture").field("call", &self.call).finish_non_exhaustive()
    }
}
