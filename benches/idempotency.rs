//! What a key costs with the store in memory: `cargo bench --features idempotency --bench idempotency`.
//!
//! Answers have a body of 256 bytes. Each call has a key of its own, and finds a store that holds 100,000 keys.

use std::time::Duration;

use bytes::Bytes;
use criterion::Criterion;
use futures::FutureExt;
use moneta_resilience::idempotency::{
    Ask, Fingerprint, Found, Identity, LeaseOver, MemoryStore, Outcome, Owner, Store,
};
use tokio::time::Instant;

const KEYS: u64 = 100_000;
/// How many are added before a fresh store takes its place.
const MORE: u64 = 20_000;
const LEASE: Duration = Duration::from_secs(60);
const RETENTION: Duration = Duration::from_secs(24 * 3600);

fn identity(number: u64) -> Identity {
    Identity::of(b"tenant", b"POST /payments", &number.to_be_bytes())
}

fn ask(owner: u128) -> Ask {
    Ask {
        owner: Owner::from_u128(owner),
        fingerprint: Fingerprint::of([&[7; 256][..]]),
        lease: LEASE,
        lease_over: LeaseOver::InDoubt,
    }
}

/// What is done by the time that it is asked for, which is so in this store.
fn at_once<T>(work: impl Future<Output = T>) -> T {
    work.now_or_never().expect("the store in memory does not wait")
}

fn claim(store: &MemoryStore, id: Identity, ask: Ask) {
    let found = at_once(store.claim(id, ask)).expect("there is room");
    assert!(matches!(found, Found::Granted { .. }));
}

fn complete(store: &MemoryStore, id: Identity, ask: Ask, answer: &Bytes) {
    let outcome = Outcome::Answer(answer.clone());
    at_once(store.complete(id, ask.owner, outcome, RETENTION)).expect("it is the owner");
}

/// A store in which `KEYS` keys are done.
fn filled(ask: Ask, answer: &Bytes) -> MemoryStore {
    let store = MemoryStore::new().max_keys(usize::MAX).max_bytes(usize::MAX);
    for id in (0..KEYS).map(identity) {
        claim(&store, id, ask);
        complete(&store, id, ask, answer);
    }
    store
}

/// How long `call` takes for all these keys, whose digests are not the store's work.
fn time(keys: impl Iterator<Item = u64>, call: impl FnMut(Identity)) -> Duration {
    let ids: Vec<_> = keys.map(identity).collect();
    let start = Instant::now();
    ids.into_iter().for_each(call);
    start.elapsed()
}

fn main() {
    let mut criterion = Criterion::default()
        .warm_up_time(Duration::from_millis(500))
        .measurement_time(Duration::from_secs(2))
        .sample_size(20)
        .configure_from_args();
    let (answer, asked) = (Bytes::from(vec![7; 256]), ask(1));

    let mut of_new_keys = |name: &str, call: &dyn Fn(&MemoryStore, Identity)| {
        criterion.bench_function(name, |bencher| {
            bencher.iter_custom(|calls| {
                let batches = (0..calls).step_by(usize::try_from(MORE).expect("it is small"));
                let batch = |from: u64| {
                    let store = filled(asked, &answer);
                    time((from..calls.min(from + MORE)).map(|key| KEYS + key), |id| call(&store, id))
                };
                batches.map(batch).sum()
            });
        });
    };
    of_new_keys("idempotency/claim", &|store, id| claim(store, id, asked));
    of_new_keys("idempotency/claim and complete", &|store, id| {
        claim(store, id, asked);
        complete(store, id, asked, &answer);
    });

    let (store, again) = (filled(asked, &answer), ask(2));
    criterion.bench_function("idempotency/replay", |bencher| {
        bencher.iter_custom(|calls| {
            time((0..calls).map(|call| call % KEYS), |id| drop(at_once(store.claim(id, again))))
        });
    });
    criterion.bench_function("idempotency/digest of a key and of a request of 256 bytes", |bencher| {
        bencher.iter(|| (identity(7), ask(1)));
    });
    criterion.final_summary();
}
