//! Over Redis Streams, on a real server, with the queue of `examples/consumer`.

#[path = "../../../examples/consumer/stream.rs"]
#[expect(dead_code, reason = "the worker of the example asks for more")]
mod stream;

use std::{
    collections::HashMap,
    env,
    future::pending,
    sync::{
        Arc, Mutex,
        atomic::{AtomicU32, Ordering},
    },
    time::Duration,
};

use futures::future::join_all;
use moneta_resilience::{
    BoxError, Registry,
    golden::{self, ConsumerBuilder, DeadLetterTo, Limit},
    idempotency::{IdempotencyLayer, Owner, RedisStore},
    messaging::{Delivery, Messages},
};
use redis::{Client, Value, cmd, from_redis_value_ref};
use tokio::runtime;
use tower::service_fn;

use self::stream::{Message, Stream};
use super::LIMIT;

/// A queue and a store of its own for each test.
struct Queue {
    client: Client,
    name: String,
}

type Worker =
    ConsumerBuilder<Message, Limit, DeadLetterTo<Message>, IdempotencyLayer<RedisStore, Messages<Message>>>;

impl Queue {
    fn new() -> Self {
        let url = env::var("MONETA_REDIS_URL")
            .expect("a server is needed: run the tests through tests/servers.sh, or set MONETA_REDIS_URL");
        let name = format!("test-{:032x}", Owner::random().as_u128());
        Self { client: Client::open(url).unwrap(), name }
    }

    /// The view of a worker, who is given at once what another has not acknowledged.
    async fn of(&self, worker: &str) -> Stream {
        Stream::open(&self.client, &self.name, worker, Duration::ZERO).await.unwrap()
    }

    /// How many messages are neither off the queue nor set aside.
    async fn left(&self) -> u64 {
        let mut connection = self.client.get_multiplexed_async_connection().await.unwrap();
        let groups: Vec<HashMap<String, Value>> =
            cmd("XINFO").arg(&["GROUPS", &self.name]).query_async(&mut connection).await.unwrap();
        let count = |name| from_redis_value_ref::<u64>(&groups[0][name]).unwrap();
        count("pending") + count("lag")
    }

    /// A worker with a lease of its own.
    async fn worker(&self, stream: &Stream, lease: Duration) -> Worker {
        let store = RedisStore::connect(self.client.clone()).await.unwrap().prefix(&self.name);
        let keys = IdempotencyLayer::messages(store, |message: &Message| message.id.clone()).lease(lease);
        let aside = stream.clone();
        golden::consumer("invoices")
            .registry(&Registry::new())
            .timeout(LIMIT)
            .dead_letter(move |message, why| {
                let aside = aside.clone();
                async move { aside.set_aside(message, why.as_str()).await }
            })
            .idempotency_layer(keys)
    }
}

/// Delivers what comes until nothing is left on the queue.
async fn work<F>(queue: &Queue, stream: &Stream, deliver: impl Fn(Message) -> F) -> Vec<Delivery>
where
    F: Future<Output = Delivery>,
{
    let mut deliveries = Vec::new();
    while queue.left().await > 0 {
        let messages = stream.receive(10).await.unwrap();
        let ends = join_all(messages.iter().map(|message| deliver(message.clone()))).await;
        for (message, delivery) in messages.iter().zip(ends) {
            if delivery.is_settled() {
                stream.acknowledge(message).await.unwrap();
            }
            deliveries.push(delivery);
        }
    }
    deliveries
}

const LEASE: Duration = Duration::from_secs(60);

#[tokio::test]
async fn copies_of_a_message_have_one_effect_also_between_two_workers() {
    let queue = Queue::new();
    let (first, second) = (queue.of("worker-1").await, queue.of("worker-2").await);
    for n in 0..40 {
        first.publish(&format!("invoice-{}", n % 4), "100").await.unwrap();
    }
    let paid = Arc::new(Mutex::new(Vec::new()));
    let books = Arc::clone(&paid);
    let handler = service_fn(move |invoice: Message| {
        books.lock().unwrap().push(invoice.id);
        async {
            tokio::task::yield_now().await;
            Ok::<_, BoxError>(())
        }
    });
    let a = queue.worker(&first, LEASE).await.service(handler.clone());
    let b = queue.worker(&second, LEASE).await.service(handler);
    let (first_ends, second_ends) = tokio::join!(
        work(&queue, &first, |message| a.deliver(message)),
        work(&queue, &second, |message| b.deliver(message))
    );
    let settled =
        [first_ends, second_ends].concat().into_iter().filter(|end| end.is_settled()).collect::<Vec<_>>();
    assert!(settled.len() >= 40 && settled.iter().all(|&end| end == Delivery::Ack), "{settled:?}");
    let mut paid = paid.lock().unwrap().clone();
    paid.sort();
    assert_eq!(paid, ["invoice-0", "invoice-1", "invoice-2", "invoice-3"]);
    assert_eq!(first.aside().await.unwrap(), []);
}

/// Has a worker take the only message and die while it handles it: its whole runtime ends.
fn dies_with_it(queue: &Queue, repeatable: bool) {
    let runtime = runtime::Builder::new_current_thread().enable_all().build().unwrap();
    runtime.block_on(async {
        let stream = queue.of("worker-1").await;
        stream.publish("invoice-1", "100").await.unwrap();
        let worker = queue.worker(&stream, Duration::from_millis(300)).await;
        let worker = if repeatable { worker.repeatable() } else { worker };
        let (begun, mut seen) = tokio::sync::mpsc::unbounded_channel();
        let worker = worker.service(service_fn(move |_: Message| {
            begun.send(()).unwrap();
            pending::<Result<(), BoxError>>()
        }));
        let message = stream.receive(1).await.unwrap().remove(0);
        tokio::select! {
            delivery = worker.deliver(message) => panic!("it hangs: {delivery:?}"),
            begun = seen.recv() => begun.unwrap(),
        }
    });
    runtime.shutdown_background();
}

/// What another worker comes to, how often it ran the handler, and what was set aside.
async fn afterwards(queue: &Queue, repeatable: bool) -> (Delivery, u32, Vec<(String, String)>) {
    let stream = queue.of("worker-2").await;
    let worker = queue.worker(&stream, Duration::from_millis(300)).await;
    let worker = if repeatable { worker.repeatable() } else { worker };
    let runs = Arc::new(AtomicU32::new(0));
    let counted = Arc::clone(&runs);
    let worker = worker.service(service_fn(move |_: Message| {
        counted.fetch_add(1, Ordering::Relaxed);
        async { Ok::<_, BoxError>(()) }
    }));
    let deliveries = work(queue, &stream, |message| worker.deliver(message)).await;
    let last = *deliveries.last().unwrap();
    assert!(deliveries[..deliveries.len() - 1].iter().all(|end| !end.is_settled()), "{deliveries:?}");
    (last, runs.load(Ordering::Relaxed), stream.aside().await.unwrap())
}

async fn after_a_death(repeatable: bool) -> (Delivery, u32, Vec<(String, String)>) {
    let queue = Arc::new(Queue::new());
    let dying = Arc::clone(&queue);
    tokio::task::spawn_blocking(move || dies_with_it(&dying, repeatable)).await.unwrap();
    afterwards(&queue, repeatable).await
}

#[tokio::test]
async fn a_message_whose_worker_died_is_claimed_by_another_and_parked() {
    let aside = [("invoice-1".to_owned(), "in_doubt".to_owned())];
    assert_eq!(after_a_death(false).await, (Delivery::Parked, 0, aside.to_vec()));
}

#[tokio::test]
async fn a_message_whose_worker_died_is_claimed_by_another_and_run_again_if_that_does_no_harm() {
    assert_eq!(after_a_death(true).await, (Delivery::Ack, 1, vec![]));
}

#[tokio::test]
async fn poison_goes_to_the_dead_letter_once_and_holds_up_nobody() {
    let queue = Queue::new();
    let stream = queue.of("worker-1").await;
    for (id, body) in
        [("invoice-1", "a hundred"), ("invoice-2", "100"), ("invoice-1", "a hundred"), ("invoice-3", "panic")]
    {
        stream.publish(id, body).await.unwrap();
    }
    let paid = Arc::new(AtomicU32::new(0));
    let books = Arc::clone(&paid);
    let worker = queue.worker(&stream, LEASE).await.service(service_fn(move |invoice: Message| {
        let books = Arc::clone(&books);
        async move {
            assert!(invoice.body != "panic", "it is poison");
            let cents: u32 = invoice.body.parse()?;
            books.fetch_add(cents, Ordering::Relaxed);
            Ok::<_, BoxError>(())
        }
    }));
    work(&queue, &stream, |message| worker.deliver(message)).await;
    assert_eq!(paid.load(Ordering::Relaxed), 100);
    let mut aside = stream.aside().await.unwrap();
    aside.sort();
    let told = |id: &str, why: &str| (id.to_owned(), why.to_owned());
    assert_eq!(aside, [told("invoice-1", "failed"), told("invoice-3", "panic")]);
}
