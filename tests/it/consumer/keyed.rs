//! With keys: one effect of each message, however often it comes.

use std::{
    future::{pending, ready},
    sync::{
        Arc, Mutex,
        atomic::{AtomicU32, Ordering},
    },
    time::Duration,
};

use futures::{
    FutureExt as _,
    future::{BoxFuture, join_all},
};
use moneta_resilience::{
    BoxError, Deadline,
    bulkhead::BulkheadLayer,
    event::{FaultKind, Outcome},
    fault::Fault,
    golden::{self, ConsumerBuilder, DeadLetterTo, Limit},
    idempotency::{
        Ask, Claim, Fingerprint, Found, IdempotencyLayer, Identity, LeaseOver, MemoryStore, Owner, Store,
        Verdict,
    },
    messaging::{Delivery, Messages, NotExecuted},
};
use tokio::{
    sync::Notify,
    time::{Instant, advance, sleep},
};
use tower::{Service, service_fn};

use super::{Aside, LIMIT, Message, NACK, PAY, consumer};
use crate::idempotency::faulty::{Faulty, Mode, Transaction};

const PARKED: &str = "it is not known what came of an earlier delivery";

type Keys = IdempotencyLayer<Faulty, Messages<Message>>;
type Keyed = ConsumerBuilder<Message, Limit, DeadLetterTo<Message>, Keys>;

fn keys(store: &Faulty) -> Keys {
    IdempotencyLayer::messages(store.clone(), |message: &Message| message.id).meaning(|message| message.body)
}

/// A consumer with keys in that store.
fn keyed(store: &Faulty, aside: &Aside) -> Keyed {
    consumer(aside).idempotency_layer(keys(store))
}

/// How often a handler ran.
#[derive(Clone, Default)]
struct Runs(Arc<AtomicU32>);

impl Runs {
    fn count(&self) -> u32 {
        self.0.load(Ordering::Relaxed)
    }

    /// A handler that counts its runs and ends so.
    fn ending<F, E>(
        &self,
        end: E,
    ) -> impl Service<Message, Response = (), Error = BoxError, Future = F> + Clone + use<F, E>
    where
        F: Future<Output = Result<(), BoxError>>,
        E: Fn(u32) -> F + Clone,
    {
        let runs = self.clone();
        service_fn(move |_: Message| end(runs.0.fetch_add(1, Ordering::Relaxed) + 1))
    }
}

fn failed() -> BoxError {
    "no such account".into()
}

/// What a first delivery and a copy of the message come to, how often the handler ran, and what was set aside.
async fn twice<F>(
    build: impl FnOnce(Keyed) -> Keyed,
    end: impl Fn(u32) -> F + Clone + Send + Sync + 'static,
) -> ([Delivery; 2], u32, Vec<String>)
where
    F: Future<Output = Result<(), BoxError>> + Send + 'static,
{
    let (runs, aside) = (Runs::default(), Aside::default());
    let counted = runs.clone();
    let handler = service_fn(move |_: Message| end(counted.0.fetch_add(1, Ordering::Relaxed) + 1));
    let worker = build(keyed(&Faulty::new(), &aside)).service(handler);
    let deliveries = [worker.deliver(PAY).await, worker.deliver(PAY).await];
    (deliveries, runs.count(), aside.reasons())
}

#[tokio::test(start_paused = true)]
async fn a_copy_of_a_message_that_is_done_is_acknowledged_and_not_run() {
    let (deliveries, runs, aside) = twice(|it| it, |_| ready(Ok(()))).await;
    assert_eq!((deliveries, runs, aside), ([Delivery::Ack; 2], 1, vec![]));
}

#[tokio::test(start_paused = true)]
async fn a_message_that_was_dead_lettered_is_done() {
    let (deliveries, runs, aside) = twice(|it| it, |_| ready(Err(failed()))).await;
    assert_eq!((deliveries, runs), ([Delivery::DeadLettered, Delivery::Ack], 1));
    assert_eq!(aside, ["the handler failed: no such account"]);
}

#[tokio::test(start_paused = true)]
async fn a_handler_that_did_nothing_runs_again_when_its_message_comes_again() {
    let marked = |_| ready(Err(NotExecuted::new("no connection").into()));
    let (deliveries, runs, aside) = twice(Keyed::without_retry, marked).await;
    assert_eq!((deliveries, runs, aside), ([NACK; 2], 2, vec![]));
    let said = |run| async move {
        Claim::current().unwrap().not_executed();
        if run == 1 { Err(failed()) } else { Ok(()) }
    };
    let (deliveries, runs, aside) = twice(|it| it, said).await;
    assert_eq!((deliveries, runs, aside), ([NACK, Delivery::Ack], 2, vec![]));
    let passing = |run| ready(if run == 1 { Err(std::io::Error::other("reset").into()) } else { Ok(()) });
    let (deliveries, runs, aside) = twice(|it| it.repeatable().without_retry(), passing).await;
    assert_eq!((deliveries, runs, aside), ([NACK, Delivery::Ack], 2, vec![]));
}

#[tokio::test(start_paused = true)]
async fn that_the_first_run_of_a_delivery_did_nothing_says_nothing_of_the_second() {
    fn nothing_was_done() -> BoxError {
        Claim::current().unwrap().not_executed();
        NotExecuted::new("no connection").into()
    }
    let panics = |run| async move {
        assert!(run == 1, "it has acted");
        Err(nothing_was_done())
    };
    let (deliveries, runs, _) = twice(|it| it, panics).await;
    assert_eq!((deliveries, runs), ([Delivery::Parked; 2], 2));
    let fails = |run| async move { Err(if run == 1 { nothing_was_done() } else { failed() }) };
    let (deliveries, runs, _) = twice(|it| it, fails).await;
    assert_eq!((deliveries, runs), ([Delivery::DeadLettered, Delivery::Ack], 2));
    let acts = |run| async move { if run == 1 { Err(nothing_was_done()) } else { Ok(()) } };
    let (deliveries, runs, aside) = twice(|it| it, acts).await;
    assert_eq!((deliveries, runs, aside), ([Delivery::Ack; 2], 2, vec![]));
}

#[tokio::test(start_paused = true)]
async fn a_message_that_was_dead_lettered_is_done_also_where_its_handler_did_nothing() {
    let nothing_was_done = |_| async {
        Claim::current().unwrap().not_executed();
        Err(failed())
    };
    let last = |it: Keyed| it.max_deliveries(1, |message| message.deliveries);
    let (deliveries, runs, aside) = twice(last, nothing_was_done).await;
    assert_eq!((deliveries, runs, aside.len()), ([Delivery::DeadLettered, Delivery::Ack], 1, 1));
}

#[tokio::test(start_paused = true)]
async fn a_handler_that_panicked_is_never_run_again_by_itself() {
    async fn panics(_: u32) -> Result<(), BoxError> {
        panic!("it is poison")
    }
    let (deliveries, runs, aside) = twice(|it| it, panics).await;
    assert_eq!((deliveries, runs), ([Delivery::Parked; 2], 1));
    assert_eq!(aside, ["the handler panicked", PARKED]);
}

#[tokio::test(start_paused = true)]
async fn a_handler_that_is_cut_is_never_run_again_by_itself_unless_it_is_repeatable() {
    let hangs = |_| pending();
    let (deliveries, runs, aside) = twice(|it| it, hangs).await;
    assert_eq!((deliveries[1], runs), (Delivery::Parked, 1));
    assert_eq!(aside.last().unwrap(), PARKED);
    let (deliveries, runs, aside) = twice(Keyed::repeatable, hangs).await;
    assert_eq!((deliveries, runs, aside), ([NACK; 2], 2, vec![]));
}

#[tokio::test(start_paused = true)]
async fn copies_that_come_at_once_have_one_effect() {
    let (store, aside, runs) = (Faulty::new(), Aside::default(), Runs::default());
    let handler = runs.ending(|_| async {
        sleep(Duration::from_millis(10)).await;
        Ok(())
    });
    // Of two processes.
    let workers = [keyed(&store, &aside).service(handler.clone()), keyed(&store, &aside).service(handler)];
    let deliveries = join_all((0..100).map(|n| workers[n % 2].deliver(PAY))).await;
    assert_eq!(deliveries.iter().filter(|&&delivery| delivery == Delivery::Ack).count(), 1);
    assert_eq!(deliveries.iter().filter(|&&delivery| delivery == NACK).count(), 99);
    assert_eq!(workers[1].deliver(PAY).await, Delivery::Ack);
    assert_eq!((runs.count(), aside.reasons()), (1, vec![]));
}

#[tokio::test(start_paused = true)]
async fn a_key_of_another_message_is_not_run_and_without_a_meaning_there_is_none() {
    let (store, aside, runs) = (Faulty::new(), Aside::default(), Runs::default());
    let handler = runs.ending(|_| ready(Ok(())));
    let other = Message { body: "200 CHF", ..PAY };
    let worker = keyed(&store, &aside).service(handler.clone());
    assert_eq!(worker.deliver(PAY).await, Delivery::Ack);
    assert_eq!(worker.deliver(other.clone()).await, Delivery::DeadLettered);
    assert_eq!(aside.reasons(), ["another message was handled under this key"]);
    assert_eq!(worker.deliver(PAY).await, Delivery::Ack);
    let any = consumer(&aside).idempotency(Faulty::new(), |message: &Message| message.id).service(handler);
    assert_eq!([any.deliver(PAY).await, any.deliver(other).await], [Delivery::Ack; 2]);
    assert_eq!((runs.count(), aside.reasons().len()), (2, 1));
}

#[tokio::test(start_paused = true)]
async fn a_message_without_a_key_is_not_run() {
    let (aside, runs) = (Aside::default(), Runs::default());
    let worker = keyed(&Faulty::new(), &aside).service(runs.ending(|_| ready(Ok(()))));
    for _ in 0..2 {
        assert_eq!(worker.deliver(Message { id: "", ..PAY }).await, Delivery::DeadLettered);
    }
    assert_eq!((runs.count(), aside.reasons()), (0, vec!["the message has no key".to_owned(); 2]));
}

#[tokio::test(start_paused = true)]
async fn a_key_that_cannot_be_read_ends_in_a_delivery() {
    let aside = Aside::default();
    let worker = consumer(&aside)
        .idempotency(Faulty::new(), |message: &Message| -> &'static str {
            panic!("no key in {}", message.body)
        })
        .service(Runs::default().ending(|_| ready(Ok(()))));
    assert_eq!(worker.deliver(PAY).await, Delivery::Parked);
}

#[tokio::test(start_paused = true)]
async fn each_consumer_and_each_handler_of_one_has_keys_of_its_own() {
    let (store, aside, runs) = (Faulty::new(), Aside::default(), Runs::default());
    let handler = runs.ending(|_| ready(Ok(())));
    let first = keyed(&store, &aside).service(handler.clone());
    let second = consumer(&aside).idempotency_layer(keys(&store).handler("book")).service(handler.clone());
    let other = golden::consumer("receipts")
        .timeout(LIMIT)
        .dead_letter(|_: Message, _| ready(Ok::<_, BoxError>(())))
        .idempotency_layer(keys(&store))
        .service(handler);
    assert_eq!([first.deliver(PAY).await, second.deliver(PAY).await], [Delivery::Ack; 2]);
    assert_eq!((other.deliver(PAY).await, runs.count()), (Delivery::Ack, 3));
}

#[tokio::test(start_paused = true)]
async fn a_message_is_not_run_while_the_store_is_down_unless_that_is_said_aloud() {
    let (store, aside, runs) = (Faulty::new(), Aside::default(), Runs::default());
    let handler = runs.ending(|_| async {
        assert!(Claim::current().is_none());
        Ok(())
    });
    let worker = keyed(&store, &aside).service(handler.clone());
    for mode in [Mode::Down, Mode::Hangs, Mode::Deaf] {
        store.set(mode);
        assert_eq!((worker.deliver(PAY).await, runs.count()), (NACK, 0));
    }
    store.set(Mode::Down);
    let open = consumer(&aside).idempotency_layer(keys(&store).fail_open()).service(handler);
    assert_eq!((open.deliver(PAY).await, runs.count()), (Delivery::Ack, 1));
    assert_eq!(aside.reasons().len(), 0);
}

#[tokio::test(start_paused = true)]
async fn a_store_that_is_full_takes_no_new_message() {
    let (aside, runs) = (Aside::default(), Runs::default());
    let worker = consumer(&aside)
        .idempotency(MemoryStore::new().max_keys(0), |message: &Message| message.id)
        .service(runs.ending(|_| ready(Ok(()))));
    assert_eq!((worker.deliver(PAY).await, runs.count()), (NACK, 0));
}

#[tokio::test(start_paused = true)]
async fn what_the_dead_letter_did_not_take_is_in_doubt_and_comes_again() {
    let runs = Runs::default();
    let asked = Arc::new(Mutex::new(Vec::new()));
    let seen = Arc::clone(&asked);
    let worker = golden::consumer("invoices")
        .timeout(LIMIT)
        .dead_letter(move |_: Message, why| {
            let mut asked = seen.lock().unwrap();
            asked.push(why.to_string());
            ready(if asked.len() == 1 { Err("the table is full") } else { Ok(()) })
        })
        .idempotency_layer(keys(&Faulty::new()))
        .service(runs.ending(|_| ready(Err(failed()))));
    assert_eq!(worker.deliver(PAY).await, NACK);
    assert_eq!(worker.deliver(PAY).await, Delivery::Parked);
    assert_eq!(*asked.lock().unwrap(), ["the handler failed: no such account", PARKED]);
    assert_eq!(runs.count(), 1);
}

#[tokio::test(start_paused = true)]
async fn a_message_that_did_not_reach_the_handler_leaves_no_record() {
    let (aside, runs) = (Aside::default(), Runs::default());
    let let_go = Arc::new(Notify::new());
    let held = Arc::clone(&let_go);
    let handler = runs.ending(move |_| {
        let held = Arc::clone(&held);
        async move {
            held.notified().await;
            Ok(())
        }
    });
    let one = BulkheadLayer::new(1).max_queue(0);
    let worker = keyed(&Faulty::new(), &aside).bulkhead_layer(one).service(handler);
    let other = Message { id: "invoice-8", ..PAY };
    let mut first = Box::pin(worker.deliver(other));
    assert!((&mut first).now_or_never().is_none());
    tokio::task::yield_now().await;
    assert_eq!(worker.deliver(PAY).await, NACK);
    let_go.notify_one();
    assert_eq!(first.await, Delivery::Ack);
    let_go.notify_one();
    assert_eq!((worker.deliver(PAY).await, runs.count()), (Delivery::Ack, 2));
}

type End = fn() -> Result<(), BoxError>;

/// A handler that takes so long.
fn taking(time: Duration, end: End) -> impl Fn(u32) -> BoxFuture<'static, Result<(), BoxError>> + Clone {
    move |_| sleep(time).map(move |()| end()).boxed()
}

#[tokio::test(start_paused = true)]
async fn a_handler_whose_delivery_is_dropped_runs_on_and_a_shutdown_waits_for_it() {
    let (store, aside, runs) = (Faulty::new(), Aside::default(), Runs::default());
    let worker = keyed(&store, &aside).service(runs.ending(taking(LIMIT / 2, || Ok(()))));
    let start = Instant::now();
    let mut delivery = Box::pin(worker.deliver(PAY));
    assert!((&mut delivery).now_or_never().is_none());
    drop(delivery);
    assert_eq!(worker.deliver(PAY).await, NACK);
    worker.handle().drain().await;
    assert_eq!(start.elapsed(), LIMIT / 2);
    assert_eq!((worker.deliver(PAY).await, runs.count()), (Delivery::Ack, 1));
}

#[tokio::test(start_paused = true)]
async fn a_delivery_that_is_never_polled_is_none() {
    let (store, aside, runs) = (Faulty::new(), Aside::default(), Runs::default());
    let worker = keyed(&store, &aside).service(runs.ending(|_| ready(Ok(()))));
    drop(worker.deliver(PAY));
    worker.handle().drain().await;
    assert_eq!(runs.count(), 0);
}

#[tokio::test(start_paused = true)]
async fn a_handler_runs_on_past_its_delivery_and_the_next_one_finds_what_came_of_it() {
    let ends: [(End, Delivery, &[&str]); 2] = [
        (|| Ok(()), Delivery::Ack, &[]),
        // It is dead-lettered by then, though nobody waited for that.
        (|| Err(failed()), Delivery::Ack, &["the handler failed: no such account"]),
    ];
    for (end, then, why) in ends {
        let (store, aside, runs) = (Faulty::new(), Aside::default(), Runs::default());
        let worker = consumer(&aside)
            .idempotency_layer(keys(&store).run_limit(3 * LIMIT))
            .service(runs.ending(taking(2 * LIMIT, end)));
        let start = Instant::now();
        assert_eq!(worker.deliver(PAY).await, NACK);
        assert_eq!(start.elapsed(), LIMIT);
        assert_eq!(worker.deliver(PAY).await, NACK);
        worker.handle().drain().await;
        assert_eq!(worker.deliver(PAY).await, then);
        assert_eq!((runs.count(), aside.reasons()), (1, why.iter().map(|&why| why.to_owned()).collect()));
    }
}

#[tokio::test(start_paused = true)]
async fn the_dead_letter_of_a_handler_that_ran_on_has_time_of_its_own() {
    let left = Arc::new(Mutex::new(None));
    let told = Arc::clone(&left);
    let worker = golden::consumer("invoices")
        .timeout(LIMIT)
        .dead_letter(move |_: Message, _| {
            *told.lock().unwrap() = Deadline::current().map(Deadline::remaining);
            ready(Ok::<_, BoxError>(()))
        })
        .idempotency_layer(keys(&Faulty::new()).run_limit(3 * LIMIT))
        .service(Runs::default().ending(taking(2 * LIMIT, || Err(failed()))));
    assert_eq!(worker.deliver(PAY).await, NACK);
    worker.handle().drain().await;
    assert_eq!(*left.lock().unwrap(), Some(LIMIT));
}

/// What a process that died left under the key of [`PAY`].
async fn claimed(store: &Faulty) {
    let ask = Ask {
        owner: Owner::random(),
        fingerprint: Fingerprint::of([PAY.body.as_bytes()]),
        lease: Duration::from_secs(60),
        lease_over: LeaseOver::InDoubt,
    };
    let found = store.claim(id(), ask).await.unwrap();
    assert!(matches!(found, Found::Granted { .. }));
}

fn id() -> Identity {
    Identity::of(b"invoices", b"", PAY.id.as_bytes())
}

#[tokio::test(start_paused = true)]
async fn a_message_whose_process_died_waits_for_the_lease_and_is_parked_then_or_run_again_if_that_does_no_harm()
 {
    type Build = fn(Keys) -> Keys;
    let cases: [(bool, Build, Delivery); 3] = [
        (false, |it| it, Delivery::Parked),
        (true, |it| it, Delivery::Ack),
        (false, |it| it.lease_over(LeaseOver::Reexecute), Delivery::Ack),
    ];
    for (repeatable, build, then) in cases {
        let (store, aside, runs) = (Faulty::new(), Aside::default(), Runs::default());
        let consumer = consumer(&aside).idempotency_layer(build(keys(&store)));
        let consumer = if repeatable { consumer.repeatable() } else { consumer };
        let worker = consumer.service(runs.ending(|_| ready(Ok(()))));
        claimed(&store).await;
        assert_eq!(worker.deliver(PAY).await, NACK);
        advance(Duration::from_secs(60)).await;
        assert_eq!(worker.deliver(PAY).await, then);
        assert_eq!(runs.count(), u32::from(then == Delivery::Ack));
    }
}

#[tokio::test(start_paused = true)]
async fn a_message_that_was_parked_is_run_again_once_somebody_found_out_that_it_was_not_done() {
    let (store, aside, runs) = (Faulty::new(), Aside::default(), Runs::default());
    let worker = keyed(&store, &aside).service(runs.ending(|run| async move {
        assert!(run > 1, "the first run panics");
        Ok(())
    }));
    assert_eq!(worker.deliver(PAY).await, Delivery::Parked);
    let doubt = store.in_doubt(1).await.unwrap()[0];
    assert_eq!(doubt.id, id());
    store.reconcile(doubt.id, doubt.fence, Verdict::Absent).await.unwrap();
    assert_eq!((worker.deliver(PAY).await, runs.count()), (Delivery::Ack, 2));
}

#[tokio::test(start_paused = true)]
async fn a_message_that_comes_too_often_is_dead_lettered_once_and_is_done() {
    let (store, aside, runs) = (Faulty::new(), Aside::default(), Runs::default());
    let worker = keyed(&store, &aside)
        .max_deliveries(3, |message| message.deliveries)
        .service(runs.ending(|_| ready(Ok(()))));
    let often = Message { deliveries: 4, ..PAY };
    assert_eq!(worker.deliver(often.clone()).await, Delivery::DeadLettered);
    assert_eq!(worker.deliver(often).await, Delivery::Ack);
    assert_eq!((runs.count(), aside.reasons().len()), (0, 1));
}

#[tokio::test(start_paused = true)]
async fn a_handler_that_fails_without_its_claim_leaves_the_message_to_whoever_has_it() {
    let (store, aside) = (Faulty::new(), Aside::default());
    let lost = store.clone();
    let keys = keys(&store).lease(LIMIT / 3);
    let worker = consumer(&aside).idempotency_layer(keys).service(service_fn(move |_: Message| {
        let store = lost.clone();
        async move {
            let claim = Claim::current().unwrap();
            store.set(Mode::Down);
            claim.lost().await;
            store.set(Mode::Up);
            Err::<(), _>(failed())
        }
    }));
    assert_eq!(worker.deliver(PAY).await, NACK);
    worker.handle().drain().await;
    assert_eq!(worker.deliver(PAY).await, Delivery::Parked);
    assert_eq!(aside.reasons(), [PARKED]);
}

#[derive(Clone, Copy, PartialEq)]
enum Commit {
    GoesThrough,
    IsRolledBack,
}

#[tokio::test(start_paused = true)]
async fn what_a_transaction_committed_is_done_whatever_the_handler_says() {
    for (commit, ok, then) in [
        (Commit::GoesThrough, true, Delivery::Ack),
        (Commit::GoesThrough, false, Delivery::Ack),
        (Commit::IsRolledBack, false, Delivery::Parked),
    ] {
        let (store, aside) = (Faulty::new(), Aside::default());
        let own = store.clone();
        let worker = keyed(&store, &aside).service(service_fn(move |_: Message| {
            let store = own.clone();
            async move {
                let mut tx = Transaction::default();
                let claim = Claim::current().unwrap();
                claim.complete_in(&store, &mut tx, bytes::Bytes::from("paid")).await.unwrap();
                if commit == Commit::GoesThrough {
                    tx.commit(&store).await;
                }
                if ok { Ok(()) } else { Err(failed()) }
            }
        }));
        assert_eq!(worker.deliver(PAY).await, then);
        assert_eq!(worker.deliver(PAY).await, then);
        let why: &[&str] =
            if then == Delivery::Ack { &[] } else { &["the handler failed: no such account", PARKED] };
        assert_eq!(aside.reasons(), why);
    }
}

#[tokio::test(start_paused = true)]
async fn a_claim_is_that_of_the_message_in_hand() {
    assert!(Claim::current().is_none());
    let (store, seen) = (Faulty::new(), Arc::new(Mutex::new(Vec::new())));
    let claims = Arc::clone(&seen);
    let worker = keyed(&store, &Aside::default()).service(service_fn(move |message: Message| {
        let claims = Arc::clone(&claims);
        async move {
            tokio::task::yield_now().await;
            let own = Identity::of(b"invoices", b"", message.id.as_bytes());
            claims.lock().unwrap().push(Claim::current().unwrap().id() == own);
            Ok::<_, BoxError>(())
        }
    }));
    let other = Message { id: "invoice-8", ..PAY };
    let both = [worker.deliver(PAY), worker.deliver(other)];
    assert_eq!(join_all(both).await, [Delivery::Ack; 2]);
    assert_eq!(*seen.lock().unwrap(), [true; 2]);
}

#[tokio::test(start_paused = true)]
async fn a_message_that_is_handed_over_twice_has_one_effect_under_a_key_and_two_without() {
    for fault in [Fault::duplicate(), Fault::duplicate_at_once()] {
        let (aside, runs, again) = (Aside::default(), Runs::default(), Runs::default());
        let once = keyed(&Faulty::new(), &aside).service(runs.ending(taking(LIMIT / 4, || Ok(()))));
        let armed = once.handle().ingress_faults().unwrap().arm(fault.clone());
        assert_eq!(once.deliver(PAY).await, Delivery::Ack);
        assert_eq!((runs.count(), armed.hit()), (1, 1), "{fault:?}");
        assert_eq!(once.handle().counts().faults(FaultKind::Duplicate), 1);

        let twice = consumer(&aside).service(again.ending(taking(LIMIT / 4, || Ok(()))));
        twice.handle().ingress_faults().unwrap().arm(fault);
        assert_eq!(twice.deliver(PAY).await, Delivery::Ack);
        assert_eq!((again.count(), aside.reasons().len()), (2, 0));
    }
}

#[tokio::test(start_paused = true)]
async fn a_message_is_handed_over_once_where_the_fault_is_over_or_stands_before_the_handler() {
    let runs = Runs::default();
    let worker = consumer(&Aside::default()).service(runs.ending(|_| ready(Ok(()))));
    let [inner, outer] = [worker.handle().faults(), worker.handle().ingress_faults().unwrap()];
    let nowhere = inner.arm(Fault::duplicate());
    outer.arm(Fault::duplicate());
    let delivery = worker.deliver(PAY);
    outer.disarm();
    assert_eq!(delivery.await, Delivery::Ack);
    assert_eq!((runs.count(), nowhere.hit()), (1, 0));
}

#[tokio::test(start_paused = true)]
async fn a_delivery_that_is_dropped_drops_both_copies() {
    let runs = Runs::default();
    let worker = consumer(&Aside::default()).service(runs.ending(|_| pending()));
    worker.handle().ingress_faults().unwrap().arm(Fault::duplicate_at_once());
    let mut delivery = tokio_test::task::spawn(worker.deliver(PAY));
    tokio_test::assert_pending!(delivery.poll());
    assert_eq!((runs.count(), worker.handle().state().bulkhead.unwrap().in_use), (2, 2));
    drop(delivery);
    assert_eq!(worker.handle().state().bulkhead.unwrap().in_use, 0);
    assert_eq!(worker.handle().counts().calls(Outcome::Cancelled), 1);
}
