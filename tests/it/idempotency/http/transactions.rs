//! The handler completes its claim in a transaction of its own.

use axum::{Extension, body::Body, response::IntoResponse};
use bytes::Bytes;
use http::{Response, StatusCode};
use moneta_resilience::{
    Name, Registry,
    idempotency::{
        Claim, Store, StoreError, Verdict,
        http::{IdempotencyLayer, KeptAnswer},
    },
};
use tokio::time::{advance, sleep};

use super::{
    Answer, LEASE, Runs, app,
    faulty::{Faulty, Transaction},
    pay, send,
};

#[derive(Clone, Copy, PartialEq)]
enum Commit {
    GoesThrough,
    /// It goes through, and the handler is told that it did not.
    LooksLost,
    IsRolledBack,
}

/// A handler that writes a payment and its record in one transaction.
fn paying(store: &Faulty, runs: &Runs, commit: Commit) -> axum::Router {
    let (store, runs) = (store.clone(), runs.clone());
    app(IdempotencyLayer::new(store.clone()), move |Extension(claim): Extension<Claim>| {
        let (store, run) = (store.clone(), runs.run());
        async move {
            let body = Bytes::from(format!("payment {run}"));
            let answer = Response::builder().status(201).header("set-cookie", "a=b").body(body).unwrap();
            let mut tx = Transaction::default();
            claim.complete_in(&store, &mut tx, KeptAnswer::of(&answer)).await.unwrap();
            if commit != Commit::IsRolledBack {
                tx.commit(&store).await;
            }
            match commit {
                Commit::GoesThrough => answer.map(Body::from).into_response(),
                _ => (StatusCode::INTERNAL_SERVER_ERROR, "the commit failed").into_response(),
            }
        }
    })
}

#[tokio::test(start_paused = true)]
async fn what_the_transaction_committed_is_what_everybody_gets() {
    let (store, runs) = (Faulty::new(), Runs::default());
    let app = paying(&store, &runs, Commit::GoesThrough);
    let first = send(&app, pay("k1")).await;
    first.is(201, "payment 1");
    assert_eq!(first.headers["set-cookie"], "a=b");
    send(&app, pay("k1")).await.replays(201, "payment 1");
    assert_eq!(runs.count(), 1);
}

#[tokio::test(start_paused = true)]
async fn a_commit_that_only_looked_lost_counts() {
    let (store, runs) = (Faulty::new(), Runs::default());
    let app = paying(&store, &runs, Commit::LooksLost);
    // The caller is not told of a failure that there was not.
    send(&app, pay("k1")).await.replays(201, "payment 1");
    send(&app, pay("k1")).await.replays(201, "payment 1");
    assert_eq!(runs.count(), 1);
}

#[tokio::test(start_paused = true)]
async fn what_was_rolled_back_is_not_kept() {
    let (store, runs) = (Faulty::new(), Runs::default());
    let app = paying(&store, &runs, Commit::IsRolledBack);
    send(&app, pay("k1")).await.is(500, "the commit failed");
    send(&app, pay("k1")).await.replays(500, "the commit failed");
    assert_eq!(runs.count(), 1);
}

#[tokio::test(start_paused = true)]
async fn a_claim_that_is_lost_cannot_be_completed_in_a_transaction() {
    let store = Faulty::new();
    let ledger = Runs::default();
    let (records, booked) = (store.clone(), ledger.clone());
    let app = app(IdempotencyLayer::new(store.clone()), move |Extension(claim): Extension<Claim>| {
        let (store, ledger) = (records.clone(), booked.clone());
        async move {
            // An operator has decided meanwhile, because the process stood still for longer than its lease.
            advance(LEASE).await;
            store.reconcile(claim.id(), claim.fence(), Verdict::Absent).await.unwrap();
            let mut tx = Transaction::default();
            let answer = KeptAnswer::of(&Response::new("paid".into()));
            match claim.complete_in(&store, &mut tx, answer).await {
                Ok(()) => {
                    ledger.run();
                    "paid"
                }
                Err(StoreError::Fenced) => "rolled back",
                Err(error) => panic!("{error}"),
            }
        }
    });
    // The key was given free by that verdict, and stays so: what a lost claim answered is nobody's answer.
    for _ in 0..2 {
        send(&app, pay("k1")).await.is(200, "rolled back");
    }
    assert_eq!(ledger.count(), 0);
}

#[derive(Clone, Copy)]
enum Then {
    CommitsAndGoesOn,
    GoesOnAndCommits,
    /// It rolls back, stands still for a lease, and an operator gives the key free.
    RollsBackAndLoses,
}

/// What a handler says of its claim that wrote its record into a transaction, and how many leases were lost.
async fn after_the_record(then: Then) -> (Answer, u64) {
    let (registry, name) = (Registry::new(), Name::new("payments").unwrap());
    let store = Faulty::new();
    let layer = IdempotencyLayer::new(store.clone()).observer(registry.observer(&name));
    let layer = layer.run_limit(LEASE * 4).retention(LEASE);
    let app = app(layer, move |Extension(claim): Extension<Claim>| {
        let store = store.clone();
        async move {
            let mut tx = Transaction::default();
            let answer = KeptAnswer::of(&Response::new("kept".into()));
            claim.complete_in(&store, &mut tx, answer).await.unwrap();
            match then {
                Then::CommitsAndGoesOn => {
                    tx.commit(&store).await;
                    sleep(LEASE / 2).await;
                }
                Then::GoesOnAndCommits => {
                    sleep(LEASE * 3).await;
                    tx.commit(&store).await;
                }
                Then::RollsBackAndLoses => {
                    drop(tx);
                    advance(LEASE).await;
                    store.reconcile(claim.id(), claim.fence(), Verdict::Absent).await.unwrap();
                    claim.lost().await;
                }
            }
            // Without a content type, as it was kept: an answer that differs would be replaced.
            Response::new(Body::from(if claim.is_lost() { "lost" } else { "kept" }))
        }
    });
    let answer = send(&app, pay("k1")).await;
    (answer, registry.cells_by_name()[0].1.leases_lost())
}

#[tokio::test(start_paused = true)]
async fn a_claim_that_a_transaction_completed_is_not_lost() {
    for then in [Then::CommitsAndGoesOn, Then::GoesOnAndCommits] {
        let (answer, leases_lost) = after_the_record(then).await;
        answer.is(200, "kept");
        assert_eq!(leases_lost, 0);
    }
}

#[tokio::test(start_paused = true)]
async fn a_claim_whose_transaction_was_rolled_back_can_be_lost() {
    let (answer, leases_lost) = after_the_record(Then::RollsBackAndLoses).await;
    answer.is(200, "lost");
    assert_eq!(leases_lost, 1);
}
