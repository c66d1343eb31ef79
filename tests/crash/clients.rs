//! Those who pay: each keeps its key and comes again with it until there is an answer.

use std::{sync::OnceLock, time::Duration};

use bytes::Bytes;
use futures::{StreamExt, future::join_all, stream};
use http::StatusCode;
use tokio::{sync::watch, time::sleep};

use crate::{LEASE, chance::Chance, ledger::Way, processes::Processes};

/// How many pay at once.
const MANY: usize = 24;

/// What a client hears of its payment in the end.
#[derive(Debug)]
enum Told {
    Paid {
        replayed: bool,
    },
    /// Nobody knows.
    Unknown,
}

pub(crate) struct Clients<'a> {
    processes: &'a Processes,
    chance: &'a Chance,
    way: Way,
    http: reqwest::Client,
    receipts: Vec<OnceLock<Bytes>>,
    answered: watch::Sender<usize>,
}

impl<'a> Clients<'a> {
    pub(crate) fn new(processes: &'a Processes, chance: &'a Chance, way: Way, payments: usize) -> Self {
        Self {
            processes,
            chance,
            way,
            http: reqwest::Client::new(),
            receipts: (0..payments).map(|_| OnceLock::new()).collect(),
            answered: watch::Sender::new(0),
        }
    }

    /// Waits until so many payments are answered.
    pub(crate) async fn have(&self, answered: usize) {
        _ = self.answered.subscribe().wait_for(|&now| now >= answered).await;
    }

    pub(crate) fn answered(&self) -> usize {
        *self.answered.borrow()
    }

    /// The first answer to each payment.
    pub(crate) fn receipts(&self) -> impl Iterator<Item = &Bytes> {
        self.receipts.iter().map(|receipt| receipt.get().expect("it was answered"))
    }

    /// Makes all payments, some of them twice at once.
    pub(crate) async fn pay(&self) {
        let pay = async |payment| {
            let at_once = if self.chance.percent(10) { 2 } else { 1 };
            join_all((0..at_once).map(|_| self.ask_until_answered(payment))).await;
            self.answered.send_modify(|answered| *answered += 1);
        };
        stream::iter(0..self.receipts.len()).for_each_concurrent(MANY, pay).await;
    }

    /// Asks for all payments once more, which makes those that were not made.
    pub(crate) async fn ask_again(&self) {
        let ask = async |payment: usize| {
            let paid = self.receipts[payment].get().is_some();
            let told = self.ask_until_answered(payment).await;
            assert!(matches!(told, Told::Paid { replayed } if replayed || !paid), "{payment}: {told:?}");
        };
        stream::iter(0..self.receipts.len()).for_each_concurrent(MANY, ask).await;
    }

    async fn ask_until_answered(&self, payment: usize) -> Told {
        loop {
            // Some lose their patience while the payment is made.
            let patience = if self.chance.percent(10) { self.chance.up_to(LEASE / 20) } else { LEASE };
            match self.ask(payment, patience).await {
                Some(Told::Unknown) if self.way != Way::OneStart => {}
                Some(told) => return told,
                None => {}
            }
            sleep(Duration::from_millis(20) + self.chance.up_to(LEASE / 20)).await;
        }
    }

    async fn ask(&self, payment: usize, patience: Duration) -> Option<Told> {
        let process = self.processes.nth(self.chance.below(self.processes.many()));
        let _asks = process.ask();
        let request = self
            .http
            .post(format!("http://127.0.0.1:{}/payments", process.port()))
            .header("idempotency-key", format!("payment-{payment}"))
            .body(payment.to_string())
            .timeout(patience);
        // The connection was refused, or lost; or nothing came of it in time.
        let answer = request.send().await.ok()?;
        let (status, headers) = (answer.status(), answer.headers().clone());
        let body = answer.bytes().await.ok()?;
        let says = |word: &str| body.windows(word.len()).any(|part| part == word.as_bytes());
        match status {
            StatusCode::CREATED => {}
            StatusCode::SERVICE_UNAVAILABLE | StatusCode::GATEWAY_TIMEOUT => return None,
            StatusCode::CONFLICT if says("idempotency-in-progress") => return None,
            // The ledger did not know what came of its transaction.
            StatusCode::INTERNAL_SERVER_ERROR if self.way == Way::OneStart => return None,
            StatusCode::CONFLICT if says("outcome-unknown") => return Some(Told::Unknown),
            other => panic!("payment {payment}: {other} {body:?}"),
        }
        assert_eq!(headers["content-type"], "text/plain");
        let first = self.receipts[payment].get_or_init(|| body.clone());
        if self.way != Way::ManyStarts {
            assert_eq!(*first, body, "payment {payment} has two answers");
        }
        Some(Told::Paid { replayed: headers.contains_key("idempotent-replayed") })
    }
}
