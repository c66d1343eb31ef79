use std::fmt;

use bytes::Bytes;
use serde_json::{Value, json};

/// What is to be paid, and what was paid.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Payment {
    pub(crate) invoice: String,
    pub(crate) creditor: String,
    /// In cents of a franc.
    pub(crate) amount: i64,
}

impl Payment {
    /// The payment that a request asks for.
    pub(crate) fn from_json(body: &[u8]) -> Option<Self> {
        let payment: Value = serde_json::from_slice(body).ok()?;
        let text = |field| Some(payment.get(field)?.as_str()?.to_owned());
        let amount = payment.get("amount")?.as_i64().filter(|&amount| amount > 0)?;
        Some(Self { invoice: text("invoice")?, creditor: text("creditor")?, amount })
    }

    pub(crate) fn to_json(&self) -> Bytes {
        let Self { invoice, creditor, amount } = self;
        json!({"invoice": invoice, "creditor": creditor, "amount": amount}).to_string().into()
    }
}

impl fmt::Display for Payment {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "CHF {}.{:02} to {}", self.amount / 100, self.amount % 100, self.creditor)
    }
}
