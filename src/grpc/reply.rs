use bytes::Bytes;
use http::{HeaderMap, HeaderValue, Response, header::CONTENT_TYPE};
use http_body_util::{BodyExt, Full};
use tonic::body::Body;

use crate::frame::framed;

/// A good answer with one message, already encoded: what the fallback of a gRPC client gives.
///
/// A status is an answer as well: `tonic::Status::not_found("no quote").into_http()`.
///
/// # Panics
///
/// When the message is longer than 4 GiB, which is the most that gRPC can frame.
///
/// ```
/// use std::time::Duration;
/// use moneta_resilience::{golden, grpc};
/// use tonic::transport::Channel;
///
/// # #[tokio::main(flavor = "current_thread")] async fn main() {
/// let channel = Channel::from_static("http://[::1]:50051").connect_lazy();
/// let quotes = golden::client("quotes")
///     .timeout(Duration::from_millis(800))
///     // `prost::Message::encode_to_vec` of yesterday's quote.
///     .fallback(|_why| Ok(grpc::reply(vec![8, 42])))
///     .grpc(channel);
/// # drop(quotes); }
/// ```
pub fn reply(message: impl Into<Bytes>) -> Response<Body> {
    let trailers = HeaderMap::from_iter([(tonic::Status::GRPC_STATUS, HeaderValue::from_static("0"))]);
    let body = Full::new(framed(&message.into())).with_trailers(async { Some(Ok(trailers)) });
    let mut response = Response::new(Body::new(body));
    response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static("application/grpc"));
    response
}
