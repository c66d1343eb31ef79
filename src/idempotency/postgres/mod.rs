//! The store in Postgres.

mod statements;

use std::time::Duration;

use sqlx::{PgConnection, PgPool, Postgres, Transaction, query, query_as, query_scalar, raw_sql};

use super::{
    Ask, CompleteIn, Found, Identity, InDoubt, Outcome, Owner, Store, StoreError, Verdict,
    sql::{self, unavailable},
};

/// Keeps records in Postgres, where they can be written in the transaction of what the handler does.
///
/// # What it promises
///
/// *One start per key* as long as the server keeps what it acknowledged: through the death of any process of the service and
/// through restarts of the server.
///
/// *Exactly one effect*, for all that is written in one transaction with the [completion](CompleteIn): it is committed
/// together with the record of it, by the claim that is still the right one, or not at all. That holds even where a claim is
/// taken over too early, and after a failover that loses acknowledged transactions, because effect and record are lost
/// together. What the handler does elsewhere (a call of another service) is not in the transaction: hand a
/// [derived key](super::Identity) on.
///
/// It does not hold with `synchronous_commit = off`, `fsync = off`, or a replica that is asked for claims. Where the server's
/// clock is set forward, leases and retentions end early by as much. A failover to a replica that lags loses claims that were
/// acknowledged: without the same transaction, what they began can be run twice. Statements run at `READ COMMITTED`, the
/// default of the server; at a stricter level some are refused, and their callers get a 503.
///
/// # Two ways to use it
///
/// * *Lease and fenced commit*: the layer claims the key, the handler works as long as it likes, begins a transaction late,
///   and calls [`complete_in`](CompleteIn::complete_in) as its last statement. Nothing is locked while the handler works.
/// * *One transaction*: begin it, [`claim_in`](Self::claim_in) it, work, `complete_in`, commit. There is no lease; who comes
///   with the same key waits for the end of the transaction, and whoever dies leaves nothing behind.
///
/// # What it needs
///
/// The table, which [`migrate`](Self::migrate) makes, in the schema that the pool's `search_path` names first; a job that
/// calls [`purge`](Store::purge) now and then; and a bound on waiting: the pool's `acquire_timeout`, and `lock_timeout` or
/// `statement_timeout` on its connections, shorter than the layer's `store_timeout`, so that the server grants no claim that nobody
/// waits for any more. The client speaks TLS once one of the `tls-` features of `sqlx` is chosen.
///
/// ```no_run
/// # async fn doc() -> Result<(), Box<dyn std::error::Error>> {
/// use moneta_resilience::idempotency::PostgresStore;
///
/// let pool = sqlx::PgPool::connect("postgres://localhost/payments").await?;
/// let store = PostgresStore::new(pool);
/// store.migrate().await?;
/// # Ok(())
/// # }
/// ```
#[derive(Clone, Debug)]
pub struct PostgresStore {
    pool: PgPool,
}

impl PostgresStore {
    /// What [`migrate`](Self::migrate) runs, for a migration of your own.
    pub const MIGRATION: &str = include_str!("migration.sql");

    /// The store in the database of this pool; the service's own, if effects are to be in one transaction with their records.
    pub fn new(pool: PgPool) -> Self {
        Self { pool }
    }

    /// Makes the table where there is none. Any number of processes may do that at once.
    ///
    /// # Errors
    ///
    /// [`Unavailable`](StoreError::Unavailable), also when the user may not make tables.
    pub async fn migrate(&self) -> Result<(), StoreError> {
        raw_sql(Self::MIGRATION).execute(&self.pool).await.map_err(unavailable)?;
        Ok(())
    }

    /// Begins a transaction.
    ///
    /// # Errors
    ///
    /// [`Unavailable`](StoreError::Unavailable).
    ///
    /// # Cancellation
    ///
    /// When the future is dropped, no connection goes back to the pool inside of a transaction. That is not so with
    /// [`PgPool::begin`]: dropped between `BEGIN` and its answer it does, and what is written over that connection later is
    /// never committed.
    ///
    /// # Panics
    ///
    /// Outside of a runtime of tokio.
    pub async fn begin(&self) -> Result<Transaction<'static, Postgres>, StoreError> {
        let pool = self.pool.clone();
        sql::begun(async move { pool.begin().await }).await
    }

    /// [`Store::claim`] inside of `tx`: the key is the transaction's until that ends, and free again if it is rolled back.
    ///
    /// Whoever claims the key meanwhile, in a transaction or not, waits for the end. [Complete](CompleteIn::complete_in) it
    /// before the commit; otherwise the claim stays for what is left of its lease.
    ///
    /// # Errors
    ///
    /// [`Unavailable`](StoreError::Unavailable): roll the transaction back.
    pub async fn claim_in(&self, tx: &mut PgConnection, id: Identity, ask: Ask) -> Result<Found, StoreError> {
        claim_on(tx, id, ask).await
    }
}

sql::store!(PostgresStore, PgConnection);
