//! Payments in one place and keys in another: here `SQLite` and Redis.
//!
//! No transaction has both, and Redis can lose a key. So the payment has a name that is the same in every run of its request, and the
//! books take each name once.

use std::path::Path;

use anyhow::Result;
use bytes::Bytes;
use http::Response;
use moneta_resilience::idempotency::{Claim, RedisStore};
use sqlx::{
    SqlitePool, query, query_as,
    sqlite::{SqliteConnectOptions, SqliteJournalMode},
};

use super::{Books, payment};
use crate::payment::Payment;

const TABLE: &str = "
CREATE TABLE IF NOT EXISTS payments (
    name TEXT PRIMARY KEY, invoice TEXT NOT NULL, creditor TEXT NOT NULL, amount BIGINT NOT NULL
)";
const INSERT: &str =
    "INSERT INTO payments (name, invoice, creditor, amount) VALUES ($1, $2, $3, $4) ON CONFLICT DO NOTHING";
const SELECT: &str = "SELECT invoice, creditor, amount FROM payments ORDER BY rowid";

#[derive(Clone)]
pub(crate) struct BesideBooks {
    pool: SqlitePool,
    store: RedisStore,
}

impl BesideBooks {
    pub(crate) async fn open(file: &Path, redis: &str) -> Result<Self> {
        let options = SqliteConnectOptions::new().filename(file).create_if_missing(true);
        let pool = SqlitePool::connect_with(options.journal_mode(SqliteJournalMode::Wal)).await?;
        query(TABLE).execute(&pool).await?;
        Ok(Self { pool, store: RedisStore::connect(redis::Client::open(redis)?).await? })
    }
}

impl Books for BesideBooks {
    type Store = RedisStore;

    fn store(&self) -> &RedisStore {
        &self.store
    }

    /// The layer completes the claim, once the handler has answered.
    async fn book(&self, claim: &Claim, payment: &Payment, _answer: &Response<Bytes>) -> Result<()> {
        let insert = query(INSERT).bind(claim.derive_key("payment")).bind(&payment.invoice);
        insert.bind(&payment.creditor).bind(payment.amount).execute(&self.pool).await?;
        Ok(())
    }

    async fn paid(&self) -> Result<Vec<Payment>> {
        Ok(query_as(SELECT).fetch_all(&self.pool).await?.into_iter().map(payment).collect())
    }
}
