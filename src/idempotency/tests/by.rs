//! What was refused on the way to the service, which a policy of this stack must do inside of the claim.

use std::{convert::Infallible, future::pending};

use bytes::Bytes;
use tower::{Service, ServiceExt, service_fn};

use super::key;
use crate::{
    bulkhead::BulkheadLayer,
    classify::ByError,
    error::{BoxError, KeyRefusal, Reason, Rejected},
    idempotency::{Ended, Fingerprint, IdempotencyLayer, Identify, Keyed, MemoryStore, Replay},
    observer::Observer,
    policy::{Leaf, Stack},
};

/// Keeps whatever comes of it, also each error.
struct KeepsAll;

impl Identify<u32> for KeepsAll {
    fn identify(&self, number: &u32) -> Result<Option<Keyed>, KeyRefusal> {
        Ok(Some(Keyed { id: key(*number), fingerprint: Fingerprint::of([]) }))
    }
}

impl Replay for KeepsAll {
    type Response = &'static str;

    fn capture(&self, _: Result<&&'static str, &BoxError>) -> Ended {
        Ended::Done(Bytes::new().into())
    }

    fn replay(&self, _: Bytes) -> Option<Result<&'static str, BoxError>> {
        Some(Ok("replayed"))
    }
}

#[tokio::test(start_paused = true)]
async fn what_never_reached_the_service_is_no_outcome_whatever_its_errors_mean() {
    let layer = IdempotencyLayer::by(MemoryStore::new(), KeepsAll);
    let handle = layer.handle();
    let bulkhead = BulkheadLayer::new(1).max_queue(0);
    let inner = bulkhead.over(Observer::unnamed("bulkhead"), Leaf::new(ByError));
    let policy = layer.over(Observer::unnamed("idempotency"), inner);
    let service = service_fn(|number: u32| async move {
        if number == 1 {
            pending::<()>().await;
        }
        Ok::<_, Infallible>("done")
    });
    let mut stack = Stack::new(policy.into(), service);

    let holds = tokio::spawn(stack.ready().await.expect("it is ready").call(1));
    tokio::task::yield_now().await;
    for _ in 0..2 {
        let error = stack.ready().await.expect("it is ready").call(2).await.expect_err("there is one place");
        assert_eq!(Rejected::find(&*error).map(Rejected::reason), Some(Reason::BulkheadFull));
    }
    // The run limit ends the one that hangs.
    handle.drain().await;
    assert!(holds.await.expect("it did not panic").is_err());
    for answer in ["done", "replayed"] {
        assert_eq!(stack.ready().await.expect("it is ready").call(2).await.expect("a place"), answer);
    }
}
