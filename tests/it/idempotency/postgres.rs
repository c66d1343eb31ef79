//! The store in Postgres under the contract of stores, and what only it promises. The server is a real one, which
//! `tests/servers.sh` starts.

use std::{
    env,
    pin::{Pin, pin},
    time::Duration,
};

use futures::FutureExt as _;
use moneta_resilience::idempotency::{
    Ask, Claim, CompleteIn, Fingerprint, Found, Identity, LeaseOver, Outcome, Owner, PostgresStore, Store,
    StoreError, http::KeptAnswer,
};
use sqlx::{
    AssertSqlSafe, PgPool, Postgres, Transaction,
    postgres::{PgConnectOptions, PgPoolOptions},
    query, query_scalar,
};

use super::{
    http::books::{Books, laws_of_books},
    stores::{Bench, store_contract},
};

/// A schema of its own for each test, with a table of what handlers do.
struct Server {
    pool: PgPool,
}

impl Server {
    /// With so many connections.
    async fn with(connections: u32) -> Self {
        let url = env::var("MONETA_POSTGRES_URL")
            .expect("a server is needed: run the tests through tests/servers.sh, or set MONETA_POSTGRES_URL");
        let schema = format!("test_{:032x}", Owner::random().as_u128());
        let options: PgConnectOptions = url.parse().unwrap();
        let pool = PgPoolOptions::new()
            .max_connections(connections)
            // So that `BEGIN` is the first thing that goes to the server.
            .test_before_acquire(false)
            .connect_with(options.application_name(&schema).options([("search_path", &schema)]))
            .await
            .unwrap();
        query(AssertSqlSafe(format!("CREATE SCHEMA {schema}"))).execute(&pool).await.unwrap();
        query("CREATE TABLE ledger (note text)").execute(&pool).await.unwrap();
        Self { pool }
    }

    async fn store(&self) -> PostgresStore {
        let store = PostgresStore::new(self.pool.clone());
        store.migrate().await.unwrap();
        store
    }

    async fn entries(&self) -> i64 {
        query_scalar("SELECT count(*) FROM ledger").fetch_one(&self.pool).await.unwrap()
    }
}

impl Bench for Server {
    type Store = PostgresStore;

    const LEASE: Duration = Duration::from_secs(60);
    const RETENTION: Duration = Duration::from_secs(24 * 3600);

    async fn store(&self) -> PostgresStore {
        self.store().await
    }

    /// Time passes as well when all that was agreed on lies so much further back.
    async fn pass(&self, time: Duration) {
        query("UPDATE idempotency_keys SET ends_at = ends_at - $1 * interval '1 second'")
            .bind(time.as_secs_f64())
            .execute(&self.pool)
            .await
            .unwrap();
    }
}

impl Books for Server {
    async fn pay(
        &self,
        store: &PostgresStore,
        claim: &Claim,
        answer: KeptAnswer,
        commits: bool,
    ) -> Result<(), StoreError> {
        let mut tx = store.begin().await?;
        pay(&mut tx).await;
        claim.complete_in(store, &mut *tx, answer).await?;
        let ended = if commits { tx.commit().await } else { tx.rollback().await };
        ended.unwrap();
        Ok(())
    }

    async fn payments(&self) -> i64 {
        self.entries().await
    }
}

store_contract!(tokio::test, Server::with(4).await);
laws_of_books!(Server::with(4).await);

const RETENTION: Duration = Duration::from_secs(24 * 3600);

fn key() -> Identity {
    Identity::of(b"tenant", b"POST /payments", b"k")
}

fn answer() -> Outcome {
    Outcome::Answer("paid".into())
}

fn ask() -> Ask {
    Ask {
        owner: Owner::random(),
        fingerprint: Fingerprint::of([&b"pay"[..]]),
        lease: Duration::from_secs(60),
        lease_over: LeaseOver::Reexecute,
    }
}

async fn granted(store: &PostgresStore) -> Owner {
    let ask = ask();
    let found = store.claim(key(), ask).await.unwrap();
    assert!(matches!(found, Found::Granted { .. }), "{found:?}");
    ask.owner
}

async fn pay(tx: &mut Transaction<'_, Postgres>) {
    query("INSERT INTO ledger VALUES ('paid')").execute(&mut **tx).await.unwrap();
}

#[tokio::test]
async fn effect_and_record_are_committed_together_or_not_at_all() {
    let server = Server::with(4).await;
    let store = server.store().await;
    let owner = granted(&store).await;

    let mut tx = store.begin().await.unwrap();
    pay(&mut tx).await;
    store.complete_in(&mut tx, key(), owner, answer(), RETENTION).await.unwrap();
    drop(tx);
    assert_eq!(server.entries().await, 0);
    assert!(matches!(store.claim(key(), ask()).await.unwrap(), Found::InProgress { .. }));

    let mut tx = store.begin().await.unwrap();
    pay(&mut tx).await;
    store.complete_in(&mut tx, key(), owner, answer(), RETENTION).await.unwrap();
    tx.commit().await.unwrap();
    assert_eq!(server.entries().await, 1);
    assert_eq!(store.claim(key(), ask()).await.unwrap(), Found::Done(answer()));
    // Whoever answers the caller completes it once more.
    store.complete(key(), owner, answer(), RETENTION).await.unwrap();
}

#[tokio::test]
async fn a_stale_owner_cannot_commit() {
    let server = Server::with(4).await;
    let store = server.store().await;
    let stale = granted(&store).await;
    let mut tx = store.begin().await.unwrap();
    pay(&mut tx).await;
    // It sleeps through its lease, and another one comes.
    server.pass(Duration::from_secs(60)).await;
    let owner = granted(&store).await;

    let late = store.complete_in(&mut tx, key(), stale, answer(), RETENTION).await;
    assert!(matches!(late, Err(StoreError::Fenced)), "{late:?}");
    drop(tx);
    let mut tx = store.begin().await.unwrap();
    pay(&mut tx).await;
    store.complete_in(&mut tx, key(), owner, answer(), RETENTION).await.unwrap();
    tx.commit().await.unwrap();
    assert_eq!(server.entries().await, 1);
}

#[tokio::test]
async fn who_takes_over_waits_for_the_commit_that_is_under_way_and_finds_it() {
    let server = Server::with(4).await;
    let store = server.store().await;
    let owner = granted(&store).await;
    let mut tx = store.begin().await.unwrap();
    pay(&mut tx).await;
    store.complete_in(&mut tx, key(), owner, answer(), RETENTION).await.unwrap();
    // Its lease ends before it has committed, and whoever comes may run it again.
    let mut other = pin!(store.claim(key(), Ask { owner: Owner::random(), ..ask() }));
    server.wait_until_one_waits(other.as_mut()).await;
    tx.commit().await.unwrap();
    assert_eq!(other.await.unwrap(), Found::Done(answer()));
}

#[tokio::test]
async fn a_claim_is_not_completed_in_two_transactions() {
    let server = Server::with(4).await;
    let store = server.store().await;
    let owner = granted(&store).await;
    for round in 0..2 {
        // The answer of the first commit was lost, so the handler tries again.
        let mut tx = store.begin().await.unwrap();
        pay(&mut tx).await;
        let completed = store.complete_in(&mut tx, key(), owner, answer(), RETENTION).await;
        assert_eq!(completed.is_ok(), round == 0);
        if completed.is_ok() {
            tx.commit().await.unwrap();
        }
    }
    assert_eq!(server.entries().await, 1);
}

#[tokio::test]
async fn one_transaction_needs_no_lease() {
    let server = Server::with(4).await;
    let store = server.store().await;
    let died = ask();
    let mut tx = store.begin().await.unwrap();
    assert!(matches!(store.claim_in(&mut tx, key(), died).await.unwrap(), Found::Granted { .. }));
    pay(&mut tx).await;
    drop(tx);
    assert_eq!(server.entries().await, 0);

    let first = ask();
    let mut tx = store.begin().await.unwrap();
    assert!(matches!(store.claim_in(&mut tx, key(), first).await.unwrap(), Found::Granted { .. }));
    let mut second_tx = store.begin().await.unwrap();
    let mut second = pin!(store.claim_in(&mut second_tx, key(), ask()));
    server.wait_until_one_waits(second.as_mut()).await;
    pay(&mut tx).await;
    store.complete_in(&mut tx, key(), first.owner, answer(), RETENTION).await.unwrap();
    tx.commit().await.unwrap();
    assert_eq!(second.await.unwrap(), Found::Done(answer()));
    assert_eq!(server.entries().await, 1);
}

impl Server {
    /// Goes on with the future until the server says that somebody waits for a lock.
    async fn wait_until_one_waits<F: Future>(&self, mut future: Pin<&mut F>) {
        loop {
            assert!(future.as_mut().now_or_never().is_none(), "it has not waited");
            let waits = "SELECT EXISTS (SELECT FROM pg_stat_activity WHERE wait_event_type = 'Lock'
                AND application_name = current_setting('application_name'))";
            if query_scalar(waits).fetch_one(&self.pool).await.unwrap() {
                return;
            }
        }
    }
}

/// The future is dropped after one poll, after two, and so on until it comes to its end. Whatever it leaves behind, the pool's
/// only connection is not in a transaction afterwards: there, time would stand still. Over and over, because what a dropped
/// future leaves behind hangs on when the server answers; `PgPool::begin` fails here in one round or two.
#[tokio::test]
async fn a_begin_that_is_dropped_leaves_no_connection_in_a_transaction() {
    let server = Server::with(1).await;
    let store = server.store().await;
    let now =
        async || -> String { query_scalar("SELECT now()::text").fetch_one(&server.pool).await.unwrap() };
    for _round in 0..30 {
        let (mut polls, mut ended) = (0, false);
        while !ended {
            polls += 1;
            {
                let mut begin = pin!(store.begin());
                for _ in 0..polls {
                    ended = begin.as_mut().now_or_never().is_some();
                    if ended {
                        break;
                    }
                    tokio::task::yield_now().await;
                }
            }
            assert_ne!(now().await, now().await, "after {polls} polls");
        }
    }
}

#[tokio::test]
async fn purges_do_not_wait_for_each_other() {
    let server = Server::with(4).await;
    let store = server.store().await;
    let owner = granted(&store).await;
    store.complete(key(), owner, answer(), RETENTION).await.unwrap();
    server.pass(RETENTION).await;
    // Another one has the record in hand.
    let mut tx = store.begin().await.unwrap();
    query("SELECT FROM idempotency_keys FOR UPDATE").execute(&mut *tx).await.unwrap();
    assert_eq!(store.purge(10).await.unwrap(), 0);
    drop(tx);
    while store.purge(10).await.unwrap() == 0 {
        tokio::task::yield_now().await;
    }
}

#[tokio::test]
async fn many_may_migrate_at_once() {
    let server = Server::with(4).await;
    futures::future::join_all((0..4).map(|_| server.store())).await;
    granted(&server.store().await).await;
    // Nor is anything lost by doing it again.
    assert!(matches!(server.store().await.claim(key(), ask()).await.unwrap(), Found::InProgress { .. }));
}

#[tokio::test]
async fn the_lease_is_the_servers_time() {
    let server = Server::with(1).await;
    let store = server.store().await;
    let short = Ask { lease: Duration::from_micros(1), ..ask() };
    store.claim(key(), short).await.unwrap();
    // The answer has been on its way for longer than that.
    assert!(matches!(store.claim(key(), ask()).await.unwrap(), Found::Granted { .. }));
    let endless = Ask { lease: Duration::MAX, ..ask() };
    let id = Identity::of(b"", b"", b"endless");
    store.claim(id, endless).await.unwrap();
    assert!(matches!(store.claim(id, ask()).await.unwrap(), Found::InProgress { .. }));
}

#[tokio::test]
async fn a_server_that_is_away_is_told() {
    let pool = PgPoolOptions::new()
        .acquire_timeout(Duration::from_millis(1))
        .connect_lazy("postgres://nobody@127.0.0.1:1/nothing")
        .unwrap();
    let store = PostgresStore::new(pool);
    assert!(matches!(store.claim(key(), ask()).await, Err(StoreError::Unavailable(_))));
    assert!(matches!(store.begin().await, Err(StoreError::Unavailable(_))));
}
