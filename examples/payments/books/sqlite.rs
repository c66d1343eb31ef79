//! `SQLite`: payments and keys in one database.

use std::path::Path;

use anyhow::Result;
use bytes::Bytes;
use http::Response;
use moneta_resilience::idempotency::{Claim, SqliteStore, http::KeptAnswer};
use sqlx::{
    SqlitePool, query, query_as,
    sqlite::{SqliteConnectOptions, SqliteJournalMode},
};

use super::{Books, payment};
use crate::payment::Payment;

const TABLE: &str = "
CREATE TABLE IF NOT EXISTS payments (
    id INTEGER PRIMARY KEY AUTOINCREMENT, invoice TEXT NOT NULL, creditor TEXT NOT NULL, amount BIGINT NOT NULL
)";
const INSERT: &str = "INSERT INTO payments (invoice, creditor, amount) VALUES ($1, $2, $3)";
const SELECT: &str = "SELECT invoice, creditor, amount FROM payments ORDER BY id";

#[derive(Clone)]
pub(crate) struct SqliteBooks {
    pool: SqlitePool,
    store: SqliteStore,
}

impl SqliteBooks {
    pub(crate) async fn open(file: &Path) -> Result<Self> {
        let options = SqliteConnectOptions::new().filename(file).create_if_missing(true);
        let pool = SqlitePool::connect_with(options.journal_mode(SqliteJournalMode::Wal)).await?;
        query(TABLE).execute(&pool).await?;
        let store = SqliteStore::new(pool.clone());
        store.migrate().await?;
        Ok(Self { pool, store })
    }
}

impl Books for SqliteBooks {
    type Store = SqliteStore;

    fn store(&self) -> &SqliteStore {
        &self.store
    }

    async fn book(&self, claim: &Claim, payment: &Payment, answer: &Response<Bytes>) -> Result<()> {
        // As late as can be: nobody else writes until it ends.
        let mut tx = self.store.begin().await?;
        let insert = query(INSERT).bind(&payment.invoice).bind(&payment.creditor).bind(payment.amount);
        insert.execute(&mut *tx).await?;
        // Fails when the claim is lost; `tx` is rolled back then.
        claim.complete_in(&self.store, &mut *tx, KeptAnswer::of(answer)).await?;
        tx.commit().await?;
        Ok(())
    }

    async fn paid(&self) -> Result<Vec<Payment>> {
        Ok(query_as(SELECT).fetch_all(&self.pool).await?.into_iter().map(payment).collect())
    }
}
