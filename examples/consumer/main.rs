//! A worker for the messages of a queue: a template.
//!
//! ```text
//! cargo run --example consumer --features redis
//! cargo run --example consumer --features redis -- --redis redis://localhost
//! ```
//!
//! Without a server the queue is one inside the process. Three invoices come, one of them three times, and one that nobody can
//! handle. Each is paid once, and what cannot be handled is set aside. It ends with an error where that is not so.
#![expect(clippy::print_stdout, reason = "an example talks to its reader")]

mod queue;
mod stream;

use std::{
    collections::BTreeMap,
    env,
    future::{Ready, ready},
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use anyhow::{Context, Result, ensure};
use moneta_resilience::{
    BoxError, golden,
    idempotency::{MemoryStore, RedisStore, Store},
    messaging::{Delivery, NotExecuted},
};
use tokio::{
    sync::watch,
    task::JoinSet,
    time::{sleep, timeout},
};
use tower::service_fn;

use self::{
    queue::{Local, Queue},
    stream::{Message, Stream},
};

/// How many messages are under way at once.
const AT_ONCE: usize = 16;
const TIMEOUT: Duration = Duration::from_secs(2);

/// What came of it.
#[derive(Clone)]
struct Books {
    /// How often each invoice was paid.
    paid: Arc<Mutex<BTreeMap<String, u32>>>,
    /// How many messages are off the queue.
    settled: watch::Sender<usize>,
}

#[tokio::main]
async fn main() -> Result<()> {
    let books = Books { paid: Arc::default(), settled: watch::Sender::new(0) };
    let mut arguments = env::args().skip(1);
    let aside = match (arguments.next().as_deref(), arguments.next()) {
        (Some("--redis"), Some(url)) => over_redis(&url, &books).await?,
        _ => in_process(&books).await?,
    };
    let paid = books.paid.lock().unwrap_or_else(PoisonError::into_inner);
    println!("paid:      {paid:?}");
    println!("set aside: {aside:?}");
    ensure!(paid.len() == 3 && paid.values().all(|&times| times == 1), "each invoice is paid once");
    ensure!(aside.len() == 1 && aside[0].0 == "invoice-4", "what cannot be handled is set aside");
    Ok(())
}

const MESSAGES: [(&str, &str); 6] = [
    ("invoice-1", "100"),
    ("invoice-2", "250"),
    ("invoice-1", "100"), // the producer got no answer, and sent it again
    ("invoice-3", "75"),
    ("invoice-4", "a hundred"),
    ("invoice-1", "100"),
];

async fn in_process(books: &Books) -> Result<Vec<(String, String)>> {
    let queue = Local::default();
    for (id, body) in MESSAGES {
        queue.publish(id, body);
    }
    run(queue.clone(), MemoryStore::new(), books).await?;
    Ok(queue.aside())
}

async fn over_redis(url: &str, books: &Books) -> Result<Vec<(String, String)>> {
    let client = redis::Client::open(url)?;
    // Of its own for each run, so that it can be run again.
    let name = format!("invoices-{}", std::process::id());
    let queue = Stream::open(&client, &name, "worker-1", 2 * TIMEOUT).await?;
    for (id, body) in MESSAGES {
        queue.publish(id, body).await?;
    }
    let store = RedisStore::connect(client).await?.prefix(&name);
    run(queue.clone(), store, books).await?;
    Ok(queue.aside().await?)
}

/// Works until the messages of this example are off the queue; a service waits for SIGTERM instead.
async fn run<Q: Queue, St: Store>(queue: Q, store: St, books: &Books) -> Result<()> {
    let (stop, stopped) = watch::channel(false);
    let worker = tokio::spawn(work(queue, store, books.clone(), stopped));
    let mut settled = books.settled.subscribe();
    let all = settled.wait_for(|&settled| settled == MESSAGES.len());
    timeout(Duration::from_secs(30), all).await.context("some messages are still on the queue")??;
    stop.send_replace(true);
    Ok(worker.await?)
}

async fn work<Q: Queue, St: Store>(queue: Q, store: St, books: Books, mut stop: watch::Receiver<bool>) {
    let dead_letters = queue.clone();
    let worker = golden::consumer("invoices")
        .timeout(TIMEOUT)
        .idempotency(store, |message: &Message| message.id.clone())
        .max_deliveries(5, |message| message.deliveries)
        .redeliver_after(Duration::from_millis(200))
        .dead_letter(move |message, why| {
            let queue = dead_letters.clone();
            async move { queue.set_aside(message, why.as_str()).await }
        })
        .service({
            let books = books.clone();
            service_fn(move |message| pay(books.clone(), message))
        });

    let mut under_way = JoinSet::new();
    while !*stop.borrow() {
        if under_way.len() == AT_ONCE {
            tokio::select! {
                _ = stop.changed() => {}
                _ = under_way.join_next() => {}
            }
            continue;
        }
        while under_way.try_join_next().is_some() {}
        // Not raced with anything: whoever drops it may drop messages that the queue has counted as delivered by then.
        match queue.receive(AT_ONCE - under_way.len()).await {
            Ok(messages) => {
                for message in messages {
                    let (queue, worker, settled) = (queue.clone(), worker.clone(), books.settled.clone());
                    under_way.spawn(async move {
                        match worker.deliver(message.clone()).await {
                            Delivery::Nack { after } => queue.give_back(message, after).await,
                            // If the queue does not hear of it, the message comes again and is acknowledged then.
                            _ => {
                                if queue.acknowledge(&message).await.is_ok() {
                                    settled.send_modify(|settled| *settled += 1);
                                }
                            }
                        }
                    });
                }
            }
            // The queue is down. It would be asked in vain, without end.
            Err(_) => sleep(Duration::from_secs(1)).await,
        }
    }
    while under_way.join_next().await.is_some() {}
    worker.handle().drain().await;
}

async fn pay(books: Books, invoice: Message) -> Result<(), BoxError> {
    let _cents: u64 = invoice.body.parse()?;
    // Nothing was done so far: without a connection to the bank it would be tried again.
    connect().await.map_err(NotExecuted::new)?;
    *books.paid.lock().unwrap_or_else(PoisonError::into_inner).entry(invoice.id).or_default() += 1;
    Ok(())
}

/// To the bank.
fn connect() -> Ready<Result<(), BoxError>> {
    ready(Ok(()))
}
