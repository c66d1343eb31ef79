//! The claim: what a handler does with it, and what becomes of it when the store or the process fails.

use std::{
    sync::{Arc, Mutex},
    time::Duration,
};

use axum::{Extension, Router};
use moneta_resilience::{
    Name, Registry,
    event::IdempotencyResult,
    idempotency::{
        Ask, Claim, Fingerprint, Found, Identity, LeaseOver, MemoryStore, Outcome, Owner, Store, Verdict,
        http::{IdempotencyLayer, KeptAnswer},
    },
};
use tokio::time::{advance, sleep};

use super::{
    LEASE, Runs, app, counting,
    faulty::{Faulty, Mode},
    pay, send, settle,
};

/// The key of [`pay`], as the layer keeps it.
fn id(key: &str) -> Identity {
    Identity::of(b"", b"POST /payments", key.as_bytes())
}

/// Claims the key of [`pay`] as another process would.
async fn claimed_elsewhere(store: &impl Store, key: &str) -> (Owner, i64) {
    let fingerprint = Fingerprint::of([&b"POST"[..], b"/payments", b"", b"100 CHF"]);
    let ask = Ask { owner: Owner::random(), fingerprint, lease: LEASE, lease_over: LeaseOver::InDoubt };
    match store.claim(id(key), ask).await.unwrap() {
        Found::Granted { fence, .. } => (ask.owner, fence),
        other => panic!("{other:?}"),
    }
}

/// A handler that gives its claim away and answers with what it says.
fn claiming(layer: IdempotencyLayer<impl Store>, claims: &Arc<Mutex<Vec<Claim>>>) -> Router {
    let claims = claims.clone();
    app(layer, move |Extension(claim): Extension<Claim>| {
        claims.lock().unwrap().push(claim.clone());
        async move { format!("phase {}", claim.phase()) }
    })
}

#[tokio::test(start_paused = true)]
async fn a_key_whose_process_died_is_in_doubt_until_a_verdict() {
    let (store, runs) = (MemoryStore::new(), Runs::default());
    let app = app(IdempotencyLayer::new(store.clone()), counting(&runs));
    for key in ["done", "absent"] {
        claimed_elsewhere(&store, key).await;
        send(&app, pay(key)).await.is_problem(409, "idempotency-in-progress");
    }
    advance(LEASE).await;
    for key in ["done", "absent"] {
        send(&app, pay(key)).await.is_problem(409, "outcome-unknown");
    }

    for doubt in store.in_doubt(10).await.unwrap() {
        let answer = http::Response::builder().status(201).body("paid".into()).unwrap();
        let done = Verdict::Done { outcome: KeptAnswer::of(&answer).into(), retention: LEASE };
        let verdict = if doubt.id == id("done") { done } else { Verdict::Absent };
        store.reconcile(doubt.id, doubt.fence, verdict).await.unwrap();
    }
    send(&app, pay("done")).await.replays(201, "paid");
    send(&app, pay("absent")).await.is(200, "payment 1");
}

#[tokio::test(start_paused = true)]
async fn who_says_so_aloud_runs_again_what_a_dead_process_left() {
    for (lease_over, said) in [(LeaseOver::Reexecute, "phase 0"), (LeaseOver::Resume, "phase 4")] {
        let (store, claims) = (MemoryStore::new(), Arc::default());
        let app = claiming(IdempotencyLayer::new(store.clone()).lease_over(lease_over), &claims);
        let (owner, fence) = claimed_elsewhere(&store, "k1").await;
        store.checkpoint(id("k1"), owner, 4).await.unwrap();
        advance(LEASE).await;
        send(&app, pay("k1")).await.is(200, said);
        assert!(claims.lock().unwrap()[0].fence() > fence);
        send(&app, pay("k1")).await.replays(200, said);
    }
}

#[tokio::test(start_paused = true)]
async fn a_checkpoint_is_there_for_whoever_resumes() {
    let store = MemoryStore::new();
    let app = app(
        IdempotencyLayer::new(store.clone()).run_limit(LEASE),
        |Extension(claim): Extension<Claim>| async move {
            claim.checkpoint(1).await.unwrap();
            claim.checkpoint(2).await.unwrap();
            std::future::pending::<()>().await;
        },
    );
    send(&app, pay("k1")).await;
    assert_eq!(store.in_doubt(1).await.unwrap()[0].phase, 2);
}

#[tokio::test(start_paused = true)]
async fn derived_keys_are_the_same_in_every_run_and_differ_by_step_and_request() {
    let (store, claims) = (MemoryStore::new(), Arc::default());
    let app = claiming(
        IdempotencyLayer::new(store.clone()).lease_over(LeaseOver::Reexecute).retention(LEASE),
        &claims,
    );
    send(&app, pay("k1")).await;
    advance(LEASE).await;
    send(&app, pay("k1")).await;
    send(&app, pay("k2")).await;
    let claims = claims.lock().unwrap();
    assert_ne!(claims[0].fence(), claims[1].fence());
    assert_eq!(claims[0].derive_key("debit"), claims[1].derive_key("debit"));
    assert_ne!(claims[0].derive_key("debit"), claims[0].derive_key("credit"));
    assert_ne!(claims[0].derive_key("debit"), claims[2].derive_key("debit"));
    assert_eq!(claims[0].derive_key("debit").len(), 64);
}

#[tokio::test(start_paused = true)]
async fn a_handler_that_did_nothing_frees_its_key() {
    let runs = Runs::default();
    let ran = runs.clone();
    let app = app(IdempotencyLayer::new(MemoryStore::new()), move |Extension(claim): Extension<Claim>| {
        let run = ran.run();
        async move {
            if run == 1 {
                claim.not_executed();
            }
            format!("run {run}")
        }
    });
    send(&app, pay("k1")).await.is(200, "run 1");
    send(&app, pay("k1")).await.is(200, "run 2");
    send(&app, pay("k1")).await.replays(200, "run 2");
}

#[tokio::test(start_paused = true)]
async fn a_handler_that_resumed_and_did_nothing_hands_the_checkpoint_on() {
    let store = MemoryStore::new();
    let layer = IdempotencyLayer::new(store.clone()).lease_over(LeaseOver::Resume);
    let app = app(layer, |Extension(claim): Extension<Claim>| async move {
        claim.not_executed();
        format!("phase {}", claim.phase())
    });
    let (owner, _) = claimed_elsewhere(&store, "k1").await;
    store.checkpoint(id("k1"), owner, 4).await.unwrap();
    advance(LEASE).await;
    for _ in 0..2 {
        send(&app, pay("k1")).await.is(200, "phase 4");
    }
}

#[tokio::test(start_paused = true)]
async fn a_dropped_claim_releases_nothing() {
    let (store, runs) = (MemoryStore::new(), Runs::default());
    let ran = runs.clone();
    let app = app(IdempotencyLayer::new(store), move |Extension(claim): Extension<Claim>| {
        ran.run();
        drop(claim);
        async { sleep(LEASE / 4).await }
    });
    let second = async {
        settle().await;
        send(&app, pay("k1")).await
    };
    let (_, second) = tokio::join!(send(&app, pay("k1")), second);
    second.is_problem(409, "idempotency-in-progress");
    assert_eq!(runs.count(), 1);
}

#[tokio::test(start_paused = true)]
async fn while_the_store_is_down_nothing_runs() {
    for mode in [Mode::Down, Mode::Hangs] {
        let (store, runs) = (Faulty::new(), Runs::default());
        let layer = IdempotencyLayer::new(store.clone());
        let handle = layer.handle();
        let app = app(layer, counting(&runs));
        store.set(mode);
        let refused = send(&app, pay("k1")).await;
        refused.is_problem(503, "idempotency-unavailable");
        assert_eq!((runs.count(), &refused.headers["retry-after"]), (0, &"1".parse().unwrap()));
        store.set(Mode::Up);
        handle.drain().await;
        send(&app, pay("k1")).await.is(200, "payment 1");
    }
}

#[tokio::test(start_paused = true)]
async fn a_claim_whose_answer_was_lost_does_not_stand_in_the_way_for_long() {
    let (store, runs) = (Faulty::new(), Runs::default());
    let layer = IdempotencyLayer::new(store.clone());
    let handle = layer.handle();
    let app = app(layer, counting(&runs));
    store.set(Mode::Deaf);
    send(&app, pay("k1")).await.is_problem(503, "idempotency-unavailable");
    store.set(Mode::Up);
    send(&app, pay("k1")).await.is_problem(409, "idempotency-in-progress");
    handle.drain().await;
    send(&app, pay("k1")).await.is(200, "payment 1");
}

#[tokio::test(start_paused = true)]
async fn a_claim_that_is_heard_of_after_its_lease_is_not_run() {
    let (store, runs) = (Faulty::new(), Runs::default());
    let layer = IdempotencyLayer::new(store.clone());
    let handle = layer.handle();
    let app = app(layer, counting(&runs));
    store.set(Mode::StandsStill(LEASE));
    send(&app, pay("k1")).await.is_problem(503, "idempotency-unavailable");
    assert_eq!(runs.count(), 0);
    store.set(Mode::Up);
    handle.drain().await;
    send(&app, pay("k1")).await.is(200, "payment 1");
}

#[tokio::test(start_paused = true)]
async fn a_full_store_refuses_new_keys_and_serves_known_ones() {
    let runs = Runs::default();
    let app = app(IdempotencyLayer::new(MemoryStore::new().max_keys(1)).fail_open(), counting(&runs));
    send(&app, pay("k1")).await.is(200, "payment 1");
    send(&app, pay("k2")).await.is_problem(503, "idempotency-unavailable");
    send(&app, pay("k1")).await.replays(200, "payment 1");
}

#[tokio::test(start_paused = true)]
async fn failing_open_is_said_aloud_and_counted() {
    let (registry, name) = (Registry::new(), Name::new("payments").unwrap());
    let (store, runs) = (Faulty::new(), Runs::default());
    let layer = IdempotencyLayer::new(store.clone()).fail_open().observer(registry.observer(&name));
    let handle = layer.handle();
    let app = app(layer, counting(&runs));
    store.set(Mode::Down);
    send(&app, pay("k1")).await.is(200, "payment 1");
    send(&app, pay("k1")).await.is(200, "payment 2");
    // A claim of which only the answer was lost is completed all the same.
    store.set(Mode::Deaf);
    send(&app, pay("k2")).await.is(200, "payment 3");
    store.set(Mode::Up);
    handle.drain().await;
    send(&app, pay("k2")).await.replays(200, "payment 3");
    let counts = registry.cells_by_name();
    assert_eq!(counts[0].1.idempotency(IdempotencyResult::Bypassed), 3);
    assert_eq!(counts[0].1.idempotency(IdempotencyResult::Replayed), 1);
}

#[tokio::test(start_paused = true)]
async fn an_answer_that_the_store_did_not_take_is_given_and_kept_later() {
    for mode in [Mode::Down, Mode::Hangs, Mode::Deaf] {
        let (store, runs) = (Faulty::new(), Runs::default());
        let layer = IdempotencyLayer::new(store.clone());
        let handle = layer.handle();
        let (failing, ran) = (store.clone(), runs.clone());
        let app = app(layer, move || {
            failing.set(mode);
            let run = ran.run();
            async move { format!("payment {run}") }
        });
        send(&app, pay("k1")).await.is(200, "payment 1");
        advance(LEASE / 4).await;
        store.set(Mode::Up);
        handle.drain().await;
        send(&app, pay("k1")).await.replays(200, "payment 1");
    }
}

#[tokio::test(start_paused = true)]
async fn an_answer_that_the_store_never_took_is_in_doubt() {
    let (store, runs) = (Faulty::new(), Runs::default());
    let layer = IdempotencyLayer::new(store.clone());
    let handle = layer.handle();
    let (failing, ran) = (store.clone(), runs.clone());
    let app = app(layer, move || {
        failing.set(Mode::Down);
        let run = ran.run();
        async move { format!("payment {run}") }
    });
    send(&app, pay("k1")).await.is(200, "payment 1");
    handle.drain().await;
    store.set(Mode::Up);
    advance(LEASE).await;
    send(&app, pay("k1")).await.is_problem(409, "outcome-unknown");
    assert_eq!(runs.count(), 1);
}

#[tokio::test(start_paused = true)]
async fn a_handler_is_told_that_its_claim_is_lost_and_writes_nothing_more() {
    let (store, claims) = (MemoryStore::new(), Arc::default());
    let layer = IdempotencyLayer::new(store.clone()).run_limit(LEASE * 3);
    let kept: Arc<Mutex<Vec<Claim>>> = Arc::clone(&claims);
    let app = app(layer, move |Extension(claim): Extension<Claim>| {
        kept.lock().unwrap().push(claim.clone());
        async move {
            claim.lost().await;
            "stopped"
        }
    });
    let verdict = async {
        settle().await;
        let claim = claims.lock().unwrap()[0].clone();
        assert!(!claim.is_lost());
        // The process stands still, and an operator decides meanwhile.
        advance(LEASE).await;
        let verdict = Verdict::Done { outcome: Outcome::Tombstone, retention: LEASE * 9 };
        store.reconcile(claim.id(), claim.fence(), verdict).await.unwrap();
        claim
    };
    let (answer, claim) = tokio::join!(send(&app, pay("k1")), verdict);
    answer.is(200, "stopped");
    assert!(claim.is_lost());
    assert!(claim.checkpoint(3).await.is_err());
    send(&app, pay("k1")).await.is_problem(409, "not-replayable");
}

#[tokio::test(start_paused = true)]
async fn a_store_that_is_away_for_a_whole_lease_may_have_given_the_claim_away() {
    for mode in [Mode::Down, Mode::Hangs] {
        let store = Faulty::new();
        let layer = IdempotencyLayer::new(store.clone()).run_limit(LEASE * 3);
        let app = app(layer, move |Extension(claim): Extension<Claim>| {
            store.set(mode);
            async move {
                let begun = tokio::time::Instant::now();
                claim.lost().await;
                format!("stopped after {} s", begun.elapsed().as_secs())
            }
        });
        let stopped = send(&app, pay("k1")).await;
        stopped.is(200, "stopped after 60 s");
    }
}

#[tokio::test(start_paused = true)]
async fn a_store_that_comes_back_in_time_has_kept_the_claim() {
    let (store, claims) = (Faulty::new(), Arc::<Mutex<Vec<Claim>>>::default());
    let layer = IdempotencyLayer::new(store.clone()).run_limit(LEASE * 4);
    let (failing, kept) = (store.clone(), Arc::clone(&claims));
    let app = app(layer, move |Extension(claim): Extension<Claim>| {
        kept.lock().unwrap().push(claim);
        let store = failing.clone();
        async move {
            for _ in 0..3 {
                store.set(Mode::Hangs);
                sleep(LEASE / 2).await;
                store.set(Mode::Up);
                sleep(LEASE / 2).await;
            }
        }
    });
    send(&app, pay("k1")).await.is(200, "");
    assert!(!claims.lock().unwrap()[0].is_lost());
    send(&app, pay("k1")).await.replays(200, "");
}

#[tokio::test(start_paused = true)]
async fn times_of_any_length_are_kept() {
    let (store, runs) = (Faulty::new(), Runs::default());
    let layer = IdempotencyLayer::new(store.clone())
        .lease(Duration::MAX)
        .retention(Duration::MAX)
        .run_limit(Duration::MAX)
        .max_wait(Duration::MAX)
        .store_timeout(Duration::MAX);
    let (failing, ran) = (store.clone(), runs.clone());
    let app = app(layer, move || {
        let (store, run) = (failing.clone(), ran.run());
        async move {
            sleep(LEASE).await;
            store.set(Mode::Down);
            format!("payment {run}")
        }
    });
    let second = async {
        settle().await;
        send(&app, pay("k1")).await
    };
    let back = async {
        sleep(LEASE * 2).await;
        store.set(Mode::Up);
    };
    let (first, second, ()) = tokio::join!(send(&app, pay("k1")), second, back);
    first.is(200, "payment 1");
    second.is_problem(503, "idempotency-unavailable");
    sleep(LEASE).await;
    send(&app, pay("k1")).await.replays(200, "payment 1");
}

#[tokio::test(start_paused = true)]
async fn every_end_of_a_call_with_a_key_is_counted_once() {
    let (registry, name) = (Registry::new(), Name::new("payments").unwrap());
    let store = MemoryStore::new();
    let layer = IdempotencyLayer::new(store.clone()).observer(registry.observer(&name));
    let app = app(layer, |Extension(claim): Extension<Claim>, uri: http::Uri| async move {
        match uri.query() {
            Some("lost") => tokio::time::advance(LEASE).await,
            Some("nothing") => claim.not_executed(),
            Some("panic") => panic!("a bug in the handler"),
            _ => {}
        }
    });
    let of = |key: &str, query: &str| {
        let mut request = pay(key);
        *request.uri_mut() = format!("/payments{query}").parse().unwrap();
        request
    };
    send(&app, pay("k1")).await;
    send(&app, pay("k1")).await;
    send(&app, super::with_body("k1", "900 CHF")).await;
    claimed_elsewhere(&store, "busy").await;
    send(&app, pay("busy")).await;
    send(&app, of("k2", "?nothing")).await;
    send(&app, of("k3", "?panic")).await;
    send(&app, of("k3", "?panic")).await;
    let counts = registry.cells_by_name();
    let totals = IdempotencyResult::ALL.map(|result| (result, counts[0].1.idempotency(result)));
    let seen: Vec<_> = totals.iter().filter(|(_, total)| *total > 0).copied().collect();
    assert_eq!(
        seen,
        [
            (IdempotencyResult::Executed, 1),
            (IdempotencyResult::Replayed, 1),
            (IdempotencyResult::Conflict, 1),
            (IdempotencyResult::Mismatch, 1),
            (IdempotencyResult::InDoubt, 2),
            (IdempotencyResult::Rejected, 1),
        ]
    );
}
