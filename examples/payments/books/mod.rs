//! Where payments are kept, and their keys.

pub(crate) mod beside;
pub(crate) mod postgres;
pub(crate) mod sqlite;

use anyhow::Result;
use bytes::Bytes;
use http::Response;
use moneta_resilience::idempotency::{Claim, Store};

use crate::payment::Payment;

/// What the service asks of its books.
pub(crate) trait Books: Clone + Send + Sync + 'static {
    type Store: Store + Clone;

    /// Where the keys are.
    fn store(&self) -> &Self::Store;

    /// Makes a payment, for which the caller gets `answer`. When it fails nothing was paid, or it can be asked again and pays nothing
    /// more.
    fn book(
        &self,
        claim: &Claim,
        payment: &Payment,
        answer: &Response<Bytes>,
    ) -> impl Future<Output = Result<()>> + Send;

    /// All that was paid, in that order.
    fn paid(&self) -> impl Future<Output = Result<Vec<Payment>>> + Send;
}

/// A row of the books.
type Row = (String, String, i64);

fn payment((invoice, creditor, amount): Row) -> Payment {
    Payment { invoice, creditor, amount }
}
