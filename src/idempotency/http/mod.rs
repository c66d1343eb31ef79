//! Idempotency keys over HTTP: `Idempotency-Key` (draft-ietf-httpapi-idempotency-key-header-07).
//!
//! [`IdempotencyLayer`] goes in front of a handler. A request that carries a key is run once; whoever asks again with that key
//! gets the answer of the first time, the same to the byte, with `Idempotent-Replayed: true`.
//!
//! | a request with a key | answer |
//! |---|---|
//! | is the first | the handler's |
//! | comes again | the same, with `Idempotent-Replayed: true` |
//! | comes again while the first is at it | 409 `idempotency-in-progress`, with `Retry-After` |
//! | comes again with another body, target or content type | 422 `idempotency-key-reused` |
//! | comes again, and nobody knows what came of the first | 409 `outcome-unknown` |
//! | comes again, and the answer was too long to be kept | 409 `not-replayable` |
//! | whose key cannot be read, or stands there twice | 400 `idempotency-key-invalid` |
//! | whose body is too long to be compared | 413 `idempotency-body-too-large` |
//! | comes while the store is down | 503 `idempotency-unavailable`; the handler does not run |
//! | should have had a key and has none | 400 `idempotency-key-missing` |
//!
//! Refusals are `application/problem+json` (RFC 9457) of the type `urn:moneta-resilience:{word}`.
//!
//! # Whose key it is
//!
//! A key belongs to its caller. By default that is whoever sends the same `Authorization`; where tokens change between two
//! tries, say who it is with [`scope`](IdempotencyLayer::scope). It belongs to an operation, too: the method and the path as
//! the caller wrote it (behind nested routers of axum, with feature `axum`), or what
//! [`operation`](IdempotencyLayer::operation) makes of them.
//!
//! # gRPC
//!
//! With `ServerBuilder::grpc_layer` (feature `grpc`) the same layer is one of unary calls: the key stands in the
//! metadata, refusals are statuses, and the operation is the full method. `docs/idempotency.md` has the table.
//!
//! # The handler
//!
//! It runs in a task of its own, with the deadline, the priority and the trace of its call, and **runs on** when its caller goes
//! away. The [run limit](IdempotencyLayer::run_limit) drops it. It finds a [`Claim`] in the extensions of its request.
//!
//! * An answer that it completed is kept, whatever its status.
//! * A panic, an error, or the end of the run limit leave the key in doubt, unless the service was never reached.
//!
//! # Defaults
//!
//! | setting | default |
//! |---|---|
//! | [`need`](IdempotencyLayer::need) | POST and PATCH may have a key, others' is ignored |
//! | [`lease`](IdempotencyLayer::lease), renewed three times in its length | 60 s |
//! | [`lease_over`](IdempotencyLayer::lease_over) | in doubt |
//! | [`run_limit`](IdempotencyLayer::run_limit) | 30 s |
//! | [`retention`](IdempotencyLayer::retention) | 24 h |
//! | [`max_wait`](IdempotencyLayer::max_wait) for a call that is still at it | 0 |
//! | [`store_timeout`](IdempotencyLayer::store_timeout) | 1 s |
//! | [`max_request`](IdempotencyLayer::max_request) | 1 MiB |
//! | [`max_answer`](IdempotencyLayer::max_answer) | 256 KiB |
//! | [`on_server_error`](IdempotencyLayer::on_server_error) | keep the answer |
//!
//! # Telemetry
//!
//! `resilience.idempotency.outcomes`, `resilience.idempotency.leases_lost`, and how long the store takes:
//! `resilience.idempotency.store.duration`.
//!
//! # Cancellation
//!
//! A call that is dropped while the body of its request is read leaves nothing behind. After that the handler runs on.
//!
//! # Example
//!
//! ```
//! # #[tokio::main(flavor = "current_thread")] async fn main() {
//! use axum::{Router, body::Body, routing::post};
//! use http::Request;
//! use moneta_resilience::{
//!     idempotency::{MemoryStore, http::IdempotencyLayer},
//!     respond::RespondLayer,
//! };
//! use tower::{ServiceBuilder, ServiceExt};
//!
//! let app = Router::new().route("/payments", post(|| async { "paid" })).layer(
//!     ServiceBuilder::new().layer(RespondLayer::new()).layer(IdempotencyLayer::new(MemoryStore::new())),
//! );
//! let pay = || Request::post("/payments").header("idempotency-key", "\"k1\"").body(Body::from("100 CHF")).unwrap();
//!
//! let first = app.clone().oneshot(pay()).await.unwrap();
//! assert!(!first.headers().contains_key("idempotent-replayed"));
//! let again = app.oneshot(pay()).await.unwrap();
//! assert_eq!(again.headers()["idempotent-replayed"], "true");
//! # }
//! ```

mod answer;
mod body;
mod dialect;
mod face;
#[cfg(feature = "grpc")]
mod grpc;
mod key;
mod layer;
#[cfg(test)]
mod tests;

pub use answer::{AnswerTooOld, KeptAnswer};
pub use body::{KeyedBody, ReadBody};
pub use face::{Http, Need, OnServerError};

#[cfg(doc)]
use super::Claim;
pub use super::IdempotencyLayer;
