//! What a key costs with the store in memory: `cargo bench --features idempotency --bench idempotency`.
//!
//! Each call has a key of its own and an answer with a body of 256 bytes; the store holds 100,000 keys when it is measured.

use std::time::Duration;

use bytes::Bytes;
use criterion::Criterion;
use futures::FutureExt;
use moneta_resilience::idempotency::{
    Ask, Fingerprint, Found, Identity, LeaseOver, MemoryStore, Outcome, Owner, Store,
};
use tokio::time::Instant;

const KEYS: u64 = 100_000;
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

/// A store in which `KEYS` keys are done.
fn filled(answer: &Bytes) -> MemoryStore {
    let store = MemoryStore::new().max_keys(usize::MAX).max_bytes(usize::MAX);
    for number in 0..KEYS {
        run(&store, identity(number), answer);
    }
    store
}

/// What is done by the time that it is asked for, which is so in this store.
fn at_once<T>(work: impl Future<Output = T>) -> T {
    work.now_or_never().expect("the store in memory does not wait")
}

fn run(store: &MemoryStore, id: Identity, answer: &Bytes) {
    let ask = ask(1);
    let found = at_once(store.claim(id, ask)).expect("there is room");
    assert!(matches!(found, Found::Granted { .. }));
    let outcome = Outcome::Answer(answer.clone());
    at_once(store.complete(id, ask.owner, outcome, RETENTION)).expect("it is the owner");
}

fn main() {
    let mut criterion = Criterion::default()
        .warm_up_time(Duration::from_millis(500))
        .measurement_time(Duration::from_secs(2))
        .configure_from_args();
    let answer = Bytes::from(vec![7; 256]);
    let store = filled(&answer);
    let asked = ask(2);

    let mut next = KEYS;
    let mut time = |name: &str, mut call: Box<dyn FnMut(Identity) + '_>, fresh: bool| {
        criterion.bench_function(name, |bencher| {
            bencher.iter_custom(|calls| {
                // The digests are not the store's work.
                let ids: Vec<_> =
                    (0..calls).map(|call| identity(if fresh { next + call } else { call % KEYS })).collect();
                next += if fresh { calls } else { 0 };
                let start = Instant::now();
                ids.into_iter().for_each(&mut call);
                start.elapsed()
            });
        });
    };
    let claim = |id| drop(at_once(store.claim(id, asked)));
    time("idempotency/replay", Box::new(claim), false);
    time("idempotency/claim and complete", Box::new(|id| run(&store, id, &answer)), true);
    criterion.bench_function("idempotency/digest of a key and of a request of 256 bytes", |bencher| {
        bencher.iter(|| (identity(7), ask(1)));
    });
    criterion.final_summary();
}
