//! The contract of stores: every law, for any store.
//!
//! A store comes with a [`Bench`], which knows how to make one without records and how to let time pass, and one line of
//! `store_contract!`. A bench whose clock is a server's waits for real and has short leases.

use std::{sync::Arc, time::Duration};

use futures::future::join_all;
use moneta_resilience::idempotency::{
    Ask, Fingerprint, Found, Identity, InDoubt, LeaseOver, Outcome, Owner, Store, StoreError, Verdict,
};

pub(crate) trait Bench {
    type Store: Store;

    /// Long enough that a few questions are asked and answered before it is over.
    const LEASE: Duration;
    /// Longer than a lease.
    const RETENTION: Duration;

    /// A store that knows of no key.
    async fn store(&self) -> Self::Store;

    /// Lets time pass on the store's clock.
    async fn pass(&self, time: Duration);
}

/// A test for each law. What stands before the bench is the attribute that makes a function a test.
macro_rules! store_contract {
    ($test:meta, $bench:expr) => {
        store_contract!($test, $bench, [
            a_key_is_granted_once
            of_many_that_claim_at_once_one_gets_it
            the_same_owner_gets_the_same_fence_again
            another_fingerprint_is_told_before_anything_else
            who_comes_while_the_lease_lives_is_told_how_long_it_lasts
            a_lease_that_is_over_is_not_a_free_key
            reexecute_takes_over_from_the_beginning
            resume_takes_over_at_the_last_checkpoint
            of_many_that_take_over_at_once_one_gets_it
            a_lease_of_nothing_hands_a_claim_on
            renewing_keeps_a_claim_alive
            a_lease_that_is_over_is_renewed_when_nobody_came
            an_outcome_is_given_to_all_that_come_later
            every_outcome_comes_back_as_it_was
            completing_twice_is_fine_and_changes_nothing
            retention_that_is_over_frees_the_key
            a_released_key_is_free
            a_doubt_is_ended_by_a_verdict_alone
            a_verdict_needs_a_doubt_and_its_fence
            a_claim_whose_lease_is_over_can_be_reconciled
            a_stale_owner_writes_nothing
            fences_grow_over_all_keys_and_through_purges
            the_oldest_doubt_comes_first
            purge_forgets_what_is_over_and_nothing_else
            keys_do_not_meet
        ]);
    };
    ($test:meta, $bench:expr, [$($law:ident)*]) => {
        $(
            #[$test]
            async fn $law() {
                super::stores::$law(&$bench).await;
            }
        )*
    };
}
pub(crate) use store_contract;

fn key(name: &str) -> Identity {
    Identity::of(b"tenant", b"POST /payments", name.as_bytes())
}

fn answer(text: &'static str) -> Outcome {
    Outcome::Answer(text.into())
}

/// A fresh owner asks for the request `what`.
fn ask<B: Bench>(what: &str) -> Ask {
    let fingerprint = Fingerprint::of([what.as_bytes()]);
    Ask { owner: Owner::random(), fingerprint, lease: B::LEASE, lease_over: LeaseOver::InDoubt }
}

#[track_caller]
fn fence(found: &Found) -> i64 {
    match found {
        Found::Granted { fence, phase: 0 } => *fence,
        other => panic!("not granted from the beginning: {other:?}"),
    }
}

#[track_caller]
#[expect(clippy::needless_pass_by_value, reason = "it stands round the call that gives it")]
fn fenced(result: Result<(), StoreError>) {
    assert!(matches!(result, Err(StoreError::Fenced)), "{result:?}");
}

/// What a claim with this key, and the request `pay`, finds.
async fn found<B: Bench>(store: &B::Store, id: Identity) -> Found {
    store.claim(id, ask::<B>("pay")).await.unwrap()
}

/// A claim that was granted: its owner and fence.
async fn granted<B: Bench>(store: &B::Store, id: Identity) -> (Owner, i64) {
    let ask = ask::<B>("pay");
    (ask.owner, fence(&store.claim(id, ask).await.unwrap()))
}

async fn completed<B: Bench>(store: &B::Store, id: Identity, outcome: Outcome) -> Owner {
    let (owner, _) = granted::<B>(store, id).await;
    store.complete(id, owner, outcome, B::RETENTION).await.unwrap();
    owner
}

async fn doubted<B: Bench>(store: &B::Store, id: Identity) -> (Owner, i64) {
    let (owner, fence) = granted::<B>(store, id).await;
    store.doubt(id, owner).await.unwrap();
    (owner, fence)
}

/// Everything that a holder can write is refused to this owner, and the key is left as it was.
async fn owner_is_fenced<B: Bench>(store: &B::Store, id: Identity, owner: Owner) {
    let before = found::<B>(store, id).await;
    fenced(store.renew(id, owner, B::LEASE).await);
    fenced(store.checkpoint(id, owner, 9).await);
    fenced(store.complete(id, owner, answer("stale"), B::RETENTION).await);
    fenced(store.release(id, owner).await);
    fenced(store.doubt(id, owner).await);
    let after = found::<B>(store, id).await;
    match (&before, &after) {
        (Found::InProgress { lease_left: before }, Found::InProgress { lease_left: after }) => {
            assert!(after <= before);
        }
        _ => assert_eq!(before, after),
    }
}

pub(crate) async fn a_key_is_granted_once<B: Bench>(bench: &B) {
    let (store, id) = (bench.store().await, key("k"));
    granted::<B>(&store, id).await;
    assert!(matches!(found::<B>(&store, id).await, Found::InProgress { .. }));
    assert!(matches!(found::<B>(&store, id).await, Found::InProgress { .. }));
}

pub(crate) async fn of_many_that_claim_at_once_one_gets_it<B: Bench>(bench: &B) {
    let store = Arc::new(bench.store().await);
    for round in 0..5 {
        let id = key(&format!("k{round}"));
        let claims = join_all((0..8).map(|_| found::<B>(&store, id))).await;
        let granted = claims.iter().filter(|found| matches!(found, Found::Granted { .. })).count();
        assert_eq!(granted, 1, "{claims:?}");
    }
}

pub(crate) async fn the_same_owner_gets_the_same_fence_again<B: Bench>(bench: &B) {
    let (store, id, ask) = (bench.store().await, key("k"), ask::<B>("pay"));
    let first = store.claim(id, ask).await.unwrap();
    fence(&first);
    bench.pass(B::LEASE * 3 / 4).await;
    assert_eq!(store.claim(id, ask).await.unwrap(), first);
    // Its lease has begun anew.
    bench.pass(B::LEASE / 2).await;
    assert!(matches!(found::<B>(&store, id).await, Found::InProgress { .. }));
    assert_eq!(store.claim(id, ask).await.unwrap(), first);
}

pub(crate) async fn another_fingerprint_is_told_before_anything_else<B: Bench>(bench: &B) {
    let store = bench.store().await;
    let (working, done, doubt) = (key("working"), key("done"), key("doubt"));
    let (owner, _) = granted::<B>(&store, working).await;
    completed::<B>(&store, done, answer("paid")).await;
    doubted::<B>(&store, doubt).await;
    for id in [working, done, doubt] {
        assert_eq!(store.claim(id, ask::<B>("other")).await.unwrap(), Found::Mismatch);
        let same_owner = Ask { owner, ..ask::<B>("other") };
        assert_eq!(store.claim(id, same_owner).await.unwrap(), Found::Mismatch);
    }
    // Also when the lease is over, whatever the policy, and nothing is taken over by it.
    bench.pass(B::LEASE).await;
    for lease_over in [LeaseOver::InDoubt, LeaseOver::Reexecute, LeaseOver::Resume] {
        let ask = Ask { lease_over, ..ask::<B>("other") };
        assert_eq!(store.claim(working, ask).await.unwrap(), Found::Mismatch);
    }
    store.complete(working, owner, answer("paid"), B::RETENTION).await.unwrap();
}

pub(crate) async fn who_comes_while_the_lease_lives_is_told_how_long_it_lasts<B: Bench>(bench: &B) {
    let (store, id) = (bench.store().await, key("k"));
    granted::<B>(&store, id).await;
    for lease_over in [LeaseOver::InDoubt, LeaseOver::Reexecute, LeaseOver::Resume] {
        match store.claim(id, Ask { lease_over, ..ask::<B>("pay") }).await.unwrap() {
            Found::InProgress { lease_left } => assert!(!lease_left.is_zero() && lease_left <= B::LEASE),
            other => panic!("{other:?}"),
        }
    }
}

pub(crate) async fn a_lease_that_is_over_is_not_a_free_key<B: Bench>(bench: &B) {
    let (store, id) = (bench.store().await, key("k"));
    let (owner, _) = granted::<B>(&store, id).await;
    bench.pass(B::LEASE).await;
    assert_eq!(found::<B>(&store, id).await, Found::InDoubt);
    // It is not given away later, nor to one who would run it again, nor back to its owner.
    bench.pass(B::LEASE).await;
    for lease_over in [LeaseOver::InDoubt, LeaseOver::Reexecute, LeaseOver::Resume] {
        assert_eq!(store.claim(id, Ask { lease_over, ..ask::<B>("pay") }).await.unwrap(), Found::InDoubt);
    }
    fenced(store.renew(id, owner, B::LEASE).await);
    fenced(store.checkpoint(id, owner, 1).await);
    fenced(store.complete(id, owner, answer("late"), B::RETENTION).await);
    fenced(store.release(id, owner).await);
    assert_eq!(found::<B>(&store, id).await, Found::InDoubt);
}

pub(crate) async fn reexecute_takes_over_from_the_beginning<B: Bench>(bench: &B) {
    taken_over(bench, LeaseOver::Reexecute, 0).await;
}

pub(crate) async fn resume_takes_over_at_the_last_checkpoint<B: Bench>(bench: &B) {
    taken_over(bench, LeaseOver::Resume, 3).await;
}

async fn taken_over<B: Bench>(bench: &B, lease_over: LeaseOver, expected: u32) {
    let (store, id) = (bench.store().await, key("k"));
    let (old, first) = granted::<B>(&store, id).await;
    store.checkpoint(id, old, 2).await.unwrap();
    store.checkpoint(id, old, 3).await.unwrap();
    bench.pass(B::LEASE).await;
    let ask = Ask { lease_over, ..ask::<B>("pay") };
    let Found::Granted { fence, phase } = store.claim(id, ask).await.unwrap() else {
        panic!("it may be taken over")
    };
    assert!(fence > first && phase == expected, "{fence} {phase}");
    owner_is_fenced::<B>(&store, id, old).await;
    store.complete(id, ask.owner, answer("paid"), B::RETENTION).await.unwrap();
    owner_is_fenced::<B>(&store, id, old).await;
    assert_eq!(found::<B>(&store, id).await, Found::Done(answer("paid")));
}

pub(crate) async fn of_many_that_take_over_at_once_one_gets_it<B: Bench>(bench: &B) {
    let (store, id) = (bench.store().await, key("k"));
    granted::<B>(&store, id).await;
    bench.pass(B::LEASE).await;
    let ask = || Ask { lease_over: LeaseOver::Reexecute, ..ask::<B>("pay") };
    let claims = join_all((0..8).map(|_| store.claim(id, ask()))).await;
    let granted = claims.iter().filter(|found| matches!(found, Ok(Found::Granted { .. }))).count();
    assert_eq!(granted, 1, "{claims:?}");
}

pub(crate) async fn a_lease_of_nothing_hands_a_claim_on<B: Bench>(bench: &B) {
    let (store, id) = (bench.store().await, key("k"));
    let (owner, _) = granted::<B>(&store, id).await;
    store.checkpoint(id, owner, 3).await.unwrap();
    store.renew(id, owner, Duration::ZERO).await.unwrap();
    let next = Ask { lease_over: LeaseOver::Resume, ..ask::<B>("pay") };
    let found = store.claim(id, next).await.unwrap();
    assert!(matches!(found, Found::Granted { phase: 3, .. }), "{found:?}");
}

pub(crate) async fn renewing_keeps_a_claim_alive<B: Bench>(bench: &B) {
    let (store, id) = (bench.store().await, key("k"));
    let (owner, _) = granted::<B>(&store, id).await;
    for _ in 0..3 {
        bench.pass(B::LEASE * 3 / 4).await;
        store.renew(id, owner, B::LEASE).await.unwrap();
    }
    assert!(matches!(found::<B>(&store, id).await, Found::InProgress { .. }));
    store.complete(id, owner, answer("paid"), B::RETENTION).await.unwrap();
}

pub(crate) async fn a_lease_that_is_over_is_renewed_when_nobody_came<B: Bench>(bench: &B) {
    let (store, id) = (bench.store().await, key("k"));
    let (owner, _) = granted::<B>(&store, id).await;
    bench.pass(B::LEASE).await;
    store.renew(id, owner, B::LEASE).await.unwrap();
    assert!(matches!(found::<B>(&store, id).await, Found::InProgress { .. }));
}

pub(crate) async fn an_outcome_is_given_to_all_that_come_later<B: Bench>(bench: &B) {
    let (store, id) = (bench.store().await, key("k"));
    let owner = completed::<B>(&store, id, answer("paid")).await;
    // Longer than the lease: the two are different times.
    bench.pass(B::LEASE).await;
    for _ in 0..2 {
        assert_eq!(found::<B>(&store, id).await, Found::Done(answer("paid")));
    }
    // To the owner as well, when it asks what became of its claim.
    let again = Ask { owner, ..ask::<B>("pay") };
    assert_eq!(store.claim(id, again).await.unwrap(), Found::Done(answer("paid")));
}

pub(crate) async fn every_outcome_comes_back_as_it_was<B: Bench>(bench: &B) {
    let store = bench.store().await;
    let all_bytes: Vec<u8> = (0..=255).collect();
    let outcomes = [
        Outcome::Tombstone,
        answer(""),
        Outcome::Answer(all_bytes.into()),
        Outcome::Answer(vec![7; 100_000].into()),
    ];
    for (n, outcome) in outcomes.into_iter().enumerate() {
        let id = key(&n.to_string());
        completed::<B>(&store, id, outcome.clone()).await;
        assert_eq!(found::<B>(&store, id).await, Found::Done(outcome));
    }
}

pub(crate) async fn completing_twice_is_fine_and_changes_nothing<B: Bench>(bench: &B) {
    let (store, id) = (bench.store().await, key("k"));
    let owner = completed::<B>(&store, id, answer("paid")).await;
    store.complete(id, owner, answer("another"), B::RETENTION).await.unwrap();
    assert_eq!(found::<B>(&store, id).await, Found::Done(answer("paid")));
}

pub(crate) async fn retention_that_is_over_frees_the_key<B: Bench>(bench: &B) {
    let (store, id) = (bench.store().await, key("k"));
    let owner = completed::<B>(&store, id, answer("paid")).await;
    bench.pass(B::RETENTION).await;
    // Whether or not anybody has purged: for another request as well.
    let next = ask::<B>("other");
    fence(&store.claim(id, next).await.unwrap());
    fenced(store.complete(id, owner, answer("paid"), B::RETENTION).await);
    store.complete(id, next.owner, answer("other"), B::RETENTION).await.unwrap();
    assert_eq!(store.claim(id, ask::<B>("other")).await.unwrap(), Found::Done(answer("other")));
}

pub(crate) async fn a_released_key_is_free<B: Bench>(bench: &B) {
    let (store, id) = (bench.store().await, key("k"));
    let (old, first) = granted::<B>(&store, id).await;
    store.release(id, old).await.unwrap();
    fenced(store.release(id, old).await);
    let next = ask::<B>("other");
    assert!(fence(&store.claim(id, next).await.unwrap()) > first);
    fenced(store.release(id, old).await);
    store.renew(id, next.owner, B::LEASE).await.unwrap();
}

pub(crate) async fn a_doubt_is_ended_by_a_verdict_alone<B: Bench>(bench: &B) {
    let store = bench.store().await;
    let (happened, did_not) = (key("happened"), key("did not"));
    let (owner, fence_of_happened) = doubted::<B>(&store, happened).await;
    let (other, fence_of_did_not) = doubted::<B>(&store, did_not).await;
    store.doubt(happened, owner).await.unwrap();
    bench.pass(B::LEASE).await;
    for (id, owner) in [(happened, owner), (did_not, other)] {
        for lease_over in [LeaseOver::InDoubt, LeaseOver::Reexecute, LeaseOver::Resume] {
            let ask = Ask { owner, lease_over, ..ask::<B>("pay") };
            assert_eq!(store.claim(id, ask).await.unwrap(), Found::InDoubt);
        }
        fenced(store.renew(id, owner, B::LEASE).await);
        fenced(store.complete(id, owner, answer("late"), B::RETENTION).await);
        fenced(store.release(id, owner).await);
    }

    let verdict = Verdict::Done { outcome: answer("paid"), retention: B::RETENTION };
    store.reconcile(happened, fence_of_happened, verdict).await.unwrap();
    assert_eq!(found::<B>(&store, happened).await, Found::Done(answer("paid")));
    owner_is_fenced::<B>(&store, happened, owner).await;

    store.reconcile(did_not, fence_of_did_not, Verdict::Absent).await.unwrap();
    assert!(fence(&found::<B>(&store, did_not).await) > fence_of_did_not);
}

pub(crate) async fn a_verdict_needs_a_doubt_and_its_fence<B: Bench>(bench: &B) {
    let store = bench.store().await;
    fenced(store.reconcile(key("absent"), 1, Verdict::Absent).await);
    let (_, working) = granted::<B>(&store, key("working")).await;
    fenced(store.reconcile(key("working"), working, Verdict::Absent).await);
    completed::<B>(&store, key("done"), answer("paid")).await;
    fenced(store.reconcile(key("done"), working + 1, Verdict::Absent).await);
    let (_, doubt) = doubted::<B>(&store, key("doubt")).await;
    let verdict = Verdict::Done { outcome: Outcome::Tombstone, retention: B::RETENTION };
    fenced(store.reconcile(key("doubt"), doubt - 1, verdict.clone()).await);
    store.reconcile(key("doubt"), doubt, verdict.clone()).await.unwrap();
    fenced(store.reconcile(key("doubt"), doubt, verdict).await);
}

pub(crate) async fn a_claim_whose_lease_is_over_can_be_reconciled<B: Bench>(bench: &B) {
    let (store, id) = (bench.store().await, key("k"));
    let (owner, fence) = granted::<B>(&store, id).await;
    bench.pass(B::LEASE).await;
    let verdict = Verdict::Done { outcome: Outcome::Tombstone, retention: B::RETENTION };
    store.reconcile(id, fence, verdict).await.unwrap();
    assert_eq!(found::<B>(&store, id).await, Found::Done(Outcome::Tombstone));
    owner_is_fenced::<B>(&store, id, owner).await;
}

pub(crate) async fn a_stale_owner_writes_nothing<B: Bench>(bench: &B) {
    let store = bench.store().await;
    granted::<B>(&store, key("working")).await;
    completed::<B>(&store, key("done"), answer("paid")).await;
    doubted::<B>(&store, key("doubt")).await;
    for id in [key("working"), key("done"), key("doubt")] {
        owner_is_fenced::<B>(&store, id, Owner::random()).await;
    }
    let (absent, nobody) = (key("absent"), Owner::random());
    fenced(store.renew(absent, nobody, B::LEASE).await);
    fenced(store.checkpoint(absent, nobody, 1).await);
    fenced(store.complete(absent, nobody, answer("stale"), B::RETENTION).await);
    fenced(store.release(absent, nobody).await);
    fenced(store.doubt(absent, nobody).await);
    granted::<B>(&store, absent).await;
}

pub(crate) async fn fences_grow_over_all_keys_and_through_purges<B: Bench>(bench: &B) {
    let (store, id) = (bench.store().await, key("k"));
    let (owner, first) = granted::<B>(&store, id).await;
    let (_, second) = granted::<B>(&store, key("another")).await;
    assert!(second > first);
    store.complete(id, owner, answer("paid"), B::RETENTION).await.unwrap();
    bench.pass(B::RETENTION).await;
    assert_eq!(store.purge(100).await.unwrap(), 1);
    let (_, third) = granted::<B>(&store, id).await;
    assert!(third > second, "a number that comes again lets a stale owner in");
}

pub(crate) async fn the_oldest_doubt_comes_first<B: Bench>(bench: &B) {
    let store = bench.store().await;
    assert_eq!(store.oldest_in_doubt().await.unwrap(), None);
    let (owner, first) = granted::<B>(&store, key("first")).await;
    store.checkpoint(key("first"), owner, 4).await.unwrap();
    store.doubt(key("first"), owner).await.unwrap();
    completed::<B>(&store, key("done"), answer("paid")).await;
    bench.pass(B::LEASE / 4).await;
    // Its lease will be over, and nobody asks for it.
    let (_, lapsed) = granted::<B>(&store, key("lapsed")).await;
    assert_eq!(store.in_doubt(9).await.unwrap().len(), 1);
    bench.pass(B::LEASE * 5 / 4).await;
    let (_, last) = doubted::<B>(&store, key("last")).await;

    let doubts = store.in_doubt(9).await.unwrap();
    let seen: Vec<_> = doubts.iter().map(|&InDoubt { id, fence, phase, .. }| (id, fence, phase)).collect();
    assert_eq!(seen, [(key("first"), first, 4), (key("lapsed"), lapsed, 0), (key("last"), last, 0)]);
    assert!(doubts.is_sorted_by(|a, b| a.age >= b.age));
    assert!(doubts[0].age >= B::LEASE && doubts[2].age < doubts[0].age);
    assert_eq!(store.in_doubt(1).await.unwrap()[0].id, key("first"));
    assert!(store.oldest_in_doubt().await.unwrap() >= Some(B::LEASE));
}

pub(crate) async fn purge_forgets_what_is_over_and_nothing_else<B: Bench>(bench: &B) {
    let store = bench.store().await;
    for name in ["a", "b", "c"] {
        completed::<B>(&store, key(name), answer("paid")).await;
    }
    granted::<B>(&store, key("working")).await;
    doubted::<B>(&store, key("doubt")).await;
    assert_eq!(store.purge(100).await.unwrap(), 0);
    bench.pass(B::RETENTION).await;
    assert_eq!(store.purge(2).await.unwrap(), 2);
    assert_eq!(store.purge(100).await.unwrap(), 1);
    completed::<B>(&store, key("young"), answer("paid")).await;
    assert_eq!(store.purge(100).await.unwrap(), 0);
    assert_eq!(found::<B>(&store, key("working")).await, Found::InDoubt);
    assert_eq!(found::<B>(&store, key("doubt")).await, Found::InDoubt);
    assert_eq!(found::<B>(&store, key("young")).await, Found::Done(answer("paid")));
}

pub(crate) async fn keys_do_not_meet<B: Bench>(bench: &B) {
    let store = bench.store().await;
    let ids = [
        Identity::of(b"tenant", b"POST /payments", b"k"),
        Identity::of(b"another", b"POST /payments", b"k"),
        Identity::of(b"tenant", b"POST /refunds", b"k"),
    ];
    for (id, text) in ids.into_iter().zip(["one", "two", "three"]) {
        completed::<B>(&store, id, answer(text)).await;
    }
    for (id, text) in ids.into_iter().zip(["one", "two", "three"]) {
        assert_eq!(found::<B>(&store, id).await, Found::Done(answer(text)));
    }
}
