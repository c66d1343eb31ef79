//! Without keys.

use std::{
    future::{pending, ready},
    io,
    sync::{
        Arc, Mutex,
        atomic::{AtomicBool, AtomicU32, Ordering},
    },
    time::Duration,
};

use futures::{FutureExt as _, future::join_all};
use moneta_resilience::{
    BoxError, Class, Deadline, Profile, Registry,
    bulkhead::BulkheadLayer,
    classify,
    event::Outcome,
    fault::Fault,
    golden,
    messaging::{Delivery, NotExecuted},
};
use tokio::time::{Instant, sleep};
use tower::{ServiceExt as _, service_fn};

use super::{Aside, Builder, LIMIT, Message, NACK, PAY, consumer, counts};

/// What came of a delivery to a handler that ends so: the delivery, how often it ran, why the message was set aside.
async fn deliver(
    build: impl FnOnce(Builder) -> Builder,
    end: impl Fn(u32) -> Result<(), BoxError>,
) -> (Delivery, u32, Vec<String>) {
    let (runs, aside) = (AtomicU32::new(0), Aside::default());
    let handler = service_fn(|_: Message| ready(end(runs.fetch_add(1, Ordering::Relaxed) + 1)));
    let delivery = build(consumer(&aside)).service(handler).deliver(PAY).await;
    (delivery, runs.load(Ordering::Relaxed), aside.reasons())
}

fn error(kind: io::ErrorKind) -> BoxError {
    io::Error::from(kind).into()
}

fn reset() -> BoxError {
    error(io::ErrorKind::ConnectionReset)
}

fn unreached() -> BoxError {
    NotExecuted::new("no connection").into()
}

#[tokio::test]
async fn a_message_that_was_handled_is_acknowledged() {
    assert_eq!(deliver(|it| it, |_| Ok(())).await, (Delivery::Ack, 1, vec![]));
}

#[tokio::test]
async fn an_error_is_the_end_of_a_handler_that_must_not_run_twice() {
    let failed = |error: &str| (Delivery::DeadLettered, 1, vec![format!("the handler failed: {error}")]);
    assert_eq!(deliver(|it| it, |_| Err("no such account".into())).await, failed("no such account"));
    // Somebody whom the handler asked refused it, in passing. It may have asked others before.
    assert_eq!(deliver(|it| it, |_| Err(reset())).await, failed("connection reset"));
    let refused = |_| Err(error(io::ErrorKind::ConnectionRefused));
    assert_eq!(deliver(|it| it, refused).await, failed("connection refused"));
}

#[tokio::test(start_paused = true)]
async fn a_handler_that_says_it_did_nothing_is_asked_once_more_and_then_by_the_queue() {
    assert_eq!(deliver(|it| it, |_| Err(unreached())).await, (NACK, 2, vec![]));
    assert_eq!(deliver(Builder::without_retry, |_| Err(unreached())).await, (NACK, 1, vec![]));
    let recovers = |run| if run == 1 { Err(unreached()) } else { Ok(()) };
    assert_eq!(deliver(|it| it, recovers).await, (Delivery::Ack, 2, vec![]));
    // Also behind another error.
    assert_eq!(deliver(|it| it, |_| Err(io::Error::other(unreached()).into())).await, (NACK, 2, vec![]));
    // Of the second try it does not say so.
    let worse = |run| Err(if run == 1 { unreached() } else { reset() });
    let (delivery, runs, aside) = deliver(|it| it, worse).await;
    assert_eq!((delivery, runs, aside.len()), (Delivery::DeadLettered, 2, 1));
}

#[tokio::test(start_paused = true)]
async fn a_second_try_that_acted_and_was_refused_by_somebody_else_is_the_last() {
    let ledger = golden::client("ledger").timeout(LIMIT).no_fallback().registry(&Registry::new()).calls();
    ledger.handle().circuit_breaker().unwrap().force_open();
    let (runs, aside) = (AtomicU32::new(0), Aside::default());
    let handler = service_fn(|_: Message| {
        let (run, ledger) = (runs.fetch_add(1, Ordering::Relaxed) + 1, ledger.clone());
        async move {
            if run == 1 {
                return Err(unreached());
            }
            // The bank is paid, and then the ledger is not to be asked.
            ledger.run(|| ready(Ok::<_, BoxError>(()))).await.map_err(Into::into)
        }
    });
    assert_eq!(consumer(&aside).service(handler).deliver(PAY).await, Delivery::DeadLettered);
    assert_eq!((runs.load(Ordering::Relaxed), aside.reasons().len()), (2, 1));
}

#[tokio::test(start_paused = true)]
async fn a_classifier_does_not_overrule_a_handler_that_says_it_did_nothing() {
    let (runs, aside) = (AtomicU32::new(0), Aside::default());
    let handler = service_fn(|_: Message| {
        runs.fetch_add(1, Ordering::Relaxed);
        ready(Err::<(), _>(unreached()))
    });
    let strict = consumer(&aside).classify(classify::errors(|_| Some(Class::Fault))).service(handler);
    assert_eq!(strict.deliver(PAY).await, NACK);
    assert_eq!((runs.load(Ordering::Relaxed), aside.reasons()), (2, vec![]));
}

#[tokio::test(start_paused = true)]
async fn a_repeatable_handler_is_tried_again_while_that_can_help() {
    assert_eq!(deliver(Builder::repeatable, |_| Err(reset())).await, (NACK, 3, vec![]));
    let recovers = |run| if run < 3 { Err(reset()) } else { Ok(()) };
    assert_eq!(deliver(Builder::repeatable, recovers).await, (Delivery::Ack, 3, vec![]));
    let (delivery, runs, _) = deliver(Builder::repeatable, |_| Err("no such account".into())).await;
    assert_eq!((delivery, runs), (Delivery::DeadLettered, 1));
}

#[tokio::test]
async fn a_refusal_on_this_side_inside_of_a_repeatable_handler_is_left_to_the_queue() {
    let ledger = golden::client("ledger").timeout(LIMIT).no_fallback().calls();
    ledger.handle().circuit_breaker().unwrap().force_open();
    let aside = Aside::default();
    let asks = |ledger: golden::Calls| {
        service_fn(move |_: Message| {
            let ledger = ledger.clone();
            async move { ledger.run(|| ready(Ok::<_, BoxError>(()))).await }
        })
    };
    assert_eq!(consumer(&aside).repeatable().service(asks(ledger.clone())).deliver(PAY).await, NACK);
    assert_eq!(aside.reasons().len(), 0);
    assert_eq!(consumer(&aside).service(asks(ledger)).deliver(PAY).await, Delivery::DeadLettered);
}

#[tokio::test]
async fn a_dependency_that_never_wants_to_see_a_message_again_does_not() {
    let aside = Aside::default();
    let never = |_: &BoxError| Some(Class::Transient { retry_after: Some(Class::NEVER) });
    let handler = service_fn(|_: Message| ready(Err::<(), _>(reset())));
    let consumer = consumer(&aside).repeatable().classify(classify::errors(never)).service(handler);
    assert_eq!(consumer.deliver(PAY).await, Delivery::DeadLettered);
}

#[tokio::test(start_paused = true)]
async fn the_last_delivery_is_final_and_one_more_is_not_run() {
    let most = |it: Builder| it.repeatable().without_retry().max_deliveries(3, |message| message.deliveries);
    for (deliveries, expected, ran, why) in [
        (2, NACK, 1, None),
        (3, Delivery::DeadLettered, 1, Some("the handler failed: connection reset")),
        (4, Delivery::DeadLettered, 0, Some("the message was delivered too often")),
    ] {
        let (runs, aside) = (AtomicU32::new(0), Aside::default());
        let handler = service_fn(|_: Message| {
            runs.fetch_add(1, Ordering::Relaxed);
            ready(Err::<(), _>(reset()))
        });
        let delivery = most(consumer(&aside)).service(handler).deliver(Message { deliveries, ..PAY }).await;
        assert_eq!((delivery, runs.load(Ordering::Relaxed)), (expected, ran));
        assert_eq!(aside.reasons(), why.into_iter().collect::<Vec<_>>());
    }
}

#[tokio::test(start_paused = true)]
async fn a_handler_that_is_cut_may_have_acted_so_its_message_is_parked() {
    let hangs = || service_fn(|_: Message| pending::<Result<(), BoxError>>());
    let (aside, start) = (Aside::default(), Instant::now());
    assert_eq!(consumer(&aside).service(hangs()).deliver(PAY).await, Delivery::Parked);
    assert_eq!(start.elapsed(), LIMIT);
    assert_eq!(aside.reasons(), ["the handler was cut short"]);
    assert_eq!(consumer(&aside).repeatable().service(hangs()).deliver(PAY).await, NACK);
    assert_eq!(aside.reasons().len(), 1);
}

#[tokio::test(start_paused = true)]
async fn a_message_that_did_not_reach_the_handler_comes_again() {
    let aside = Aside::default();
    let hangs = service_fn(|_: Message| pending::<Result<(), BoxError>>());
    // It waits for the only place until its time is over.
    let waits = consumer(&aside).bulkhead(1).service(hangs);
    let (first, second) = tokio::join!(waits.deliver(PAY), waits.deliver(PAY));
    assert_eq!((first, second), (Delivery::Parked, NACK));
    // There is none, and it does not wait.
    let full = consumer(&aside).bulkhead_layer(BulkheadLayer::new(1).max_queue(0)).service(hangs);
    let mut first = Box::pin(full.deliver(PAY));
    assert!((&mut first).now_or_never().is_none());
    assert_eq!(full.deliver(PAY).await, NACK);
    assert_eq!(full.handle().counts().calls(Outcome::Rejected), 1);
    // The work in which it was delivered is over already.
    assert_eq!(Deadline::after(Duration::ZERO).scope(full.deliver(PAY)).await, NACK);
    assert_eq!(aside.reasons(), ["the handler was cut short"]);
}

#[tokio::test]
async fn a_panic_ends_in_a_delivery_and_gives_back_the_place() {
    let aside = Aside::default();
    let handler = service_fn(|message: Message| async move {
        assert!(message.body != "poison", "it is poison");
        Ok::<_, BoxError>(())
    });
    let consumer = consumer(&aside).repeatable().bulkhead(1).service(handler);
    let poison = Message { body: "poison", ..PAY };
    for _ in 0..2 {
        assert_eq!(consumer.deliver(poison.clone()).await, Delivery::Parked);
    }
    assert_eq!(consumer.deliver(PAY).await, Delivery::Ack);
    assert_eq!(aside.reasons(), ["the handler panicked"; 2]);
    assert_eq!(consumer.handle().counts().calls(Outcome::Panicked), 2);
    assert_eq!(consumer.handle().state().bulkhead.unwrap().in_use, 0);
}

#[tokio::test]
async fn what_fails_at_the_ingress_has_not_happened_and_what_fails_at_the_handler_may_have() {
    let (runs, aside) = (AtomicU32::new(0), Aside::default());
    let handler = service_fn(|_: Message| ready(Ok::<_, BoxError>(runs.fetch_add(1, Ordering::Relaxed))));
    let consumer = consumer(&aside).service(handler);
    let handle = consumer.handle();
    let ingress = handle.ingress_faults().unwrap();
    ingress.arm(Fault::error(Class::Fault));
    assert!(handle.state().fault_armed);
    assert_eq!(consumer.deliver(PAY).await, NACK);
    ingress.disarm();
    handle.faults().arm(Fault::error(Class::TRANSIENT));
    assert_eq!(consumer.deliver(PAY).await, Delivery::DeadLettered);
    assert_eq!(runs.load(Ordering::Relaxed), 0);
    assert_eq!(counts(handle), [0, 1, 0, 1]);
}

#[tokio::test(start_paused = true)]
async fn a_message_that_the_dead_letter_did_not_take_comes_again() {
    type Ends = fn() -> futures::future::BoxFuture<'static, Result<(), BoxError>>;
    let ends: [(Ends, Duration); 4] = [
        (|| ready(Err("the table is full".into())).boxed(), Duration::ZERO),
        (|| async { panic!("in the future") }.boxed(), Duration::ZERO),
        (|| panic!("before there is one"), Duration::ZERO),
        (|| pending().boxed(), LIMIT),
    ];
    for (end, takes) in ends {
        let consumer = golden::consumer("invoices")
            .registry(&Registry::new())
            .timeout(LIMIT)
            .dead_letter(move |_: Message, _| end())
            .service(service_fn(|_: Message| ready(Err::<(), _>(reset()))));
        let start = Instant::now();
        assert_eq!(consumer.deliver(PAY).await, NACK);
        assert_eq!(start.elapsed(), takes);
        assert_eq!(counts(consumer.handle()), [0, 1, 0, 0]);
        assert_eq!(consumer.handle().counts().dead_letters_failed(), 1);
    }
}

#[tokio::test(start_paused = true)]
async fn the_dead_letter_has_time_of_its_own_and_the_handler_is_gone_by_then() {
    struct Gone(Arc<AtomicBool>);
    impl Drop for Gone {
        fn drop(&mut self) {
            self.0.store(true, Ordering::Relaxed);
        }
    }
    let (gone, told) = (Arc::new(AtomicBool::new(false)), Arc::new(Mutex::new(None)));
    let (seen, tell) = (Arc::clone(&gone), Arc::clone(&told));
    let consumer = golden::consumer("invoices")
        .registry(&Registry::new())
        .timeout(LIMIT)
        .dead_letter(move |_, _| {
            let left = Deadline::current().map(Deadline::remaining);
            *tell.lock().unwrap() = Some((seen.load(Ordering::Relaxed), left));
            ready(Ok::<_, BoxError>(()))
        })
        .service(service_fn(move |_: Message| {
            let gone = Gone(Arc::clone(&gone));
            async move {
                pending::<()>().await;
                drop(gone);
                Ok::<_, BoxError>(())
            }
        }));
    // Also where the worker's own time is over.
    let delivery = Deadline::after(LIMIT / 2).scope(consumer.deliver(PAY)).await;
    assert_eq!(delivery, Delivery::Parked);
    assert_eq!(*told.lock().unwrap(), Some((true, Some(LIMIT))));
}

#[tokio::test(start_paused = true)]
async fn a_delivery_that_is_dropped_says_nothing_and_holds_nothing() {
    let aside = Aside::default();
    let hangs = service_fn(|_: Message| pending::<Result<(), BoxError>>());
    let consumer = consumer(&aside).bulkhead(1).service(hangs);
    for _ in 0..2 {
        let mut delivery = Box::pin(consumer.deliver(PAY));
        assert!((&mut delivery).now_or_never().is_none());
    }
    assert_eq!(consumer.handle().state().bulkhead.unwrap().in_use, 0);
    assert_eq!(consumer.handle().counts().calls(Outcome::Cancelled), 2);
    drop(consumer.deliver(PAY));
    assert_eq!(counts(consumer.handle()), [0; 4]);
    assert_eq!(aside.reasons().len(), 0);
}

#[tokio::test]
async fn a_delivery_that_is_dropped_while_its_message_is_set_aside_is_told_once() {
    let consumer = golden::consumer("invoices")
        .registry(&Registry::new())
        .timeout(LIMIT)
        .dead_letter(|_: Message, _| pending::<Result<(), BoxError>>())
        .service(service_fn(|_: Message| ready(Err::<(), _>(reset()))));
    let mut delivery = Box::pin(consumer.deliver(PAY));
    assert!((&mut delivery).now_or_never().is_none());
    drop(delivery);
    let told = Outcome::ALL.map(|outcome| consumer.handle().counts().calls(outcome));
    assert_eq!(told.iter().sum::<u64>(), 1);
    assert_eq!(consumer.handle().counts().calls(Outcome::Cancelled), 1);
    assert_eq!(counts(consumer.handle()), [0; 4]);
}

#[tokio::test(start_paused = true)]
async fn no_more_are_handled_at_once_than_there_are_places_and_all_are() {
    let (running, most) = (Arc::new(AtomicU32::new(0)), Arc::new(AtomicU32::new(0)));
    let seen = Arc::clone(&most);
    let handler = service_fn(move |_: Message| {
        let (running, most) = (Arc::clone(&running), Arc::clone(&most));
        async move {
            most.fetch_max(running.fetch_add(1, Ordering::Relaxed) + 1, Ordering::Relaxed);
            sleep(Duration::from_millis(10)).await;
            running.fetch_sub(1, Ordering::Relaxed);
            Ok::<_, BoxError>(())
        }
    });
    let consumer = consumer(&Aside::default()).bulkhead(3).service(handler);
    let deliveries = join_all((0..100).map(|_| consumer.clone().oneshot(PAY))).await;
    assert!(deliveries.into_iter().all(|delivery| delivery == Ok(Delivery::Ack)));
    assert_eq!(seen.load(Ordering::Relaxed), 3);
    assert_eq!(counts(consumer.handle()), [100, 0, 0, 0]);
}

#[tokio::test]
async fn a_consumer_is_listed_and_told_of_as_one() {
    let registry = Registry::new();
    let consumer = golden::consumer("invoices")
        .registry(&registry)
        .timeout(LIMIT)
        .dead_letter(|_: Message, _| ready(Ok::<_, BoxError>(())))
        .service(service_fn(|_: Message| ready(Ok::<_, BoxError>(()))));
    let state = consumer.handle().state();
    assert_eq!((state.name.as_str(), state.profile, state.circuit), ("invoices", Profile::Consumer, None));
    assert_eq!(state.bulkhead.unwrap().limit, 64);
    assert_eq!(golden::Handle::find(&registry, "invoices").len(), 1);
    // From a task of its own, as a worker does.
    let worker = consumer.clone();
    assert_eq!(tokio::spawn(async move { worker.deliver(PAY).await }).await.unwrap(), Delivery::Ack);
}

#[cfg(feature = "slo")]
#[tokio::test]
async fn deliveries_are_counted_for_an_objective() {
    use moneta_resilience::slo::{ErrorBudget, Objective, Window};

    let budget = ErrorBudget::new(Objective::new("invoices").target(99.9));
    let handler = service_fn(|message: Message| {
        ready(if message.deliveries == 1 { Ok(()) } else { Err(BoxError::from("no such account")) })
    });
    let consumer = consumer(&Aside::default()).slo(budget.clone()).service(handler);
    assert_eq!(consumer.deliver(PAY).await, Delivery::Ack);
    assert_eq!(consumer.deliver(Message { deliveries: 2, ..PAY }).await, Delivery::DeadLettered);
    assert_eq!(budget.counts(Window::Hour), (1, 1));
}
