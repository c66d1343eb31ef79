//! The service.

use std::{io, time::Duration};

use axum::{
    Extension, Router,
    body::Body,
    extract::State,
    routing::{get, post},
};
use bytes::Bytes;
use http::{Response, StatusCode, header::CONTENT_TYPE};
use moneta_resilience::{
    golden::{self, Handle},
    idempotency::{
        Claim, LeaseOver, Store,
        http::{IdempotencyLayer, OnServerError},
    },
};
use tokio::{
    net::TcpListener,
    task::JoinSet,
    time::{interval, sleep},
};

use crate::{books::Books, payment::Payment};

/// Where callers find out how to make a key.
const DOCUMENTATION: &str = "https://developers.example.com/payments#idempotency";

/// The routes, and a grip on what stands in front of them.
pub(crate) fn app<B: Books>(books: B) -> (Router, Handle) {
    // All that a handler does is undone when it fails, or does no harm twice: so it may run again. Where that is not so, leave these
    // two lines out: what died or failed on the way is in doubt then, or answered as it was.
    let keys = IdempotencyLayer::new(books.store().clone())
        .lease_over(LeaseOver::Reexecute)
        .on_server_error(OnServerError::Reexecute)
        .required(DOCUMENTATION);
    let golden = golden::server("payments")
        .timeout(Duration::from_secs(2)) // answers the caller; what runs under a key runs on
        .bulkhead(256)
        .idempotency_layer(keys)
        .layer();
    let handle = golden.handle().clone();
    let app = Router::new()
        .route("/payments", post(pay::<B>))
        .layer(golden)
        .route("/health", get(|| async { "ok" })) // after the layer, so that it is never refused
        .with_state(books);
    (app, handle)
}

/// Serves until it is told to stop, and then until the last payment is through.
pub(crate) async fn serve<B: Books>(
    listener: TcpListener,
    app: Router,
    handle: Handle,
    books: B,
    stop: impl Future<Output = ()> + Send + 'static,
) -> io::Result<()> {
    let mut beside = JoinSet::new();
    beside.spawn(handle.watch_doubts(Duration::from_secs(30)));
    beside.spawn(purge(books.store().clone()));
    axum::serve(listener, app).with_graceful_shutdown(stop).await?;
    handle.drain().await; // also those whose callers are gone
    Ok(())
}

/// Makes one payment. It has a claim because the layer in front of it requires a key.
async fn pay<B: Books>(
    State(books): State<B>,
    Extension(claim): Extension<Claim>,
    body: Bytes,
) -> Response<Body> {
    let answer = match Payment::from_json(&body) {
        None => answer(StatusCode::BAD_REQUEST, Bytes::from_static(br#"{"error": "this is no payment"}"#)),
        Some(payment) => {
            let paid = answer(StatusCode::CREATED, payment.to_json());
            match books.book(&claim, &payment, &paid).await {
                Ok(()) => paid,
                Err(error) => {
                    tracing::error!(%error, "a payment was not made");
                    answer(StatusCode::SERVICE_UNAVAILABLE, Bytes::from_static(br#"{"error": "try again"}"#))
                }
            }
        }
    };
    answer.map(Body::from)
}

fn answer(status: StatusCode, json: Bytes) -> Response<Bytes> {
    let answer = Response::builder().status(status).header(CONTENT_TYPE, "application/json");
    answer.body(json).expect("the header is valid")
}

/// Makes room where keys are over, in batches that hold nobody up.
async fn purge(store: impl Store) {
    const BATCH: usize = 1000;
    let mut hourly = interval(Duration::from_secs(3600));
    loop {
        hourly.tick().await;
        while matches!(store.purge(BATCH).await, Ok(BATCH)) {
            sleep(Duration::from_millis(100)).await;
        }
    }
}
