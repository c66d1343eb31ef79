//! The protocol over HTTP, from the outside: requests with keys, answers, and what the handler did.

mod asked;
#[cfg(any(feature = "sqlite", feature = "postgres"))]
pub(super) mod books;
mod claims;
mod keys;
mod leaving;
mod outcomes;
mod transactions;

use std::time::Duration;

use axum::{Router, body::Body, handler::Handler, response::IntoResponse, routing::any};
use bytes::Bytes;
use http::{HeaderMap, Request, Response, StatusCode};
use http_body_util::BodyExt;
use moneta_resilience::{
    idempotency::{Store, http::IdempotencyLayer},
    respond::RespondLayer,
};
use tower::{ServiceBuilder, ServiceExt};

use super::{Runs, faulty, settle};

const LEASE: Duration = Duration::from_secs(60);

/// A server with the layer in front of a handler of every path and method.
fn app<St: Store, H: Handler<T, ()>, T: 'static>(layer: IdempotencyLayer<St>, handler: H) -> Router {
    let layers = ServiceBuilder::new().layer(RespondLayer::new()).layer(layer);
    Router::new().fallback_service(any(handler).with_state(())).layer(layers)
}

/// A handler that says which run it is.
fn counting(runs: &Runs) -> impl Handler<((),), ()> + use<> {
    let runs = runs.clone();
    move || {
        let runs = runs.clone();
        async move { format!("payment {}", runs.run()) }
    }
}

/// A payment under a key.
fn pay(key: &str) -> Request<Body> {
    with_body(key, "100 CHF")
}

fn with_body(key: &str, body: &'static str) -> Request<Body> {
    Request::post("/payments").header("idempotency-key", key).body(Body::from(body)).unwrap()
}

struct Answer {
    status: StatusCode,
    headers: HeaderMap,
    body: Bytes,
    trailers: Option<HeaderMap>,
}

impl Answer {
    fn is_replay(&self) -> bool {
        self.headers.get("idempotent-replayed").is_some_and(|value| value == "true")
    }

    #[track_caller]
    fn is(&self, status: u16, body: &str) {
        assert_eq!((self.status.as_u16(), &*self.body), (status, body.as_bytes()));
        assert!(!self.is_replay());
    }

    #[track_caller]
    fn replays(&self, status: u16, body: &str) {
        assert_eq!((self.status.as_u16(), &*self.body), (status, body.as_bytes()));
        assert!(self.is_replay());
    }

    /// A problem with this word in its type.
    #[track_caller]
    fn is_problem(&self, status: u16, word: &str) {
        assert_eq!(self.status.as_u16(), status, "{:?}", self.body);
        assert_eq!(self.headers["content-type"], "application/problem+json");
        let problem: serde_json::Value = serde_json::from_slice(&self.body).unwrap();
        assert_eq!(problem["type"], format!("urn:moneta-resilience:{word}"));
        assert_eq!(problem["status"], status);
        assert!(!self.is_replay());
    }
}

async fn send(app: &Router, request: Request<Body>) -> Answer {
    let response: Response<Body> = app.clone().oneshot(request).await.into_response();
    let (head, body) = response.into_parts();
    let body = body.collect().await.unwrap();
    let trailers = body.trailers().cloned();
    Answer { status: head.status, headers: head.headers, body: body.to_bytes(), trailers }
}
