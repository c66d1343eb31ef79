//! What is told of the store: how long it takes, and how old its oldest doubt is.

use std::{sync::Arc, time::Duration};

use axum::Extension;
use moneta_resilience::{
    Name, Registry,
    event::{Event, StoreOperation, StoreResult},
    idempotency::{Claim, Store, Verdict, http::IdempotencyLayer},
    observer::Observer,
    record::Tape,
};
use tokio::time::advance;

use super::{
    LEASE, Runs, app, counting,
    faulty::{Faulty, Mode, Transaction},
    pay, send,
};

fn taped() -> (Observer, Arc<Tape>) {
    let tape = Arc::new(Tape::new());
    let payments = Name::new("payments").unwrap();
    (Registry::new().observer(&payments).sink(tape.clone()), tape)
}

/// What the store was asked, what it did, and how long that took.
fn asked(tape: &Tape) -> Vec<(StoreOperation, StoreResult, Duration)> {
    let asked = tape.events().into_iter().filter_map(|event| match event {
        Event::StoreAsked { operation, result, elapsed } => Some((operation, result, elapsed)),
        _ => None,
    });
    asked.collect()
}

#[tokio::test(start_paused = true)]
async fn each_question_to_the_store_is_told_with_its_answer() {
    use StoreOperation::{Checkpoint, Claim as Claims, Complete, CompleteIn as Completes};

    let (observer, tape) = taped();
    let store = Faulty::new();
    let ledger = store.clone();
    let app =
        app(IdempotencyLayer::new(store).observer(observer), move |Extension(claim): Extension<Claim>| {
            let store = ledger.clone();
            async move {
                claim.checkpoint(1).await.unwrap();
                let mut tx = Transaction::default();
                claim.complete_in(&store, &mut tx, bytes::Bytes::new()).await.unwrap();
            }
        });
    send(&app, pay("k1")).await;
    // The transaction was not committed, so the layer looks, and completes the claim itself.
    let expected = [Claims, Checkpoint, Completes, Claims, Complete];
    assert_eq!(asked(&tape), expected.map(|operation| (operation, StoreResult::Ok, Duration::ZERO)));
}

#[tokio::test(start_paused = true)]
async fn a_store_that_hangs_is_told_with_the_time_it_was_given() {
    let (observer, tape) = taped();
    let store = Faulty::new();
    store.set(Mode::Hangs);
    let limit = Duration::from_millis(300);
    let layer = IdempotencyLayer::new(store).store_timeout(limit).observer(observer);
    let handle = layer.handle();
    send(&app(layer, counting(&Runs::default())), pay("k1")).await.is_problem(503, "idempotency-unavailable");
    handle.drain().await;
    let operations = [StoreOperation::Claim, StoreOperation::Release];
    assert_eq!(asked(&tape), operations.map(|operation| (operation, StoreResult::Unavailable, limit)));
}

#[tokio::test(start_paused = true)]
async fn a_write_of_a_claim_that_is_lost_is_told_as_fenced() {
    let (observer, tape) = taped();
    let store = Faulty::new();
    let ledger = store.clone();
    let app =
        app(IdempotencyLayer::new(store).observer(observer), move |Extension(claim): Extension<Claim>| {
            let store = ledger.clone();
            async move {
                // The process stands still, and an operator decides meanwhile.
                advance(LEASE).await;
                store.reconcile(claim.id(), claim.fence(), Verdict::Absent).await.unwrap();
                let mut tx = Transaction::default();
                claim.complete_in(&store, &mut tx, bytes::Bytes::new()).await.unwrap_err();
            }
        });
    send(&app, pay("k1")).await;
    let fenced: Vec<_> = asked(&tape).into_iter().filter(|asked| asked.1 != StoreResult::Ok).collect();
    assert_eq!(fenced, [(StoreOperation::CompleteIn, StoreResult::Fenced, Duration::ZERO)]);
}
