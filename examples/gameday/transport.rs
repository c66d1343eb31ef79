//! The HTTP client of all processes.

use bytes::Bytes;
use http_body_util::Empty;
use hyper_util::{
    client::legacy::{Client, connect::HttpConnector},
    rt::TokioExecutor,
};

/// All requests of this example are without a body.
pub(crate) type HttpClient = Client<HttpConnector, Empty<Bytes>>;

/// A pooled HTTP/1 client that sends what it is told once: repeating is the golden path's business.
pub(crate) fn http_client() -> HttpClient {
    let mut connector = HttpConnector::new();
    connector.set_nodelay(true);
    Client::builder(TokioExecutor::new()).retry_canceled_requests(false).build(connector)
}
