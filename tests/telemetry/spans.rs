use std::{
    convert::Infallible,
    future::pending,
    io,
    panic::AssertUnwindSafe,
    sync::atomic::{AtomicU32, Ordering},
};

use futures::FutureExt;
use moneta_resilience::golden::{self, Calls};
use opentelemetry::{
    Context, Value,
    trace::{
        FutureExt as _, SpanContext, SpanId, SpanKind, Status, TraceContextExt, TraceFlags, TraceId,
        TraceState,
    },
};
use tokio::{
    task::yield_now,
    time::{advance, sleep},
};

use crate::{
    SECOND, alone, call,
    traces::{Traces, attribute, text},
};

/// A stack whose attempts are cut after a second.
fn stack(pipeline: &str) -> Calls {
    golden::client(pipeline).timeout(30 * SECOND).attempt_timeout(SECOND).no_fallback().calls()
}

#[tokio::test(start_paused = true)]
async fn a_tracer_provider_that_comes_late_or_changes_is_noticed_within_a_second() {
    let _alone = alone().await;
    let (first, second) = (Traces::new(), Traces::new());
    let made = |traces: &Traces| traces.spans("spans-order").len();
    call("spans-order").await;
    first.set();
    advance(SECOND).await;
    call("spans-order").await;
    assert_eq!(made(&first), 1);

    second.set();
    advance(SECOND).await;
    call("spans-order").await;
    assert_eq!((made(&first), made(&second)), (1, 1));

    let span = &second.spans("spans-order")[0];
    assert_eq!(span.span_kind, SpanKind::Internal);
    assert_eq!(span.instrumentation_scope.name(), "moneta-resilience");
    assert_eq!(span.end_time.duration_since(span.start_time).unwrap(), SECOND);

    second.provider.shutdown().unwrap();
    call("spans-order").await;
    first.set();
    advance(SECOND).await;
    call("spans-order").await;
    assert_eq!(made(&first), 2, "one that was shut down is no dead end");
}

#[tokio::test(start_paused = true)]
async fn a_recovered_call_is_no_error_and_its_failed_attempt_is() {
    let (_alone, traces, attempts) = (alone().await, Traces::new(), AtomicU32::new(0));
    traces.set();
    let attempt = || async {
        sleep(SECOND / 2).await;
        match attempts.fetch_add(1, Ordering::Relaxed) {
            0 => Err(io::Error::from(io::ErrorKind::ConnectionRefused)),
            _ => Ok(()),
        }
    };
    stack("spans-recovered").run_repeatable(attempt).await.unwrap();

    let spans = traces.spans("spans-recovered");
    let [first, second, call] = &spans[..] else { panic!("{spans:?}") };
    assert_eq!(call.span_kind, SpanKind::Internal);
    assert_eq!(call.parent_span_id, SpanId::INVALID);
    assert_eq!(call.status, Status::Unset);
    assert_eq!(text(call, "pipeline").as_deref(), Some("spans-recovered"));
    assert_eq!(text(call, "outcome").as_deref(), Some("success"));
    assert_eq!(attribute(call, "error.type"), None);
    assert!(call.end_time.duration_since(call.start_time).unwrap() >= SECOND);

    for attempt in [first, second] {
        assert_eq!(attempt.span_kind, SpanKind::Client);
        assert_eq!(attempt.parent_span_id, call.span_context.span_id());
        assert_eq!(attempt.span_context.trace_id(), call.span_context.trace_id());
        assert_eq!(text(attempt, "pipeline").as_deref(), Some("spans-recovered"));
        assert_eq!(attempt.end_time.duration_since(attempt.start_time).unwrap(), SECOND / 2);
    }
    assert_eq!(attribute(first, "resilience.resend_count"), None);
    assert_eq!(text(first, "error.type").as_deref(), Some("transient"));
    assert_eq!(first.status, Status::error(""));
    assert_eq!(attribute(second, "resilience.resend_count"), Some(Value::I64(1)));
    assert_eq!(text(second, "outcome").as_deref(), Some("success"));
    assert_eq!(second.status, Status::Unset);
}

#[cfg(feature = "http")]
#[tokio::test(start_paused = true)]
async fn a_later_attempt_over_http_says_which_it_is_in_the_words_of_the_conventions() {
    use http::{Request, Response};

    let (_alone, traces) = (alone().await, Traces::new());
    traces.set();
    let client = golden::client("spans-http").timeout(30 * SECOND).no_fallback();
    let busy = async |_: Request<()>| {
        Ok::<_, Infallible>(Response::builder().status(503).body(String::new()).unwrap())
    };
    client.http(tower::service_fn(busy)).send(Request::new(())).await.unwrap();

    let spans = traces.spans("spans-http");
    let resent: Vec<_> = spans.iter().map(|span| attribute(span, "http.request.resend_count")).collect();
    assert_eq!(resent, [None, Some(Value::I64(1)), Some(Value::I64(2)), None], "three attempts and the call");
    assert!(spans.iter().all(|span| attribute(span, "resilience.resend_count").is_none()));
}

#[tokio::test(start_paused = true)]
async fn a_reason_of_this_side_is_the_type_of_the_error() {
    let (_alone, traces) = (alone().await, Traces::new());
    traces.set();
    let hang = pending::<Result<(), Infallible>>;
    stack("spans-timeout").run(hang).await.unwrap_err();
    let spans = traces.spans("spans-timeout");
    assert_eq!(spans.len(), 2, "{spans:?}");
    for span in spans {
        assert_eq!(text(&span, "outcome").as_deref(), Some("timeout"));
        assert_eq!(text(&span, "error.type").as_deref(), Some("timeout"));
        assert_eq!(span.status, Status::error(""));
    }
}

#[tokio::test(start_paused = true)]
async fn a_refused_call_makes_no_span_of_an_attempt() {
    let (_alone, traces) = (alone().await, Traces::new());
    traces.set();
    let ledger = stack("spans-refused");
    ledger.handle().circuit_breaker().unwrap().force_open();
    ledger.run(|| async { Ok::<_, Infallible>(()) }).await.unwrap_err();
    let spans = traces.spans("spans-refused");
    let [call] = &spans[..] else { panic!("{spans:?}") };
    assert_eq!(call.span_kind, SpanKind::Internal);
    assert_eq!(text(call, "outcome").as_deref(), Some("rejected"));
    assert_eq!(text(call, "error.type").as_deref(), Some("circuit_open"));
}

#[tokio::test(start_paused = true)]
async fn a_call_with_a_fallback_is_degraded_and_no_error() {
    let (_alone, traces) = (alone().await, Traces::new());
    traces.set();
    let hang = pending::<Result<u8, Infallible>>;
    stack("spans-degraded").run_or(hang, |_why| Ok(7)).await.unwrap();
    let spans = traces.spans("spans-degraded");
    let [attempt, call] = &spans[..] else { panic!("{spans:?}") };
    assert_eq!(attempt.status, Status::error(""));
    assert_eq!(text(call, "outcome").as_deref(), Some("degraded"));
    assert_eq!((attribute(call, "error.type"), &call.status), (None, &Status::Unset));
}

#[tokio::test(start_paused = true)]
async fn a_message_never_leaves_the_process() {
    let (_alone, traces) = (alone().await, Traces::new());
    traces.set();
    let unknown = || async { Err::<(), _>("IBAN GB33BUKB20201555555555 is unknown") };
    stack("spans-message").run(unknown).await.unwrap_err();
    let spans = traces.spans("spans-message");
    let [attempt, call] = &spans[..] else { panic!("{spans:?}") };
    assert_eq!(text(attempt, "error.type").as_deref(), Some("caller_fault"), "the one who asked was wrong");
    assert_eq!(call.status, Status::Unset, "nothing is wrong with the pipeline");
    assert!(!format!("{spans:?}").contains("GB33"));
}

#[tokio::test(start_paused = true)]
async fn a_dropped_call_ends_its_spans_once_and_without_an_error() {
    let (_alone, traces) = (alone().await, Traces::new());
    traces.set();
    let ledger = stack("spans-dropped");
    let call = || ledger.run(pending::<Result<(), Infallible>>);
    drop(call());
    assert_eq!(traces.spans("spans-dropped").len(), 0, "a call that was never polled makes no span");
    assert!(call().now_or_never().is_none());
    let spans = traces.spans("spans-dropped");
    assert_eq!(spans.len(), 2, "{spans:?}");
    for span in spans {
        assert_eq!(text(&span, "outcome").as_deref(), Some("cancelled"));
        assert_eq!((attribute(&span, "error.type"), span.status), (None, Status::Unset));
    }
}

#[tokio::test(start_paused = true)]
async fn a_panic_ends_its_spans_as_an_error() {
    async fn bug() -> Result<(), Infallible> {
        yield_now().await;
        panic!("a bug");
    }
    let (_alone, traces) = (alone().await, Traces::new());
    traces.set();
    let ledger = stack("spans-panic");
    AssertUnwindSafe(ledger.run(bug)).catch_unwind().await.unwrap_err();
    assert!(!Context::current().has_active_span(), "the context was left");
    let spans = traces.spans("spans-panic");
    assert_eq!(spans.len(), 2, "{spans:?}");
    for span in spans {
        assert_eq!(text(&span, "error.type").as_deref(), Some("panic"));
        assert_eq!(span.status, Status::error(""));
    }
}

#[tokio::test(start_paused = true)]
async fn stacks_one_in_the_other_and_the_work_see_the_span_around_them() {
    let (_alone, traces) = (alone().await, Traces::new());
    traces.set();
    let (outer, inner) = (stack("spans-outer"), stack("spans-inner"));
    let work = || async {
        yield_now().await;
        Ok::<_, Infallible>(Context::current().span().span_context().span_id())
    };
    let mut call = Box::pin(outer.run(|| inner.run(work)));
    let seen = loop {
        if let Some(seen) = call.as_mut().now_or_never() {
            break seen.unwrap();
        }
        assert!(!Context::current().has_active_span(), "between two polls the thread is somebody else's");
        yield_now().await;
    };
    let (inner, outer) = (traces.spans("spans-inner"), traces.spans("spans-outer"));
    let ([inner_attempt, inner_call], [outer_attempt, outer_call]) = (&inner[..], &outer[..]) else {
        panic!("{inner:?} {outer:?}")
    };
    assert_eq!(seen, inner_attempt.span_context.span_id());
    assert_eq!(inner_attempt.parent_span_id, inner_call.span_context.span_id());
    assert_eq!(inner_call.parent_span_id, outer_attempt.span_context.span_id());
    assert_eq!(outer_attempt.parent_span_id, outer_call.span_context.span_id());
}

#[tokio::test(start_paused = true)]
async fn the_span_around_the_call_is_its_parent_and_decides_on_sampling() {
    let (_alone, traces) = (alone().await, Traces::new());
    traces.set();
    let remote = |flags| {
        let context = SpanContext::new(TraceId::from(7), SpanId::from(7), flags, true, TraceState::default());
        Context::new().with_remote_span_context(context)
    };
    let ledger = stack("spans-remote");
    let seen =
        || ledger.run(|| async { Ok::<_, Infallible>(Context::current().span().span_context().clone()) });

    let context = seen().with_context(remote(TraceFlags::SAMPLED)).await.unwrap();
    assert_eq!(context.trace_id(), TraceId::from(7));
    let sampled = traces.spans("spans-remote");
    assert_eq!(sampled.len(), 2);
    assert_eq!(sampled[1].parent_span_id, SpanId::from(7));

    let context = seen().with_context(remote(TraceFlags::NOT_SAMPLED)).await.unwrap();
    assert_eq!(context.trace_id(), TraceId::from(7), "the trace goes on");
    assert_ne!(context.span_id(), SpanId::from(7), "with spans of its own");
    assert!(!context.is_sampled());
    assert_eq!(traces.spans("spans-remote").len(), 2, "which nobody sees");
}

#[tokio::test(start_paused = true)]
async fn without_a_provider_the_callers_context_stays_as_it_is() {
    let _alone = alone().await;
    let remote =
        SpanContext::new(TraceId::from(7), SpanId::from(7), TraceFlags::SAMPLED, true, TraceState::default());
    let ledger = stack("spans-none");
    let seen = ledger
        .run(|| async { Ok::<_, Infallible>(Context::current().span().span_context().clone()) })
        .with_context(Context::new().with_remote_span_context(remote.clone()));
    assert_eq!(seen.await.unwrap(), remote);
}

#[tokio::test(start_paused = true)]
async fn work_on_telemetry_itself_makes_no_spans() {
    let (_alone, traces) = (alone().await, Traces::new());
    traces.set();
    call("spans-quiet").with_context(Context::new().with_telemetry_suppressed()).await;
    assert_eq!(traces.spans("spans-quiet").len(), 0);
    call("spans-quiet").await;
    assert_eq!(traces.spans("spans-quiet").len(), 1, "and does not silence the others");
}
