//! What the books must say.

use std::{collections::HashMap, convert::Infallible, future::pending};

use moneta_resilience::idempotency::{Store, Verdict, http::KeptAnswer};
use tokio::time::sleep;

use crate::{
    Course, LEASE,
    books::Books,
    clients::Clients,
    ledger::{BEGUN, FENCED, Way, receipt},
};

/// The operator of payments that are in one transaction with their keys: those in doubt are not in the books, and free again.
pub(crate) async fn reconcile_on_the_way<B: Books>(books: &B, way: Way) -> Infallible {
    if way != Way::OneTransaction {
        return pending().await;
    }
    let store = books.store();
    loop {
        sleep(LEASE / 2).await;
        // The database may be down.
        for doubt in store.in_doubt(100).await.unwrap_or_default() {
            let Ok(paid) = books.paid(doubt.id).await else { continue };
            let free = store.reconcile(doubt.id, doubt.fence, Verdict::Absent).await.is_ok();
            // It may have come to its end since its lease was over, and is fenced then.
            assert!(paid.is_none() || !free, "{doubt:?} was paid, and its key was not done");
        }
    }
}

/// The operator of payments that are not: who wrote may do so as long as it lives, so all processes must be dead. Says how many
/// were in doubt.
pub(crate) async fn reconcile<B: Books>(books: &B) -> usize {
    let (store, mut reconciled) = (books.store(), 0);
    // By then all leases are over.
    sleep(LEASE * 3 / 2).await;
    loop {
        let doubts = store.in_doubt(100).await.unwrap();
        if doubts.is_empty() {
            return reconciled;
        }
        for doubt in doubts {
            let verdict = match books.paid(doubt.id).await.unwrap() {
                Some(number) => Verdict::Done {
                    outcome: KeptAnswer::of(&receipt(number)).into(),
                    retention: LEASE * 3600,
                },
                None => Verdict::Absent,
            };
            store.reconcile(doubt.id, doubt.fence, verdict).await.unwrap();
            reconciled += 1;
        }
    }
}

/// Holds the books against what clients were told; says what was seen.
pub(crate) async fn of<B: Books>(
    course: &Course,
    books: &B,
    clients: &Clients<'_>,
    in_doubt: usize,
) -> String {
    let (entries, runs, fenced) =
        (books.entries().await, books.notes(BEGUN).await, books.notes(FENCED).await);
    let mut payments: HashMap<&str, Vec<i64>> = HashMap::new();
    for entry in &entries {
        payments.entry(&entry.payment).or_default().push(entry.number);
    }
    let twice = payments.values().filter(|numbers| numbers.len() > 1).count();
    let seen = format!(
        "{} payments in {runs} runs, {twice} paid twice, {fenced} runs fenced, {in_doubt} in doubt at the end",
        course.payments
    );
    if course.way == Way::ManyStarts {
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
    // And something has happened.
    match course.way {
        Way::OneTransaction => {
            assert!(usize::try_from(runs).unwrap() > course.payments, "no run was cut off: {seen}");
            let takes_over = course.pauses > 0 && course.processes > 1;
            assert!(fenced > 0 || !takes_over, "nobody who had lost its claim wanted to write: {seen}");
        }
        _ => assert!(in_doubt > 0, "{seen}"),
    }
    seen
}
