//! What is told of the store: how long it takes, and how old its oldest doubt is.

use std::{sync::Arc, time::Duration};

use axum::Extension;
use moneta_resilience::{
    Name, Registry,
    event::{Event, StoreOperation, StoreResult},
    idempotency::{
        Ask, Claim, Fingerprint, Identity, LeaseOver, Owner, Store, Verdict, http::IdempotencyLayer,
    },
    observer::Observer,
    record::Tape,
};
use tokio::time::advance;

use super::{
    LEASE, Runs, app, counting,
    faulty::{Faulty, Mode, Transaction},
    pay, send, settle,
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

/// A key in doubt, and the fence of its claim.
async fn doubt(store: &Faulty) -> (Identity, i64) {
    let id = Identity::of(b"tenant", b"POST /payments", b"k1");
    let fingerprint = Fingerprint::of([&b"100 CHF"[..]]);
    let ask = Ask { owner: Owner::random(), fingerprint, lease: LEASE, lease_over: LeaseOver::InDoubt };
    store.claim(id, ask).await.unwrap();
    store.doubt(id, ask.owner).await.unwrap();
    (id, store.in_doubt(1).await.unwrap()[0].fence)
}

#[tokio::test(start_paused = true)]
async fn the_oldest_doubt_is_known_while_somebody_watches_and_its_age_goes_on_between_two_looks() {
    let every = Duration::from_secs(30);
    let (observer, tape) = taped();
    let store = Faulty::new();
    let handle = IdempotencyLayer::new(store.clone()).observer(observer).handle();
    assert_eq!(handle.oldest_in_doubt(), None, "nobody has looked");
    tokio::spawn(handle.watch_doubts(every));
    settle().await;
    assert_eq!(handle.oldest_in_doubt(), Some(Duration::ZERO), "there is none");

    let (id, fence) = doubt(&store).await;
    advance(every).await;
    settle().await;
    assert_eq!(handle.oldest_in_doubt(), Some(every));
    advance(every / 3).await;
    assert_eq!(handle.oldest_in_doubt(), Some(every + every / 3));

    // That the store is away ends no doubt.
    store.set(Mode::Down);
    advance(every).await;
    settle().await;
    assert_eq!(handle.oldest_in_doubt(), Some(every * 2 + every / 3));
    store.set(Mode::Up);
    store.reconcile(id, fence, Verdict::Absent).await.unwrap();
    advance(every).await;
    settle().await;
    assert_eq!(handle.oldest_in_doubt(), Some(Duration::ZERO));

    let results: Vec<_> =
        asked(&tape).into_iter().map(|(operation, result, _)| (operation, result)).collect();
    let [ok, away] = [StoreResult::Ok, StoreResult::Unavailable];
    assert_eq!(results, [ok, ok, away, ok].map(|result| (StoreOperation::OldestInDoubt, result)));
}

#[test]
#[should_panic(expected = "all the time")]
fn a_store_is_not_watched_without_a_pause() {
    drop(IdempotencyLayer::new(Faulty::new()).handle().watch_doubts(Duration::ZERO));
}
