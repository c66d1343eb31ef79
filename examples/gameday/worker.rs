//! The worker that pays what the queue says, on the golden path: what comes twice is paid once, and what cannot be read is set
//! aside.

use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use anyhow::Result;
use moneta_resilience::{
    BoxError,
    golden::{self, Handle},
    idempotency::MemoryStore,
    messaging::Delivery,
};
use tokio::time::{MissedTickBehavior, interval, sleep};
use tower::service_fn;

use crate::queue::{Message, Queue};

/// What a payment comes to.
const CENTS: u64 = 2_500;
const PER_SECOND: u64 = 20;

/// What came of the messages.
#[derive(Clone, Debug, Default)]
pub(crate) struct Books {
    entries: Arc<Mutex<Entries>>,
}

#[derive(Clone, Debug, Default)]
pub(crate) struct Entries {
    pub(crate) published: u64,
    /// How often each payment was made.
    pub(crate) paid: BTreeMap<String, u32>,
    /// What is for somebody to look at.
    pub(crate) aside: Vec<String>,
}

impl Entries {
    /// Whether each payment was made once, or was set aside; those of the last second may be under way.
    pub(crate) fn balance(&self) -> Result<(), BoxError> {
        if let Some((id, times)) = self.paid.iter().find(|&(_, &times)| times > 1) {
            return Err(format!("payment {id} was made {times} times").into());
        }
        let missing = self.published.saturating_sub((self.paid.len() + self.aside.len()) as u64);
        if missing > PER_SECOND { Err(format!("{missing} payments are not made").into()) } else { Ok(()) }
    }
}

impl Books {
    pub(crate) fn read(&self) -> Entries {
        self.with(|entries| entries.clone())
    }

    fn with<T>(&self, then: impl FnOnce(&mut Entries) -> T) -> T {
        then(&mut self.entries.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

/// The worker at work: what is paid stands in the books.
#[derive(Clone, Debug)]
pub(crate) struct Worker {
    pub(crate) handle: Handle,
    pub(crate) books: Books,
}

/// Starts a producer of twenty payments a second, and the worker.
pub(crate) fn start(queue: &Queue) -> Worker {
    let books = Books::default();
    let (paying, setting_aside) = (books.clone(), books.clone());
    let worker = golden::consumer("payments")
        .timeout(Duration::from_secs(1))
        .idempotency(MemoryStore::new(), |message: &Message| message.id.clone())
        .max_deliveries(3, |message| message.deliveries)
        .dead_letter(move |message, why| {
            setting_aside.with(|entries| entries.aside.push(format!("{}: {}", message.id, why.as_str())));
            async { Ok::<_, BoxError>(()) }
        })
        .service(service_fn(move |message: Message| {
            let paying = paying.clone();
            async move { pay(&paying, message) }
        }));
    let handle = worker.handle().clone();
    tokio::spawn(produce(queue.clone(), books.clone()));
    let queue = queue.clone();
    tokio::spawn(async move {
        loop {
            match queue.receive().await {
                Ok(Some(message)) => match worker.deliver(message.clone()).await {
                    Delivery::Nack { .. } => queue.give_back(&message.id).await.unwrap_or_default(),
                    _ => queue.acknowledge(&message.id).await.unwrap_or_default(),
                },
                _ => sleep(Duration::from_millis(10)).await,
            }
        }
    });
    Worker { handle, books }
}

async fn produce(queue: Queue, books: Books) -> Result<()> {
    let mut ticks = interval(Duration::from_secs(1) / 20);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    for id in 0.. {
        ticks.tick().await;
        queue.publish(id, CENTS).await?;
        books.with(|entries| entries.published += 1);
    }
    Ok(())
}

fn pay(books: &Books, payment: Message) -> Result<(), BoxError> {
    let _cents: u64 = payment.body.parse()?;
    books.with(|entries| *entries.paid.entry(payment.id).or_default() += 1);
    Ok(())
}
