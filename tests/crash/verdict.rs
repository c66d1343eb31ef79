//! What the books must say.

use std::{collections::HashMap, convert::Infallible, future::pending};

use moneta_resilience::idempotency::{Store, Verdict};
use tokio::time::sleep;

use crate::{
    Course, LEASE,
    books::Books,
    clients::Clients,
    ledger::{BEGUN, FENCED, Way, receipt},
};

/// The operator: looks for keys in doubt, and into the books, and gives free what was not paid.
///
/// That is certain where both are written together, and only there.
pub(crate) async fn reconcile<B: Books>(books: &B, way: Way) -> Infallible {
    if way == Way::TwoSteps {
        return pending().await;
    }
    let store = books.store();
    loop {
        sleep(LEASE / 2).await;
        // The database may be down.
        for doubt in store.in_doubt(100).await.unwrap_or_default() {
            let Ok(paid) = books.is_paid(doubt.id).await else { continue };
            let verdict = store.reconcile(doubt.id, doubt.fence, Verdict::Absent).await;
            // Its lease was over when it was listed, and it has come to its end since.
            assert!(!(paid && verdict.is_ok()), "{doubt:?} was paid, and its key not done");
        }
    }
}

/// Holds the books against what clients were told; says what was seen.
pub(crate) async fn of<B: Books>(course: &Course, books: &B, clients: &Clients<'_>) -> String {
    let (entries, runs, fenced) =
        (books.entries().await, books.notes(BEGUN).await, books.notes(FENCED).await);
    let mut payments: HashMap<&str, Vec<i64>> = HashMap::new();
    for entry in &entries {
        payments.entry(&entry.payment).or_default().push(entry.number);
    }
    let twice = payments.values().filter(|numbers| numbers.len() > 1).count();
    let seen =
        format!("{} payments in {runs} runs, {twice} paid twice, {fenced} runs fenced", course.payments);
    if course.way == Way::TwoSteps {
        assert!(twice > 0, "nothing that was done here makes anybody pay twice: {seen}");
        return seen;
    }

    assert_eq!(twice, 0, "{seen}");
    assert_eq!(entries.len(), course.payments, "{seen}");
    for (payment, told) in clients.receipts().enumerate() {
        let numbers = payments.get(&*payment.to_string()).expect("who was answered has paid");
        assert_eq!(told, receipt(numbers[0]).body(), "payment {payment}");
    }
    let records = books.records().await;
    let records: HashMap<_, _> = records.iter().map(|record| (&record.id, record)).collect();
    for entry in &entries {
        let record = records.get(&entry.id).expect("no payment is without its key");
        assert_eq!((record.fence, &*record.state), (entry.fence, "done"), "payment {}", entry.payment);
    }
    // Something has happened: runs were cut off, and runs that had lost their claim wanted to write.
    assert!(usize::try_from(runs).unwrap() > course.payments, "{seen}");
    assert!(fenced > 0 || course.pauses == 0 || course.processes == 1, "{seen}");
    seen
}
