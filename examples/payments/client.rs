//! The client.

use std::{net::SocketAddr, time::Duration};

use anyhow::Result;
use bytes::Bytes;
use http::{Request, StatusCode, header::CONTENT_TYPE};
use http_body_util::{BodyExt, Full};
use hyper::body::Incoming;
use hyper_util::{client::legacy, rt::TokioExecutor};
use moneta_resilience::{
    golden::{self, BoxedClient, ClientBody},
    retry::RetryLayer,
};

use crate::payment::Payment;

/// Asks the payment service. Clones share its connections, its retry budget and its circuit breaker.
#[derive(Clone)]
pub(crate) struct Client {
    golden: BoxedClient<Request<Full<Bytes>>, http::Response<ClientBody<Incoming>>>,
    address: SocketAddr,
}

/// What the service answered.
pub(crate) struct Answer {
    pub(crate) status: StatusCode,
    /// Whether it was answered before, and nothing was done this time.
    pub(crate) is_replay: bool,
    pub(crate) body: Bytes,
}

impl Client {
    pub(crate) fn new(address: SocketAddr, timeout: Duration) -> Self {
        let http = legacy::Client::builder(TokioExecutor::new()).retry_canceled_requests(false).build_http();
        let golden = golden::client("payment-service")
            .timeout(timeout) // the whole call, with its retries and the waits that the service asks for
            .attempt_timeout(Duration::from_millis(400))
            .retry(RetryLayer::new().attempts(5))
            .idempotency_keys() // a key for each call that has none, the same on all its attempts
            .no_fallback() // there is no stale payment
            .http(http)
            .boxed();
        Self { golden, address }
    }

    /// Pays. Without a key of the caller's, the call gets one of its own; to be able to ask again after a crash, make a key
    /// beforehand, and keep it with the payment.
    pub(crate) async fn pay(&self, payment: &Payment, key: Option<&str>) -> Result<Answer> {
        let request = Request::post(format!("http://{}/payments", self.address))
            .header("authorization", "Bearer shop") // whose key it is
            .header(CONTENT_TYPE, "application/json");
        let request = match key {
            Some(key) => request.header("idempotency-key", format!("\"{key}\"")),
            None => request,
        };
        let (head, body) = self.golden.send(request.body(Full::new(payment.to_json()))?).await?.into_parts();
        Ok(Answer {
            status: head.status,
            is_replay: head.headers.get("idempotent-replayed").is_some_and(|value| value == "true"),
            body: body.collect().await?.to_bytes(),
        })
    }
}
