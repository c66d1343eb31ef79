use std::{
    future::{Future, pending},
    io,
    panic::AssertUnwindSafe,
    sync::{
        Arc, Mutex,
        atomic::{AtomicUsize, Ordering},
    },
};

use futures::{FutureExt, StreamExt, future::join, stream};
use http::{HeaderMap, Request, Response};
use http_body_util::{BodyExt, StreamBody};
use moneta_resilience::{
    BoxError, Registry,
    bulkhead::BulkheadLayer,
    circuit_breaker::CircuitBreakerLayer,
    event::{BreakerResult, End, Event, Outcome, Protocol},
    fallback::NoFallback,
    golden::{self, ClientBuilder},
    grpc,
    hedge::HedgeLayer,
    retry::{Backoff, RetryLayer},
};
use opentelemetry::{
    Context, KeyValue,
    baggage::BaggageExt,
    trace::{FutureExt as _, SpanId, TraceContextExt, Tracer, TracerProvider},
};
use tokio::time::{advance, sleep};
use tonic::{Code, ConnectError, Status};
use tower::{Service, service_fn};

use super::{Body, CODES, MESSAGE, Seen, after_a_message, body, message, number, outcome, trailers_only};
use crate::SECOND;

const GET: &str = "/bank.Quotes/Get";
const ORIGIN: &str = "https://quotes.internal:50051";
/// What every span of a call says.
const ALWAYS: [&str; 5] = [
    "pipeline=quotes",
    "rpc.method=bank.Quotes/Get",
    "rpc.system.name=grpc",
    "server.address=quotes.internal",
    "server.port=50051",
];

async fn seen() -> Seen {
    Seen::new("quotes").await
}

fn client(seen: &Seen) -> ClientBuilder<golden::Limit, NoFallback> {
    golden::client("quotes")
        .timeout(8 * SECOND)
        .retry(RetryLayer::new().backoff(Backoff::constant(SECOND)))
        .no_fallback()
        .registry(&Registry::new())
        .sink(seen.tape.clone())
}

/// Answers so, and says how often it was asked.
fn channel<F, Fut>(answer: F) -> (impl Channel, Arc<AtomicUsize>)
where
    F: Fn(usize, HeaderMap) -> Fut + Clone + Send + Sync + 'static,
    Fut: Future<Output = Result<Response<Body>, BoxError>> + Send + 'static,
{
    let calls = Arc::new(AtomicUsize::new(0));
    let counted = Arc::clone(&calls);
    let channel = service_fn(move |request: Request<tonic::body::Body>| {
        answer(counted.fetch_add(1, Ordering::Relaxed), request.headers().clone())
    });
    (channel, calls)
}

trait Channel:
    Service<Request<tonic::body::Body>, Response = Response<Body>, Error = BoxError, Future: Send>
    + Clone
    + Send
    + Sync
    + 'static
{
}
impl<S> Channel for S where
    S: Service<Request<tonic::body::Body>, Response = Response<Body>, Error = BoxError, Future: Send>
        + Clone
        + Send
        + Sync
        + 'static
{
}

/// The same answer to every call.
fn answering(answer: impl Fn() -> Response<Body> + Clone + Send + Sync + 'static) -> impl Channel {
    channel(move |_, _| {
        let answer = answer();
        async move { Ok(answer) }
    })
    .0
}

fn hanging() -> impl Channel {
    channel(|_, _| pending()).0
}

/// Makes the call through a client of this channel. The method may be repeated.
macro_rules! call {
    ($client:expr, $channel:expr) => {{
        let origin = ORIGIN.parse().unwrap();
        let mut client = $client.grpc($channel).origin(origin).repeatable_methods([GET]);
        client.call(Request::post(GET).body(tonic::body::Body::empty()).unwrap())
    }};
}

/// Reads an answer to its end, as a generated client does.
async fn read<B>(call: impl Future<Output = Result<Response<B>, Status>>) -> Result<(), Code>
where
    B: http_body::Body<Error = Status>,
{
    let answer = call.await.map_err(|status| status.code())?;
    answer.into_body().collect().await.map(drop).map_err(|status| status.code())
}

/// The words of a span that says this, and what every one of them says.
fn spoken(head: &str, words: &[&str]) -> Vec<String> {
    let mut all: Vec<_> = words.iter().chain(&ALWAYS).map(ToString::to_string).collect();
    all.sort();
    all.insert(0, format!("bank.Quotes/Get CLIENT {head}"));
    all
}

#[tokio::test(start_paused = true)]
async fn all_attempts_of_a_call_are_one_request_and_each_carries_its_context_on() {
    let seen = seen().await;
    let sent: Arc<Mutex<Vec<HeaderMap>>> = Arc::default();
    let written = Arc::clone(&sent);
    let inside: Arc<Mutex<Vec<SpanId>>> = Arc::default();
    let noted = Arc::clone(&inside);
    let (channel, _) = channel(move |attempt, headers| {
        written.lock().unwrap().push(headers);
        let noted = Arc::clone(&noted);
        async move {
            noted.lock().unwrap().push(Context::current().span().span_context().span_id());
            sleep(SECOND / 2).await;
            noted.lock().unwrap().push(Context::current().span().span_context().span_id());
            Ok(if attempt == 0 { trailers_only(Code::Unavailable) } else { after_a_message(Code::Ok) })
        }
    });
    let caller = seen.traces.provider.tracer("caller").start("caller");
    let caller = Context::current_with_span(caller).with_baggage([KeyValue::new("tenant", "42")]);
    let call = call!(client(&seen), channel).with_context(caller.clone()).await.unwrap();
    assert_eq!(seen.spans().len(), 0, "it goes on until its status");
    sleep(SECOND / 2).await;
    call.into_body().collect().await.unwrap();

    assert_eq!(seen.words(), spoken("unset", &["outcome=success", "rpc.response.status_code=OK"]));
    let span = seen.span();
    assert_eq!(span.parent_span_id, caller.span().span_context().span_id());
    assert_eq!(span.end_time.duration_since(span.start_time).unwrap(), 5 * SECOND / 2);
    assert!(inside.lock().unwrap().iter().all(|id| *id == span.span_context.span_id()));
    let sent = sent.lock().unwrap();
    assert_eq!(sent.len(), 2);
    for headers in &*sent {
        let (trace, id) = (span.span_context.trace_id(), span.span_context.span_id());
        assert_eq!(headers["traceparent"], format!("00-{trace}-{id}-01"));
        assert_eq!(headers["baggage"], "tenant=42");
    }
    let (begun, ended) = seen.requests();
    let ([begun], [(exchange, ended)]) = (&begun[..], &ended[..]) else { panic!("{:?}", seen.tape) };
    assert_eq!(begun, exchange);
    assert_eq!((exchange.protocol, exchange.end), (Protocol::Grpc, End::Client));
    assert_eq!((exchange.method, exchange.scheme, exchange.route), ("bank.Quotes/Get", None, None));
    assert_eq!((exchange.address, exchange.port), (Some("quotes.internal"), Some(50051)));
    assert_eq!((ended.status, ended.error, ended.response_size), (Some(0), None, MESSAGE));
    assert_eq!(ended.elapsed, 5 * SECOND / 2);
    assert_eq!(seen.outcomes(), [Outcome::Success]);
}

#[tokio::test(start_paused = true)]
async fn a_call_that_is_refused_on_this_side_makes_no_request_and_no_span() {
    let seen = seen().await;
    let client = client(&seen);
    let breaker = client.grpc(answering(|| after_a_message(Code::Ok)));
    breaker.handle().circuit_breaker().unwrap().force_open();
    let call = breaker.clone().call(Request::post(GET).body(tonic::body::Body::empty()).unwrap());
    assert_eq!(read(call).await, Err(Code::Unavailable));
    assert_eq!(seen.traces.all(), 0);
    assert_eq!(seen.requests(), (vec![], vec![]));
    assert_eq!(seen.outcomes(), [Outcome::Rejected]);
}

#[tokio::test(start_paused = true)]
async fn a_request_begins_when_it_is_let_in() {
    let seen = seen().await;
    let slow = channel(|_, _| async {
        sleep(SECOND).await;
        Ok(after_a_message(Code::Ok))
    });
    let mut quotes = client(&seen).bulkhead_layer(BulkheadLayer::new(1).max_wait(2 * SECOND)).grpc(slow.0);
    let mut ask = || quotes.call(Request::post(GET).body(tonic::body::Body::empty()).unwrap());
    let (first, second) = join(read(ask()), read(ask())).await;
    assert_eq!((first, second), (Ok(()), Ok(())));
    let spans = seen.spans();
    let [first, second] = &spans[..] else { panic!("{spans:?}") };
    assert_eq!(second.start_time, first.end_time, "the wait for a place is none of its time");
    let elapsed: Vec<_> = seen.requests().1.iter().map(|(_, ended)| ended.elapsed).collect();
    assert_eq!(elapsed, [SECOND, SECOND]);
    let waited = seen.told(|event| match event {
        Event::CallFinished { elapsed, .. } => Some(elapsed),
        _ => None,
    });
    assert_eq!(waited, [SECOND, 2 * SECOND], "but of the call's");
}

#[tokio::test(start_paused = true)]
async fn an_attempt_that_is_refused_after_others_ends_the_request_with_the_reason() {
    let seen = seen().await;
    let breaker = CircuitBreakerLayer::new().consecutive_failures(1).open_time(60 * SECOND, 60 * SECOND);
    let (channel, calls) = channel(|_, _| async { Ok(trailers_only(Code::Unavailable)) });
    let call = call!(client(&seen).circuit_breaker(breaker), channel);
    assert_eq!(read(call).await, Err(Code::Unavailable));
    assert_eq!(calls.load(Ordering::Relaxed), 1);
    assert_eq!(
        seen.words(),
        spoken(
            "error",
            &["error.type=circuit_open", "outcome=rejected", "rpc.response.status_code=UNAVAILABLE"]
        )
    );
    assert_eq!(seen.ended().error, Some("circuit_open"));
}

#[tokio::test(start_paused = true)]
async fn a_hedged_call_is_one_request() {
    let seen = seen().await;
    let (channel, calls) = channel(|attempt, _| async move {
        if attempt == 0 {
            sleep(4 * SECOND).await;
        }
        Ok(after_a_message(Code::Ok))
    });
    let call = call!(client(&seen).hedge(HedgeLayer::new().delay(SECOND)), channel);
    assert_eq!(read(call).await, Ok(()));
    assert_eq!(calls.load(Ordering::Relaxed), 2);
    assert_eq!(seen.words(), spoken("unset", &["outcome=success", "rpc.response.status_code=OK"]));
    assert_eq!(seen.ended().elapsed, SECOND);
}

#[tokio::test(start_paused = true)]
async fn every_code_but_ok_is_an_error_of_a_client_wherever_it_stands() {
    for (code, name) in CODES {
        for answer in [trailers_only as fn(Code) -> Response<Body>, after_a_message] {
            let seen = seen().await;
            let call = call!(client(&seen).without_retry(), answering(move || answer(code)));
            read(call).await.unwrap();
            let is_error = code != Code::Ok;
            let (error, status) = (format!("error.type={name}"), format!("rpc.response.status_code={name}"));
            let counted = format!("outcome={}", outcome(code).as_str());
            let expected = if is_error {
                spoken("error", &[&error, &counted, &status])
            } else {
                spoken("unset", &[&counted, &status])
            };
            assert_eq!(seen.words(), expected);
            let ended = seen.ended();
            assert_eq!((ended.status, ended.error), (Some(number(code)), is_error.then_some(name)));
            assert_eq!(seen.outcomes(), [outcome(code)], "{code:?}");
        }
    }
}

#[tokio::test(start_paused = true)]
async fn an_answer_that_begins_well_and_ends_badly_is_told_once_and_to_the_breaker_once() {
    type Answering = fn() -> Response<Body>;
    let endings: [(Answering, Outcome, &str, u64); 5] = [
        (|| after_a_message(Code::Ok), Outcome::Success, "", 0),
        (|| after_a_message(Code::NotFound), Outcome::CallerFault, "NOT_FOUND", 0),
        (|| after_a_message(Code::Internal), Outcome::Fault, "INTERNAL", 1),
        (|| Response::new(body([Ok(message())])), Outcome::Fault, "INTERNAL", 1),
        (
            || Response::new(body([Ok(message()), Err(io::ErrorKind::BrokenPipe.into())])),
            Outcome::Transient,
            "transient",
            1,
        ),
    ];
    for (answer, outcome, error, failures) in endings {
        let seen = seen().await;
        let mut quotes = client(&seen).grpc(answering(answer));
        let handle = quotes.handle().clone();
        let call = quotes.call(Request::post(GET).body(tonic::body::Body::empty()).unwrap());
        let _ = read(call).await;
        let broken = seen.told(|event| match event {
            Event::AnswerBroken { outcome } => Some(outcome),
            _ => None,
        });
        let bad = outcome != Outcome::Success;
        assert_eq!(broken, bad.then_some(outcome).into_iter().collect::<Vec<_>>(), "{error}");
        assert_eq!(seen.ended().error, bad.then_some(error));
        assert_eq!(seen.outcomes(), [outcome]);
        assert_eq!(handle.counts().breaker(BreakerResult::Success), 1, "{error}");
        assert_eq!(handle.counts().breaker(BreakerResult::Failure), failures, "{error}");
    }
}

#[tokio::test(start_paused = true)]
async fn what_comes_instead_of_an_answer_is_told_without_its_text() {
    type Failure = fn() -> BoxError;
    let failures: [(Failure, Code, &str); 3] = [
        (|| "card 4111 1111 1111 1111".into(), Code::Unknown, "transient"),
        (|| ConnectError("card 4111 1111 1111 1111".into()).into(), Code::Unavailable, "transient"),
        (|| Status::aborted("card 4111 1111 1111 1111").into(), Code::Aborted, "ABORTED"),
    ];
    for (failure, code, error) in failures {
        let seen = seen().await;
        let failing = channel(move |_, _| async move { Err(failure()) }).0;
        assert_eq!(read(call!(client(&seen).without_retry(), failing)).await, Err(code));
        let told = seen.words();
        assert!(told[0].ends_with(" error"), "{told:?}");
        assert!(!format!("{told:?}").contains("4111"), "{told:?}");
        assert_eq!((seen.ended().status, seen.ended().error), (Some(number(code)), Some(error)));
    }
}

#[tokio::test(start_paused = true)]
async fn a_limit_that_passes_is_told_by_its_name_before_and_after_the_first_message() {
    let before = seen().await;
    let call = call!(client(&before).without_retry().attempt_timeout(SECOND), hanging());
    assert_eq!(read(call).await, Err(Code::DeadlineExceeded));
    assert_eq!(
        before.words(),
        spoken(
            "error",
            &["error.type=timeout", "outcome=timeout", "rpc.response.status_code=DEADLINE_EXCEEDED"]
        )
    );
    assert_eq!(before.outcomes(), [Outcome::Timeout]);
    drop(before);

    let after = seen().await;
    let stalling = answering(|| {
        let frames = stream::iter([Ok(message())]).chain(stream::pending());
        Response::new(BodyExt::boxed(StreamBody::new(frames)))
    });
    assert_eq!(read(call!(client(&after), stalling)).await, Err(Code::DeadlineExceeded));
    let error = "error.type=deadline_exceeded";
    let status = "rpc.response.status_code=DEADLINE_EXCEEDED";
    assert_eq!(after.words(), spoken("error", &[error, "outcome=timeout", status]));
    assert_eq!(after.ended().elapsed, 8 * SECOND);
    assert_eq!(after.outcomes(), [Outcome::Timeout]);
}

#[tokio::test(start_paused = true)]
async fn a_fallback_hides_from_its_caller_how_the_request_ended_and_from_nobody_else() {
    let seen = seen().await;
    let client = golden::client("quotes")
        .timeout(8 * SECOND)
        .without_retry()
        .fallback(|_why| Ok(grpc::reply("yesterday")))
        .registry(&Registry::new())
        .sink(seen.tape.clone());
    let call = call!(client, answering(|| trailers_only(Code::Unavailable)));
    assert_eq!(read(call).await, Ok(()));
    assert_eq!(
        seen.words(),
        spoken(
            "error",
            &["error.type=UNAVAILABLE", "outcome=transient", "rpc.response.status_code=UNAVAILABLE"]
        )
    );
    assert_eq!(seen.ended().error, Some("UNAVAILABLE"));
    assert_eq!(seen.outcomes(), [Outcome::Degraded]);
}

#[tokio::test(start_paused = true)]
async fn a_caller_that_goes_away_is_no_error_whenever_it_goes() {
    let cancelled = spoken("unset", &["outcome=cancelled", "rpc.response.status_code=CANCELLED"]);
    let before = seen().await;
    drop(call!(client(&before), hanging()));
    assert_eq!(before.tape.events(), [], "a call that was never polled is none");
    let mut call = Box::pin(call!(client(&before), hanging()));
    assert!((&mut call).now_or_never().is_none());
    advance(SECOND).await;
    drop(call);
    assert_eq!(before.words(), cancelled);
    let ended = before.ended();
    assert_eq!((ended.status, ended.error, ended.elapsed), (Some(number(Code::Cancelled)), None, SECOND));
    assert_eq!(before.outcomes(), [Outcome::Cancelled]);
    drop(before);

    // Between two attempts.
    let between = seen().await;
    let mut call = Box::pin(call!(client(&between), answering(|| trailers_only(Code::Unavailable))));
    assert!((&mut call).now_or_never().is_none());
    drop(call);
    assert_eq!(between.words(), cancelled);
    assert_eq!(between.outcomes(), [Outcome::Cancelled]);
    drop(between);

    let after = seen().await;
    let answer = call!(client(&after), answering(|| after_a_message(Code::Ok))).await.unwrap();
    let mut body = Box::pin(answer.into_body());
    body.frame().await.unwrap().unwrap();
    assert_eq!(after.spans().len(), 0);
    drop(body);
    assert_eq!(after.words(), cancelled);
    assert_eq!((after.ended().error, after.ended().response_size), (None, MESSAGE));
    assert_eq!(after.outcomes(), [Outcome::Cancelled]);
    assert_eq!(after.told(|event| matches!(event, Event::AnswerBroken { .. }).then_some(())), []);
}

#[tokio::test(start_paused = true)]
async fn a_panic_is_told_once_and_stays_one() {
    let seen = seen().await;
    let bug = channel(|_, _| async { panic!("card 4111 1111 1111 1111") }).0;
    assert!(AssertUnwindSafe(read(call!(client(&seen), bug))).catch_unwind().await.is_err());
    assert!(!Context::current().has_active_span(), "the context was left");
    let status = "rpc.response.status_code=INTERNAL";
    assert_eq!(seen.words(), spoken("error", &["error.type=panic", "outcome=panic", status]));
    assert_eq!(seen.ended().error, Some("panic"));
    assert_eq!(seen.outcomes(), [Outcome::Panicked]);
}

#[tokio::test(start_paused = true)]
async fn a_channel_that_nobody_has_named_has_no_address() {
    let seen = seen().await;
    let mut quotes = client(&seen).grpc(answering(|| after_a_message(Code::Ok)));
    let call = quotes.call(Request::post(GET).body(tonic::body::Body::empty()).unwrap());
    assert_eq!(read(call).await, Ok(()));
    assert_eq!(
        seen.words(),
        [
            "bank.Quotes/Get CLIENT unset",
            "outcome=success",
            "pipeline=quotes",
            "rpc.method=bank.Quotes/Get",
            "rpc.response.status_code=OK",
            "rpc.system.name=grpc",
        ]
    );
    assert_eq!((seen.requests().0[0].address, seen.requests().0[0].port), (None, None));
}

#[tokio::test(start_paused = true)]
async fn only_the_hosts_that_are_named_are_told_of_the_trace() {
    let seen = seen().await;
    let told: Arc<Mutex<Vec<bool>>> = Arc::default();
    let listening = || {
        let told = Arc::clone(&told);
        channel(move |_, headers| {
            told.lock().unwrap().push(headers.contains_key("traceparent"));
            async { Ok(after_a_message(Code::Ok)) }
        })
        .0
    };
    let trusting = || client(&seen).trace_hosts(["quotes.internal"]);
    assert_eq!(read(call!(trusting(), listening())).await, Ok(()));
    assert_eq!(read(call!(client(&seen).trace_hosts(["ledger.internal"]), listening())).await, Ok(()));
    let mut nameless = trusting().grpc(listening());
    let request = || Request::post(GET).body(tonic::body::Body::empty()).unwrap();
    assert_eq!(read(nameless.call(request())).await, Ok(()));
    assert_eq!(*told.lock().unwrap(), [true, false, false]);
}

#[tokio::test(start_paused = true)]
async fn what_is_told_without_a_provider_is_the_same_but_for_the_span() {
    let seen = seen().await;
    opentelemetry::global::set_tracer_provider(opentelemetry::trace::noop::NoopTracerProvider::new());
    advance(2 * SECOND).await;
    assert_eq!(read(call!(client(&seen), answering(|| after_a_message(Code::Ok)))).await, Ok(()));
    assert_eq!(seen.traces.all(), 0);
    assert_eq!(seen.ended().status, Some(0));
    assert_eq!(seen.outcomes(), [Outcome::Success]);
}

#[test]
fn an_origin_says_a_scheme_and_a_host() {
    for origin in ["/quotes", "quotes.internal:50051", "*"] {
        let client = || {
            let client = golden::client("quotes").timeout(SECOND).no_fallback().registry(&Registry::new());
            client.grpc(answering(|| after_a_message(Code::Ok))).origin(origin.parse().unwrap())
        };
        assert!(std::panic::catch_unwind(client).is_err(), "{origin}");
    }
}
