//! The store in `SQLite` under the contract of stores, and what only it promises.

use std::{
    env, fs,
    path::{Path, PathBuf},
    process::Command,
    time::Duration,
};

use moneta_resilience::idempotency::{
    Ask, Claim, CompleteIn, Fingerprint, Found, Identity, LeaseOver, Outcome, Owner, SqliteStore, Store,
    StoreError, http::KeptAnswer,
};
use sqlx::{
    SqlitePool, query, query_scalar,
    sqlite::{SqliteConnectOptions, SqliteJournalMode, SqlitePoolOptions},
};

use super::{
    http::books::{Books, laws_of_books},
    stores::{Bench, store_contract},
};

/// A file of its own for each test, which goes with it.
struct File {
    path: PathBuf,
    pool: SqlitePool,
}

impl File {
    async fn new() -> Self {
        let name = format!("moneta-{:032x}.db", Owner::random().as_u128());
        Self::at(&env::temp_dir().join(name)).await
    }

    async fn at(path: &Path) -> Self {
        let options = SqliteConnectOptions::new()
            .filename(path)
            .create_if_missing(true)
            .journal_mode(SqliteJournalMode::Wal);
        let pool = SqlitePoolOptions::new().max_connections(4).connect_with(options).await.unwrap();
        query("CREATE TABLE IF NOT EXISTS ledger (note TEXT)").execute(&pool).await.unwrap();
        Self { path: path.to_owned(), pool }
    }

    async fn store(&self) -> SqliteStore {
        let store = SqliteStore::new(self.pool.clone());
        store.migrate().await.unwrap();
        store
    }

    /// The store over one more connection, which does not wait for its turn.
    async fn impatient(&self) -> SqliteStore {
        let options = SqliteConnectOptions::new().filename(&self.path).busy_timeout(Duration::ZERO);
        SqliteStore::new(SqlitePoolOptions::new().max_connections(1).connect_with(options).await.unwrap())
    }

    async fn entries(&self) -> i64 {
        query_scalar("SELECT count(*) FROM ledger").fetch_one(&self.pool).await.unwrap()
    }
}

impl Books for File {
    async fn pay(
        &self,
        store: &SqliteStore,
        claim: &Claim,
        answer: KeptAnswer,
        commits: bool,
    ) -> Result<(), StoreError> {
        let mut tx = store.begin().await?;
        query("INSERT INTO ledger VALUES ('paid')").execute(&mut *tx).await.unwrap();
        claim.complete_in(store, &mut *tx, answer).await?;
        let ended = if commits { tx.commit().await } else { tx.rollback().await };
        ended.unwrap();
        Ok(())
    }

    async fn payments(&self) -> i64 {
        self.entries().await
    }
}

impl Drop for File {
    fn drop(&mut self) {
        for end in ["", "-wal", "-shm"] {
            _ = fs::remove_file(format!("{}{end}", self.path.display()));
        }
    }
}

impl Bench for File {
    type Store = SqliteStore;

    const LEASE: Duration = Duration::from_secs(60);
    const RETENTION: Duration = Duration::from_secs(24 * 3600);

    async fn store(&self) -> SqliteStore {
        self.store().await
    }

    /// Time passes as well when all that was agreed on lies so much further back.
    async fn pass(&self, time: Duration) {
        query("UPDATE idempotency_keys SET ends_at = ends_at - $1")
            .bind(i64::try_from(time.as_micros()).unwrap())
            .execute(&self.pool)
            .await
            .unwrap();
    }
}

store_contract!(tokio::test, File::new().await);
laws_of_books!(File::new().await);

const RETENTION: Duration = Duration::from_secs(24 * 3600);

fn key(name: &str) -> Identity {
    Identity::of(b"tenant", b"POST /payments", name.as_bytes())
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

async fn granted(store: &SqliteStore, id: Identity) -> Owner {
    let ask = ask();
    let found = store.claim(id, ask).await.unwrap();
    assert!(matches!(found, Found::Granted { .. }), "{found:?}");
    ask.owner
}

#[tokio::test]
async fn effect_and_record_are_committed_together_or_not_at_all() {
    let file = File::new().await;
    let (store, id) = (file.store().await, key("k"));
    let stale = granted(&store, id).await;
    file.pass(Duration::from_secs(60)).await;
    let owner = granted(&store, id).await;
    for (by, commits, entries) in [(stale, true, 0), (owner, false, 0), (owner, true, 1), (owner, true, 1)] {
        let mut tx = store.begin().await.unwrap();
        query("INSERT INTO ledger VALUES ('paid')").execute(&mut *tx).await.unwrap();
        match store.complete_in(&mut *tx, id, by, answer(), RETENTION).await {
            Ok(()) if commits => tx.commit().await.unwrap(),
            Ok(()) | Err(StoreError::Fenced) => tx.rollback().await.unwrap(),
            Err(error) => panic!("{error}"),
        }
        assert_eq!(file.entries().await, entries);
    }
    assert_eq!(store.claim(id, ask()).await.unwrap(), Found::Done(answer()));
}

#[tokio::test]
async fn busy_is_not_lost() {
    let file = File::new().await;
    let (store, id) = (file.store().await, key("k"));
    let owner = granted(&store, id).await;
    let heartbeat = file.impatient().await;
    let tx = store.begin().await.unwrap();
    let busy = heartbeat.renew(id, owner, Duration::from_secs(60)).await;
    assert!(matches!(busy, Err(StoreError::Unavailable(_))), "{busy:?}");
    assert!(matches!(heartbeat.begin().await, Err(StoreError::Unavailable(_))));
    // Looking is not kept out.
    assert_eq!(heartbeat.in_doubt(1).await.unwrap(), []);
    tx.rollback().await.unwrap();
    heartbeat.renew(id, owner, Duration::from_secs(60)).await.unwrap();
}

const FILE: &str = "MONETA_SQLITE_TEST_FILE";

/// The test runs itself in another process, which writes and is killed with a transaction open.
#[tokio::test]
async fn what_was_acknowledged_survives_kill_9_and_nothing_else() {
    if let Some(path) = env::var_os(FILE) {
        return write_and_be_killed(Path::new(&path)).await;
    }
    let file = File::new().await;
    let this = "idempotency::sqlite::what_was_acknowledged_survives_kill_9_and_nothing_else";
    let victim =
        Command::new(env::current_exe().unwrap()).args(["--exact", this]).env(FILE, &file.path).output();
    assert_eq!(victim.unwrap().status.code(), None, "a signal ended it");

    let store = file.store().await;
    assert_eq!(file.entries().await, 1);
    assert_eq!(store.claim(key("done"), ask()).await.unwrap(), Found::Done(answer()));
    assert!(matches!(store.claim(key("working"), ask()).await.unwrap(), Found::InProgress { .. }));
    assert!(matches!(store.claim(key("open"), ask()).await.unwrap(), Found::InProgress { .. }));
}

async fn write_and_be_killed(path: &Path) {
    let file = File::at(path).await;
    let store = file.store().await;
    granted(&store, key("working")).await;
    for name in ["done", "open"] {
        let owner = granted(&store, key(name)).await;
        let mut tx = store.begin().await.unwrap();
        query("INSERT INTO ledger VALUES ($1)").bind(name).execute(&mut *tx).await.unwrap();
        store.complete_in(&mut *tx, key(name), owner, answer(), RETENTION).await.unwrap();
        if name == "open" {
            let pid = std::process::id().to_string();
            Command::new("kill").args(["-KILL", &pid]).status().unwrap();
            unreachable!("the signal has come");
        }
        tx.commit().await.unwrap();
    }
}
