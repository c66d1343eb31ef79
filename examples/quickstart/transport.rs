//! The HTTP client under both services, which keeps a list of the calls it is asked to make.

use std::{
    sync::{Arc, Mutex, PoisonError},
    task::{Context, Poll},
};

use bytes::Bytes;
use http::Request;
use http_body_util::Empty;
use hyper_util::{
    client::legacy::{Client, connect::HttpConnector},
    rt::TokioExecutor,
};
use tokio::time::Instant;
use tower::Service;

/// All requests of this example are without a body.
pub(crate) type HttpClient = Client<HttpConnector, Empty<Bytes>>;

/// A pooled HTTP/1 client that sends what it is told once. By default this one quietly repeats a request
/// whose connection was found closed; repeating is the golden path's business, where a budget bounds it.
pub(crate) fn http_client() -> HttpClient {
    let mut connector = HttpConnector::new();
    connector.set_nodelay(true);
    Client::builder(TokioExecutor::new()).retry_canceled_requests(false).build(connector)
}

/// When a transport was called. Clones share the list.
#[derive(Clone, Debug, Default)]
pub(crate) struct Calls(Arc<Mutex<Vec<Instant>>>);

impl Calls {
    /// A transport that notes every call here before it is made.
    pub(crate) fn of<S>(&self, transport: S) -> Counted<S> {
        Counted { transport, calls: self.clone() }
    }

    /// All calls so far, oldest first.
    pub(crate) fn list(&self) -> Vec<Instant> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    fn note(&self) {
        let mut list = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        list.push(Instant::now());
    }
}

/// A transport whose calls are counted.
#[derive(Clone, Debug)]
pub(crate) struct Counted<S> {
    transport: S,
    calls: Calls,
}

impl<S: Service<Request<B>>, B> Service<Request<B>> for Counted<S> {
    type Response = S::Response;
    type Error = S::Error;
    type Future = S::Future;

    fn poll_ready(&mut self, context: &mut Context<'_>) -> Poll<Result<(), S::Error>> {
        self.transport.poll_ready(context)
    }

    fn call(&mut self, request: Request<B>) -> S::Future {
        self.calls.note();
        self.transport.call(request)
    }
}
