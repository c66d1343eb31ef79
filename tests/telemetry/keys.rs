//! A handler under an idempotency key, whose caller goes away over a real connection: what belongs to its call stays with it.

use std::sync::{Arc, Mutex};

use axum::{Router, routing::post};
use futures::FutureExt;
use moneta_resilience::{Deadline, Registry, event::Outcome, golden, idempotency::MemoryStore};
use opentelemetry::{
    Context,
    trace::{SpanContext, SpanId, TraceContextExt, TraceId},
};
use tokio::{
    io::AsyncWriteExt,
    net::{TcpListener, TcpStream},
    sync::Notify,
};

use crate::{SECOND, seen::Seen};

const TRACE: &str = "0af7651916cd43dd8448eb211c80319c";
const CALLER: &str = "b7ad6b7169203331";

/// What a handler sees of the call it runs for.
fn call() -> (SpanContext, Option<Deadline>) {
    (Context::current().span().span_context().clone(), Deadline::current())
}

#[tokio::test(start_paused = true)]
async fn a_handler_whose_caller_disconnected_keeps_its_trace_its_deadline_and_its_place() {
    let seen = Seen::new("payments").await;
    tokio::time::resume();
    let layer = golden::server("payments")
        .timeout(SECOND * 3600)
        .bulkhead(1)
        .idempotency(MemoryStore::default())
        .registry(&Registry::new())
        .layer();
    let handle = layer.handle().clone();
    let (entered, go_on) = (Arc::new(Notify::new()), Arc::new(Notify::new()));
    let calls = Arc::new(Mutex::new(Vec::new()));
    let pay = {
        let (entered, go_on, calls) = (Arc::clone(&entered), Arc::clone(&go_on), Arc::clone(&calls));
        async move || {
            calls.lock().unwrap().push(call());
            entered.notify_one();
            go_on.notified().await;
            calls.lock().unwrap().push(call());
            // Nor is it lost in what the handler spawns.
            let spawned = moneta_resilience::spawn(async { call() }).await.unwrap();
            calls.lock().unwrap().push(spawned);
        }
    };
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let app = Router::new().route("/payments", post(pay)).layer(layer);
    tokio::spawn(async move { axum::serve(listener, app).await });

    let mut caller = TcpStream::connect(address).await.unwrap();
    let request = format!(
        "POST /payments HTTP/1.1\r\nhost: payments\r\ncontent-length: 0\r\nidempotency-key: k1\r\n\
         traceparent: 00-{TRACE}-{CALLER}-01\r\nx-request-timeout-ms: 600000\r\n\r\n"
    );
    caller.write_all(request.as_bytes()).await.unwrap();
    entered.notified().await;
    drop(caller);
    while handle.counts().calls(Outcome::Cancelled) == 0 {
        tokio::task::yield_now().await;
    }
    assert_eq!(handle.state().bulkhead.unwrap().in_use, 1);
    assert!(handle.drain().now_or_never().is_none(), "it waits for the handler");
    go_on.notify_one();
    handle.drain().await;
    assert_eq!(handle.state().bulkhead.unwrap().in_use, 0);

    // The span of the call ended with its caller, and what the handler does is told under it all the same.
    let span = seen.span();
    assert_eq!(span.parent_span_id, SpanId::from_hex(CALLER).unwrap());
    let calls = calls.lock().unwrap();
    assert_eq!(calls.len(), 3);
    for (context, deadline) in calls.iter() {
        assert_eq!(context.trace_id(), TraceId::from_hex(TRACE).unwrap());
        assert_eq!(context.span_id(), span.span_context.span_id());
        assert_eq!(*deadline, calls[0].1);
        assert!(deadline.is_some_and(|deadline| deadline.remaining() <= SECOND * 600));
    }
}
