//! What is released, because it provably did not run: that needs a policy of this stack inside of the claim.

use std::{convert::Infallible, sync::Arc};

use bytes::Bytes;
use http::{Request, Response, StatusCode};
use http_body_util::Full;
use tokio::sync::Notify;
use tower::{Service, ServiceExt, service_fn};

use super::{IdempotencyLayer, KeyedBody};
use crate::{
    bulkhead::BulkheadLayer,
    classify::ByStatus,
    error::{Reason, Rejected},
    idempotency::MemoryStore,
    observer::Observer,
    policy::{Leaf, Stack},
};

fn pay(key: &str) -> Request<Full<Bytes>> {
    let request = Request::post("/payments").header("idempotency-key", key);
    request.body(Full::from("100 CHF")).expect("it is valid")
}

#[tokio::test(start_paused = true)]
async fn a_call_that_our_own_bulkhead_refused_frees_its_key() {
    let layer = IdempotencyLayer::new(MemoryStore::new());
    let handle = layer.handle();
    let bulkhead = BulkheadLayer::new(1).max_queue(0);
    let inner = bulkhead.over(Observer::unnamed("bulkhead"), Leaf::new(ByStatus));
    let policy = layer.over(Observer::unnamed("idempotency"), inner);

    let go = Arc::new(Notify::new());
    let gate = Arc::clone(&go);
    let handler = service_fn(move |_: Request<KeyedBody<Full<Bytes>>>| {
        let gate = Arc::clone(&gate);
        async move {
            gate.notified().await;
            Ok::<_, Infallible>(Response::new(Full::<Bytes>::from("paid")))
        }
    });
    let mut stack = Stack::new(Arc::new(policy), handler);

    // One call holds the place, and goes on holding it when its caller is gone.
    let first = tokio::spawn(stack.ready().await.expect("it is ready").call(pay("k1")));
    tokio::task::yield_now().await;
    first.abort();
    assert!(first.await.is_err());
    assert_eq!(handle.running(), 1);
    for _ in 0..2 {
        let refused = stack.ready().await.expect("it is ready").call(pay("k2")).await;
        let error = refused.expect_err("there is one place");
        assert_eq!(Rejected::find(&*error).map(Rejected::reason), Some(Reason::BulkheadFull));
    }

    go.notify_one();
    handle.drain().await;
    go.notify_one();
    let answer = stack.ready().await.expect("it is ready").call(pay("k2")).await.expect("there is a place");
    assert_eq!(answer.status(), StatusCode::OK);
    assert!(!answer.headers().contains_key("idempotent-replayed"));
    let again = stack.ready().await.expect("it is ready").call(pay("k1")).await.expect("it was done");
    assert_eq!(again.headers()["idempotent-replayed"], "true");
}
