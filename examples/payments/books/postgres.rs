//! Postgres: payments and keys in one database.

use std::time::Duration;

use anyhow::Result;
use bytes::Bytes;
use http::Response;
use moneta_resilience::idempotency::{Claim, PostgresStore, http::KeptAnswer};
use sqlx::{PgPool, postgres::PgPoolOptions, query, query_as};

use super::{Books, payment};
use crate::payment::Payment;

const TABLE: &str = "
CREATE TABLE IF NOT EXISTS payments (
    id BIGINT GENERATED ALWAYS AS IDENTITY PRIMARY KEY, invoice TEXT NOT NULL, creditor TEXT NOT NULL, amount BIGINT NOT NULL
)";
const INSERT: &str = "INSERT INTO payments (invoice, creditor, amount) VALUES ($1, $2, $3)";
const SELECT: &str = "SELECT invoice, creditor, amount FROM payments ORDER BY id";

#[derive(Clone)]
pub(crate) struct PostgresBooks {
    pool: PgPool,
    store: PostgresStore,
}

impl PostgresBooks {
    pub(crate) async fn connect(url: &str) -> Result<Self> {
        // A pool that makes its callers wait for longer than they have helps nobody.
        let pool = PgPoolOptions::new().acquire_timeout(Duration::from_secs(1)).connect(url).await?;
        query(TABLE).execute(&pool).await?;
        let store = PostgresStore::new(pool.clone());
        store.migrate().await?;
        Ok(Self { pool, store })
    }
}

impl Books for PostgresBooks {
    type Store = PostgresStore;

    fn store(&self) -> &PostgresStore {
        &self.store
    }

    async fn book(&self, claim: &Claim, payment: &Payment, answer: &Response<Bytes>) -> Result<()> {
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
