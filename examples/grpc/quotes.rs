//! What `tonic-build` writes for this service, written by hand, so that the example needs no `protoc`. The messages are
//! text.
//!
//! ```proto
//! package market;
//!
//! service Quotes {
//!   rpc Get(Pair) returns (Quote);
//!   rpc Watch(Pair) returns (stream Quote);
//! }
//! ```

use std::{
    convert::Infallible,
    sync::Arc,
    task::{Context, Poll},
};

use bytes::{Buf, BufMut, Bytes};
use futures::{
    future::BoxFuture,
    stream::{BoxStream, StreamExt as _},
};
use http::uri::PathAndQuery;
use tonic::{
    Request, Response, Status,
    body::Body,
    client::GrpcService,
    codec::{Codec, DecodeBuf, Decoder, EncodeBuf, Encoder},
    server::NamedService,
};
use tower::{BoxError, Service, service_fn};

pub(crate) const GET: &str = "/market.Quotes/Get";
pub(crate) const WATCH: &str = "/market.Quotes/Watch";

/// The service, to be implemented.
pub(crate) trait Quotes: Send + Sync + 'static {
    fn get(&self, pair: String) -> impl Future<Output = Result<String, Status>> + Send;

    fn watch(&self, pair: String) -> BoxStream<'static, Result<String, Status>>;
}

/// The service, to be served.
pub(crate) struct QuotesServer<T> {
    quotes: Arc<T>,
}

impl<T> QuotesServer<T> {
    pub(crate) fn new(quotes: T) -> Self {
        Self { quotes: Arc::new(quotes) }
    }
}

impl<T> Clone for QuotesServer<T> {
    fn clone(&self) -> Self {
        Self { quotes: Arc::clone(&self.quotes) }
    }
}

impl<T> NamedService for QuotesServer<T> {
    const NAME: &'static str = "market.Quotes";
}

impl<T: Quotes> Service<http::Request<Body>> for QuotesServer<T> {
    type Response = http::Response<Body>;
    type Error = Infallible;
    type Future = BoxFuture<'static, Result<http::Response<Body>, Infallible>>;

    fn poll_ready(&mut self, _cx: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: http::Request<Body>) -> Self::Future {
        let quotes = Arc::clone(&self.quotes);
        let mut grpc = tonic::server::Grpc::new(Text);
        Box::pin(async move {
            let path = request.uri().path().to_owned();
            Ok(match path.as_str() {
                GET => {
                    let get = service_fn(|request: Request<String>| {
                        let quotes = Arc::clone(&quotes);
                        async move { quotes.get(request.into_inner()).await.map(Response::new) }
                    });
                    grpc.unary(get, request).await
                }
                WATCH => {
                    let watch = service_fn(|request: Request<String>| {
                        let prices = quotes.watch(request.into_inner());
                        async { Ok::<_, Status>(Response::new(prices)) }
                    });
                    grpc.server_streaming(watch, request).await
                }
                _ => Status::unimplemented("no such method").into_http(),
            })
        })
    }
}

/// The client, over a channel or what stands in its place.
#[derive(Clone, Debug)]
pub(crate) struct QuotesClient<T> {
    grpc: tonic::client::Grpc<T>,
}

impl<T> QuotesClient<T>
where
    T: GrpcService<Body, ResponseBody: http_body::Body<Data = Bytes, Error: Into<BoxError>> + Send + 'static>,
{
    pub(crate) fn new(channel: T) -> Self {
        Self { grpc: tonic::client::Grpc::new(channel) }
    }

    pub(crate) async fn get(&mut self, pair: &str) -> Result<String, Status> {
        self.ready().await?;
        let quote =
            self.grpc.unary(Request::new(pair.to_owned()), PathAndQuery::from_static(GET), Text).await?;
        Ok(quote.into_inner())
    }

    pub(crate) async fn watch(
        &mut self,
        pair: &str,
    ) -> Result<BoxStream<'static, Result<String, Status>>, Status> {
        self.ready().await?;
        let request = Request::new(pair.to_owned());
        let prices = self.grpc.server_streaming(request, PathAndQuery::from_static(WATCH), Text).await?;
        Ok(prices.into_inner().boxed())
    }

    async fn ready(&mut self) -> Result<(), Status> {
        self.grpc.ready().await.map_err(|error| Status::from_error(error.into()))
    }
}

/// Where the generated code has `ProstCodec`.
#[derive(Clone, Copy, Debug)]
struct Text;

impl Codec for Text {
    type Encode = String;
    type Decode = String;
    type Encoder = Self;
    type Decoder = Self;

    fn encoder(&mut self) -> Self {
        Self
    }

    fn decoder(&mut self) -> Self {
        Self
    }
}

impl Encoder for Text {
    type Item = String;
    type Error = Status;

    fn encode(&mut self, text: String, buffer: &mut EncodeBuf<'_>) -> Result<(), Status> {
        buffer.put(text.as_bytes());
        Ok(())
    }
}

impl Decoder for Text {
    type Item = String;
    type Error = Status;

    fn decode(&mut self, buffer: &mut DecodeBuf<'_>) -> Result<Option<String>, Status> {
        let text = buffer.copy_to_bytes(buffer.remaining());
        String::from_utf8(text.into()).map(Some).map_err(|_| Status::internal("the message is no text"))
    }
}
