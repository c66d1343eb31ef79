//! What is special about the store in memory: its bounds.

use tokio::time::advance;

use super::{RETENTION, answer, ask, key, owner};
use crate::idempotency::{Found, MemoryStore, Outcome, Store, StoreError};

async fn complete(store: &MemoryStore, number: u32, outcome: Outcome) {
    let Ok(Found::Granted { .. }) = store.claim(key(number), ask(1, 0)).await else {
        panic!("the key is free and there is room")
    };
    store.complete(key(number), owner(1), outcome, RETENTION).await.expect("it is the owner");
}

async fn outcome(store: &MemoryStore, number: u32) -> Outcome {
    match store.claim(key(number), ask(2, 0)).await {
        Ok(Found::Done(outcome)) => outcome,
        other => panic!("not done: {other:?}"),
    }
}

#[tokio::test(start_paused = true)]
async fn a_flood_of_keys_is_refused_and_evicts_nothing_that_lives() {
    let store = MemoryStore::new().max_keys(3);
    complete(&store, 1, answer("paid")).await;
    assert!(matches!(store.claim(key(2), ask(1, 0)).await, Ok(Found::Granted { .. })));
    assert!(matches!(store.claim(key(3), ask(1, 0)).await, Ok(Found::Granted { .. })));
    store.doubt(key(3), owner(1)).await.expect("it is the owner");

    for flood in 100..10_100 {
        assert!(matches!(store.claim(key(flood), ask(1, 0)).await, Err(StoreError::Full)));
    }

    assert_eq!(outcome(&store, 1).await, answer("paid"));
    assert!(matches!(store.claim(key(2), ask(2, 0)).await, Ok(Found::InProgress { .. })));
    assert!(matches!(store.claim(key(3), ask(2, 0)).await, Ok(Found::InDoubt)));
    // What is known goes on to its end.
    store.complete(key(2), owner(1), answer("paid, too"), RETENTION).await.expect("it is the owner");
    assert_eq!(outcome(&store, 2).await, answer("paid, too"));
}

#[tokio::test(start_paused = true)]
async fn outcomes_that_are_over_make_room_wherever_they_are() {
    let store = MemoryStore::new().max_keys(100);
    for round in 0..5 {
        for number in 0..100 {
            complete(&store, 100 * round + number, answer("paid")).await;
        }
        assert!(matches!(store.claim(key(9_999), ask(1, 0)).await, Err(StoreError::Full)));
        advance(RETENTION).await;
    }
    assert_eq!(store.purge(60).await.ok(), Some(60));
    assert_eq!(store.purge(60).await.ok(), Some(40));
    assert_eq!(store.purge(60).await.ok(), Some(0));
}

#[tokio::test(start_paused = true)]
async fn a_released_key_gives_its_room_back() {
    let store = MemoryStore::new().max_keys(1);
    for number in 0..10 {
        assert!(matches!(store.claim(key(number), ask(1, 0)).await, Ok(Found::Granted { .. })));
        store.release(key(number), owner(1)).await.expect("it is the owner");
    }
}

#[tokio::test(start_paused = true)]
async fn an_answer_without_room_is_remembered_as_given() {
    let store = MemoryStore::new().max_bytes(10);
    complete(&store, 1, answer("sixsix")).await;
    complete(&store, 2, answer("fiver")).await;
    assert_eq!(outcome(&store, 1).await, answer("sixsix"));
    assert_eq!(outcome(&store, 2).await, Outcome::Tombstone);
    complete(&store, 3, answer("four")).await;
    assert_eq!(outcome(&store, 3).await, answer("four"));
    // Room that was taken is free again when the outcome is over, and not before.
    advance(RETENTION).await;
    store.purge(usize::MAX).await.expect("it is there");
    complete(&store, 4, answer("tententent")).await;
    assert_eq!(outcome(&store, 4).await, answer("tententent"));
}

#[tokio::test(start_paused = true)]
async fn clones_share_the_records() {
    let store = MemoryStore::new();
    complete(&store.clone(), 1, answer("paid")).await;
    assert_eq!(outcome(&store, 1).await, answer("paid"));
}
