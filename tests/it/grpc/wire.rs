//! A gRPC service and its client, as `protoc` would write them, for messages that are plain bytes.

use std::{
    convert::Infallible,
    future::Future,
    io,
    sync::Arc,
    task::{Context, Poll},
};

use bytes::{Buf, BufMut, Bytes, BytesMut};
use futures::{
    Stream, StreamExt,
    future::BoxFuture,
    stream::{self, BoxStream},
};
use http::{HeaderMap, uri::PathAndQuery};
use http_body::Frame;
use http_body_util::StreamBody;
use hyper_util::rt::TokioIo;
use tokio::{io::DuplexStream, net::TcpListener, sync::mpsc};
use tonic::{
    Code, Request, Response, Status,
    body::Body,
    client::GrpcService,
    codec::{Codec, DecodeBuf, Decoder, EncodeBuf, Encoder},
    server::NamedService,
    service::Routes,
    transport::{Channel, Endpoint, Server, server::TcpIncoming},
};
use tower::{Layer, Service, service_fn};

/// Messages are bytes, and what they mean is between the two sides.
#[derive(Clone, Copy, Debug)]
struct Plain;

impl Codec for Plain {
    type Encode = Bytes;
    type Decode = Bytes;
    type Encoder = Self;
    type Decoder = Self;

    fn encoder(&mut self) -> Self {
        Self
    }

    fn decoder(&mut self) -> Self {
        Self
    }
}

impl Encoder for Plain {
    type Item = Bytes;
    type Error = Status;

    fn encode(&mut self, item: Bytes, buffer: &mut EncodeBuf<'_>) -> Result<(), Status> {
        buffer.put(item);
        Ok(())
    }
}

impl Decoder for Plain {
    type Item = Bytes;
    type Error = Status;

    fn decode(&mut self, buffer: &mut DecodeBuf<'_>) -> Result<Option<Bytes>, Status> {
        Ok(Some(buffer.copy_to_bytes(buffer.remaining())))
    }
}

/// One call as the service sees it.
#[derive(Debug)]
pub(super) struct Asked {
    pub(super) message: String,
    pub(super) headers: HeaderMap,
}

impl Asked {
    pub(super) fn header(&self, name: &str) -> Option<&str> {
        self.headers.get(name).map(|value| value.to_str().unwrap())
    }
}

type Answering = dyn Fn(Asked) -> BoxFuture<'static, Result<String, Status>> + Send + Sync;

/// The service `test.Quotes`; every method does the same.
#[derive(Clone)]
pub(super) struct Quotes {
    answer: Arc<Answering>,
}

impl Quotes {
    pub(super) fn new<F, Fut>(answer: F) -> Self
    where
        F: Fn(Asked) -> Fut + Send + Sync + 'static,
        Fut: Future<Output = Result<String, Status>> + Send + 'static,
    {
        Self { answer: Arc::new(move |asked| Box::pin(answer(asked))) }
    }
}

impl NamedService for Quotes {
    const NAME: &'static str = "test.Quotes";
}

impl Service<http::Request<Body>> for Quotes {
    type Response = http::Response<Body>;
    type Error = Infallible;
    type Future = BoxFuture<'static, Result<http::Response<Body>, Infallible>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: http::Request<Body>) -> Self::Future {
        let answer = Arc::clone(&self.answer);
        Box::pin(async move {
            let unary = service_fn(move |request: Request<Bytes>| {
                let headers = request.metadata().clone().into_headers();
                let message = String::from_utf8_lossy(request.get_ref()).into_owned();
                let answer = answer(Asked { message, headers });
                async move { Ok::<_, Status>(Response::new(Bytes::from(answer.await?))) }
            });
            Ok(tonic::server::Grpc::new(Plain).unary(unary, request).await)
        })
    }
}

/// The generated client: `test.Quotes/Get` and its like.
#[derive(Clone, Debug)]
pub(super) struct QuotesClient<T>(tonic::client::Grpc<T>);

impl<T> QuotesClient<T>
where
    T: GrpcService<Body>,
    T::ResponseBody: http_body::Body<Data = Bytes> + Send + 'static,
    <T::ResponseBody as http_body::Body>::Error: Into<tower::BoxError> + Send,
{
    pub(super) fn new(service: T) -> Self {
        Self(tonic::client::Grpc::new(service))
    }

    pub(super) async fn get(&mut self, message: &str) -> Result<String, Status> {
        self.call("/test.Quotes/Get", Request::new(message.to_owned())).await
    }

    pub(super) async fn call(
        &mut self,
        path: &'static str,
        request: Request<String>,
    ) -> Result<String, Status> {
        Ok(text(self.unary(path, request).await?.get_ref()))
    }

    /// The answer with its metadata.
    pub(super) async fn unary(
        &mut self,
        path: &'static str,
        request: Request<String>,
    ) -> Result<Response<Bytes>, Status> {
        self.0.ready().await.map_err(|error| Status::from_error(error.into()))?;
        self.0.unary(request.map(Bytes::from), PathAndQuery::from_static(path), Plain).await
    }

    /// A stream of messages for a stream of messages.
    pub(super) async fn stream(
        &mut self,
        path: &'static str,
        request: Request<impl Stream<Item = String> + Send + 'static>,
    ) -> Result<BoxStream<'static, Result<String, Status>>, Status> {
        self.0.ready().await.map_err(|error| Status::from_error(error.into()))?;
        let path = PathAndQuery::from_static(path);
        let messages = request.map(|messages| messages.map(Bytes::from));
        let answer = self.0.streaming(messages, path, Plain).await?.into_inner();
        Ok(answer.map(|message| message.map(|message| text(&message))).boxed())
    }
}

fn text(message: &Bytes) -> String {
    String::from_utf8_lossy(message).into_owned()
}

/// A message as it stands in a body.
pub(super) fn framed(message: &str) -> Bytes {
    let mut frame = BytesMut::new();
    frame.put_u8(0);
    frame.put_u32(message.len().try_into().unwrap());
    frame.put(message.as_bytes());
    frame.freeze()
}

/// A server that answers as it is told, well-formed or not: with headers, and with the frames of a body.
pub(super) fn raw<F, Fut>(answer: F) -> Channel
where
    F: Fn(http::Request<Body>) -> Fut + Clone + Send + 'static,
    Fut: Future<Output = http::Response<Body>> + Send,
{
    raw_after(0, answer)
}

/// The same where nobody listens for the first so many connections.
pub(super) fn raw_after<F, Fut>(refused: u32, answer: F) -> Channel
where
    F: Fn(http::Request<Body>) -> Fut + Clone + Send + 'static,
    Fut: Future<Output = http::Response<Body>> + Send,
{
    let service = service_fn(move |request| {
        let answer = answer(request);
        async { Ok::<_, Infallible>(answer.await) }
    });
    connected(refused, service)
}

/// Headers, and then these frames.
pub(super) fn answered(frames: impl Stream<Item = Frame<Bytes>> + Send + 'static) -> http::Response<Body> {
    let body = Body::new(StreamBody::new(frames.map(Ok::<_, Infallible>)));
    http::Response::builder().header("content-type", "application/grpc").body(body).unwrap()
}

/// The end of an answer.
pub(super) fn trailers(code: Code) -> Frame<Bytes> {
    let code = http::HeaderValue::from(code as i32);
    Frame::trailers(HeaderMap::from_iter([(http::HeaderName::from_static("grpc-status"), code)]))
}

/// Serves through `layer` over connections in memory, so that the clock can stand still.
pub(super) fn in_memory<L>(quotes: Quotes, layer: &L) -> Channel
where
    L: Layer<Routes>,
    L::Service: Service<http::Request<Body>, Response: IntoBody, Error: Into<tower::BoxError> + Send, Future: Send>
        + Clone
        + Send
        + 'static,
{
    let service = layer.layer(Routes::new(quotes).prepare());
    connected(0, tower::ServiceBuilder::new().map_response(IntoBody::into_body).service(service))
}

fn connected<S>(mut refused: u32, service: S) -> Channel
where
    S: Service<
            http::Request<Body>,
            Response = http::Response<Body>,
            Error: Into<tower::BoxError> + Send,
            Future: Send,
        > + Clone
        + Send
        + 'static,
{
    let (dial, dialled) = mpsc::unbounded_channel::<DuplexStream>();
    let incoming = stream::unfold(dialled, async |mut dialled| {
        let stream = dialled.recv().await?;
        Some((Ok::<_, io::Error>(stream), dialled))
    });
    tokio::spawn(Server::builder().serve_with_incoming(service, incoming.boxed()));
    Endpoint::from_static("http://quotes").connect_with_connector_lazy(service_fn(move |_| {
        let (near, far) = tokio::io::duplex(64 * 1024);
        let listens = refused == 0 && dial.send(far).is_ok();
        refused = refused.saturating_sub(1);
        let dialled = if listens { Ok(()) } else { Err(io::Error::from(io::ErrorKind::ConnectionRefused)) };
        async move { dialled.map(|()| TokioIo::new(near)) }
    }))
}

/// A response whose body tonic's server can send.
pub(super) trait IntoBody {
    fn into_body(self) -> http::Response<Body>;
}

impl<B> IntoBody for http::Response<B>
where
    B: http_body::Body<Data = Bytes, Error: Into<tower::BoxError>> + Send + 'static,
{
    fn into_body(self) -> http::Response<Body> {
        self.map(Body::new)
    }
}

/// Serves over the loopback as services do it: `Server::layer` and `add_service`.
pub(super) async fn over_loopback<S, L, B>(quotes: S, layer: L) -> Channel
where
    S: Service<http::Request<Body>, Response = http::Response<Body>, Error = Infallible, Future: Send>
        + NamedService
        + Clone
        + Send
        + Sync
        + 'static,
    L: Layer<Routes> + Clone + Send + 'static,
    L::Service: Service<
            http::Request<Body>,
            Response = http::Response<B>,
            Error: Into<tower::BoxError> + Send,
            Future: Send,
        > + Clone
        + Send
        + 'static,
    B: http_body::Body<Data = Bytes, Error: Into<tower::BoxError>> + Send + 'static,
{
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let server = Server::builder().layer(layer).add_service(quotes);
    tokio::spawn(server.serve_with_incoming(TcpIncoming::from(listener)));
    Endpoint::from_shared(format!("http://{address}")).unwrap().connect_lazy()
}
