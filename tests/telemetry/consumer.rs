//! The conventions for messaging: what is told of each delivery.

use std::{collections::HashMap, future::pending, sync::Arc};

use futures::FutureExt;
use moneta_resilience::{
    BoxError, Registry,
    event::{Event, Outcome, Source},
    golden::{self, ConsumerBuilder, DeadLetterTo, Limit},
    messaging::Delivery,
};
use opentelemetry::{
    Context, global,
    trace::{SpanId, TraceContextExt, TraceId, Tracer},
};
use tower::service_fn;

use crate::{SECOND, seen::Seen};

const TRACE: &str = "0af7651916cd43dd8448eb211c80319c";
const PRODUCER: &str = "b7ad6b7169203331";
const INVOICES: Source = Source::new("redis", "invoices").group("payments");

type Message = Arc<HashMap<&'static str, String>>;

fn message() -> Message {
    Arc::new(HashMap::from([("traceparent", format!("00-{TRACE}-{PRODUCER}-01"))]))
}

impl Seen {
    fn consumer(&self) -> ConsumerBuilder<Message, Limit, DeadLetterTo<Message>> {
        golden::consumer("billing")
            .timeout(SECOND)
            .registry(&Registry::new())
            .sink(self.tape.clone())
            .headers(|message: &Message, name| message.get(name).map(String::as_str))
            .dead_letter(|_, _| async { Ok::<_, BoxError>(()) })
    }

    /// The messages that were processed: the error of each.
    fn processed(&self) -> Vec<Option<&'static str>> {
        self.told(|event| match event {
            Event::MessageProcessed { source, error, .. } => {
                assert_eq!(source, INVOICES);
                Some(error)
            }
            _ => None,
        })
    }
}

#[tokio::test(start_paused = true)]
async fn a_delivery_is_a_span_of_its_consumer_in_the_trace_of_its_producer() {
    let seen = Seen::new("billing").await;
    let inside = Arc::new(std::sync::Mutex::new(None));
    let told = Arc::clone(&inside);
    let worker = seen.consumer().source(INVOICES).service(service_fn(move |_| {
        *told.lock().unwrap() = Some(Context::current().span().span_context().span_id());
        async { Ok::<_, BoxError>(()) }
    }));
    assert_eq!(worker.deliver(message()).await, Delivery::Ack);
    let span = seen.span();
    assert_eq!(
        seen.words(),
        [
            "process invoices CONSUMER unset",
            "messaging.consumer.group.name=payments",
            "messaging.destination.name=invoices",
            "messaging.operation.name=process",
            "messaging.operation.type=process",
            "messaging.system=redis",
            "outcome=success",
            "pipeline=billing",
        ]
    );
    assert_eq!(span.span_context.trace_id(), TraceId::from_hex(TRACE).unwrap());
    assert_eq!(span.parent_span_id, SpanId::from_hex(PRODUCER).unwrap());
    assert_eq!(*inside.lock().unwrap(), Some(span.span_context.span_id()));
    assert_eq!(seen.processed(), [None]);
}

#[tokio::test(start_paused = true)]
async fn a_worker_with_a_span_of_its_own_goes_on_in_it_with_a_link_to_the_producer() {
    let seen = Seen::new("billing").await;
    let worker = seen.consumer().source(INVOICES).service(service_fn(async |_| Ok::<_, BoxError>(())));
    let own = Context::current_with_span(global::tracer("worker").start("poll"));
    let context = own.span().span_context().clone();
    let delivered = opentelemetry::context::FutureExt::with_context(worker.deliver(message()), own).await;
    assert_eq!(delivered, Delivery::Ack);
    let span = seen.span();
    assert_eq!(span.parent_span_id, context.span_id());
    let links: Vec<_> = span.links.iter().map(|link| link.span_context.span_id()).collect();
    assert_eq!(links, [SpanId::from_hex(PRODUCER).unwrap()]);
}

#[tokio::test(start_paused = true)]
async fn a_producer_without_a_whole_context_is_nobodys_parent() {
    // OpenTelemetry's propagator would take it, and so would the next message that says `1`.
    let seen = Seen::new("billing").await;
    let worker = seen.consumer().service(service_fn(async |_| Ok::<_, BoxError>(())));
    let message = Arc::new(HashMap::from([("traceparent", "00-1-1-01".to_owned())]));
    assert_eq!(worker.deliver(message).await, Delivery::Ack);
    assert_eq!(seen.span().parent_span_id, SpanId::INVALID);
}

#[tokio::test(start_paused = true)]
async fn a_message_without_headers_begins_a_trace() {
    let seen = Seen::new("billing").await;
    let worker = seen.consumer().service(service_fn(async |_| Ok::<_, BoxError>(())));
    assert_eq!(worker.deliver(Message::default()).await, Delivery::Ack);
    let span = seen.span();
    assert_eq!(span.parent_span_id, SpanId::INVALID);
    // Nobody said which queue it is.
    assert_eq!(seen.words(), ["billing CONSUMER unset", "outcome=success", "pipeline=billing"]);
    assert_eq!(seen.processed(), []);
}

#[tokio::test(start_paused = true)]
async fn each_end_of_a_delivery_is_told_once() {
    type Handler = fn() -> futures::future::BoxFuture<'static, Result<(), BoxError>>;
    let ends: [(Handler, Option<&str>, Outcome); 4] = [
        (|| async { Err("no such account".into()) }.boxed(), Some("fault"), Outcome::Fault),
        (|| async { panic!("it is poison") }.boxed(), Some("panic"), Outcome::Panicked),
        (|| pending().boxed(), Some("timeout"), Outcome::Timeout),
        (|| async { Ok(()) }.boxed(), None, Outcome::Success),
    ];
    for (end, error, outcome) in ends {
        let seen = Seen::new("billing").await;
        let worker = seen.consumer().source(INVOICES).service(service_fn(move |_| end()));
        _ = worker.deliver(message()).await;
        let status = if error.is_some() { "error" } else { "unset" };
        assert_eq!(seen.words()[0], format!("process invoices CONSUMER {status}"));
        assert_eq!((seen.processed(), seen.outcomes()), (vec![error], vec![outcome]));
    }
}

#[tokio::test(start_paused = true)]
async fn a_delivery_that_is_dropped_ends_its_span_and_is_no_error() {
    let seen = Seen::new("billing").await;
    let worker = seen.consumer().source(INVOICES).service(service_fn(|_| pending::<Result<(), BoxError>>()));
    let mut delivery = Box::pin(worker.deliver(message()));
    assert!((&mut delivery).now_or_never().is_none());
    assert!(seen.spans().is_empty());
    drop(delivery);
    assert_eq!(seen.words()[0], "process invoices CONSUMER unset");
    assert_eq!((seen.processed(), seen.outcomes()), (vec![None], vec![Outcome::Cancelled]));
}
