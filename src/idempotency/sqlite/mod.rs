//! The store in `SQLite`.

mod statements;

use std::time::Duration;

use sqlx::{Sqlite, SqliteConnection, SqlitePool, Transaction, query, query_as, query_scalar, raw_sql};

use super::{
    Ask, CompleteIn, Found, Identity, InDoubt, Outcome, Owner, Store, StoreError, Verdict,
    sql::{self, unavailable},
};

/// Keeps records in a file of `SQLite`, where they can be written in the transaction of what the handler does.
///
/// # What it promises
///
/// *One start per key* on one machine: among all its processes, and through `kill -9` of any of them. *Exactly one effect*, for
/// all that is written in one transaction with the [completion](CompleteIn): it is committed together with the record of it,
/// by the claim that is still the right one, or not at all.
///
/// Through a loss of power as well, with `synchronous = FULL`, which is the default of `sqlx`. It promises nothing on a file
/// system of a network, nor for a database in memory, of which every connection has one of its own. The clock is the machine's:
/// where it is set forward, leases and retentions end early by as much.
///
/// # The transaction, late
///
/// `SQLite` has one writer at a time. A handler that began its transaction first and worked then would keep everybody out, the
/// renewing of its own lease among them. So it works first, [begins](Self::begin) late, writes, calls
/// [`complete_in`](CompleteIn::complete_in), and commits. Begin with this [`begin`](Self::begin), which takes the place of the
/// writer at once: a transaction that reads first and writes later is refused when somebody wrote in between.
///
/// A store that is busy for longer than the pool's `busy_timeout` (5 s by default) is
/// [`Unavailable`](StoreError::Unavailable), and that is not `Fenced`: the claim is not lost.
///
/// # What it needs
///
/// The tables, which [`migrate`](Self::migrate) makes; `journal_mode = WAL`, so that readers do not wait; and a job that calls
/// [`purge`](Store::purge) now and then.
///
/// ```
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
/// use moneta_resilience::idempotency::SqliteStore;
/// use sqlx::sqlite::{SqliteConnectOptions, SqliteJournalMode, SqlitePool};
///
/// # let file = std::env::temp_dir().join(format!("moneta-resilience-doc-{}.db", std::process::id()));
/// let options = SqliteConnectOptions::new()
///     .filename(&file)
///     .create_if_missing(true)
///     .journal_mode(SqliteJournalMode::Wal);
/// let store = SqliteStore::new(SqlitePool::connect_with(options).await?);
/// store.migrate().await?;
/// # std::fs::remove_file(file)?;
/// # Ok(())
/// # }
/// ```
#[derive(Clone, Debug)]
pub struct SqliteStore {
    pool: SqlitePool,
}

impl SqliteStore {
    /// What [`migrate`](Self::migrate) runs, for a migration of your own.
    pub const MIGRATION: &str = include_str!("migration.sql");

    /// The store in the database of this pool; the service's own, if effects are to be in one transaction with their records.
    pub fn new(pool: SqlitePool) -> Self {
        Self { pool }
    }

    /// Makes the tables where there are none. Any number of processes may do that at once.
    ///
    /// # Errors
    ///
    /// [`Unavailable`](StoreError::Unavailable).
    pub async fn migrate(&self) -> Result<(), StoreError> {
        raw_sql(Self::MIGRATION).execute(&self.pool).await.map_err(unavailable)?;
        Ok(())
    }

    /// Begins a transaction that writes, with `BEGIN IMMEDIATE`: it waits for its turn here and not at its first statement.
    ///
    /// # Errors
    ///
    /// [`Unavailable`](StoreError::Unavailable), also when another transaction goes on for longer than `busy_timeout`.
    ///
    /// # Cancellation
    ///
    /// When the future is dropped, no connection goes back to the pool inside of a transaction.
    ///
    /// # Panics
    ///
    /// Outside of a runtime of tokio.
    pub async fn begin(&self) -> Result<Transaction<'static, Sqlite>, StoreError> {
        let pool = self.pool.clone();
        sql::begun(async move { pool.begin_with("BEGIN IMMEDIATE").await }).await
    }
}

sql::store!(SqliteStore, SqliteConnection);
