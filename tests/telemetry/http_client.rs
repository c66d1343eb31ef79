//! The conventions for HTTP, on a client: what is told of each call and of each attempt, exactly.

use std::{
    convert::Infallible,
    future::pending,
    io,
    sync::atomic::{AtomicU16, Ordering},
};

use bytes::Bytes;
use futures::stream;
use http::{HeaderMap, Request, Response};
use http_body::Frame;
use http_body_util::{BodyExt, Full, StreamBody, combinators::BoxBody};
use moneta_resilience::{
    BoxError, Registry,
    event::Outcome,
    fallback::NoFallback,
    golden::{self, ClientBuilder},
    retry::{Backoff, RetryLayer},
};
use opentelemetry::trace::SpanId;
use opentelemetry_sdk::trace::SpanData;
use tokio::time::sleep;
use tower::service_fn;

use crate::{SECOND, seen::Seen, traces::words};

type Body = BoxBody<Bytes, io::Error>;

fn full(text: &'static str) -> Body {
    Full::from(text).map_err(|never: Infallible| match never {}).boxed()
}

fn answer(status: u16, body: Body) -> Response<Body> {
    Response::builder().status(status).body(body).unwrap()
}

fn get() -> Request<()> {
    Request::get("http://ada:secret@quotes.internal:8080/quotes/ACME?card=4111111111111111").body(()).unwrap()
}

impl Seen {
    fn client(&self) -> ClientBuilder<golden::Limit, NoFallback> {
        golden::client("quotes")
            .timeout(8 * SECOND)
            .retry(RetryLayer::new().backoff(Backoff::constant(SECOND)))
            .no_fallback()
            .registry(&Registry::new())
            .sink(self.tape.clone())
    }

    /// The statuses and errors of the requests that ended; as many began.
    fn results(&self) -> Vec<(Option<u16>, Option<&'static str>)> {
        let (begun, ended) = self.requests();
        assert_eq!(begun.len(), ended.len());
        ended.into_iter().map(|(_, ended)| (ended.status, ended.error)).collect()
    }
}

#[tokio::test(start_paused = true)]
async fn every_attempt_is_a_request_of_its_own_under_the_span_of_the_call() {
    let (seen, attempts) = (Seen::new("quotes").await, AtomicU16::new(0));
    let sent: &std::sync::Mutex<Vec<HeaderMap>> = Box::leak(Box::default());
    let attempts: &AtomicU16 = Box::leak(Box::new(attempts));
    let client = seen.client().http(service_fn(async |request: Request<()>| {
        sent.lock().unwrap().push(request.headers().clone());
        sleep(SECOND / 2).await;
        let status = if attempts.fetch_add(1, Ordering::Relaxed) == 0 { 503 } else { 200 };
        Ok::<_, BoxError>(answer(status, full("quote")))
    }));
    let response = client.send(get()).await.unwrap();
    assert_eq!(seen.spans().len(), 1, "the failed attempt alone is over");
    sleep(SECOND).await;
    response.into_body().collect().await.unwrap();

    let spans = seen.spans();
    let [first, second, call] = &spans[..] else { panic!("{spans:?}") };
    assert_eq!(
        words(first),
        [
            "GET CLIENT error",
            "error.type=503",
            "http.request.method=GET",
            "http.response.status_code=503",
            "network.protocol.version=1.1",
            "outcome=transient",
            "pipeline=quotes",
            "server.address=quotes.internal",
            "server.port=8080",
            "url.full=http://quotes.internal:8080/quotes/ACME?card=[redacted]",
            "url.scheme=http",
        ]
    );
    assert_eq!(
        words(second),
        [
            "GET CLIENT unset",
            "http.request.method=GET",
            "http.request.resend_count=1",
            "http.response.status_code=200",
            "network.protocol.version=1.1",
            "outcome=success",
            "pipeline=quotes",
            "server.address=quotes.internal",
            "server.port=8080",
            "url.full=http://quotes.internal:8080/quotes/ACME?card=[redacted]",
            "url.scheme=http",
        ]
    );
    assert_eq!(words(call), ["quotes INTERNAL unset", "outcome=success", "pipeline=quotes"]);
    assert_eq!(call.parent_span_id, SpanId::INVALID);
    for (attempt, headers) in [first, second].into_iter().zip(&*sent.lock().unwrap()) {
        assert_eq!(attempt.parent_span_id, call.span_context.span_id());
        let (trace, span) = (call.span_context.trace_id(), attempt.span_context.span_id());
        assert_eq!(
            headers["traceparent"],
            format!("00-{trace}-{span}-01"),
            "each attempt is the parent over there"
        );
    }
    let took = |span: &SpanData| span.end_time.duration_since(span.start_time).unwrap();
    assert_eq!((took(first), took(second)), (SECOND / 2, SECOND / 2 + SECOND));
    assert_eq!(seen.results(), [(Some(503), Some("503")), (Some(200), None)]);
    assert_eq!(seen.outcomes(), [Outcome::Success]);
}

#[tokio::test(start_paused = true)]
async fn a_call_that_is_refused_on_this_side_makes_no_request() {
    let seen = Seen::new("quotes").await;
    let client =
        seen.client().http(service_fn(async |_: Request<()>| Ok::<_, BoxError>(answer(200, full("")))));
    client.handle().circuit_breaker().unwrap().force_open();
    client.send(get()).await.expect_err("refused");
    let spans = seen.spans();
    let [call] = &spans[..] else { panic!("{spans:?}") };
    assert_eq!(
        words(call),
        ["quotes INTERNAL error", "error.type=circuit_open", "outcome=rejected", "pipeline=quotes"]
    );
    assert_eq!(seen.results(), []);
    assert_eq!(seen.outcomes(), [Outcome::Rejected]);
}

#[tokio::test(start_paused = true)]
async fn what_comes_instead_of_an_answer_is_told_without_its_text() {
    let refused = || -> Result<Response<Body>, BoxError> {
        Err(io::Error::new(io::ErrorKind::ConnectionRefused, "card 4111 1111 1111 1111").into())
    };
    let seen = Seen::new("quotes").await;
    let client =
        seen.client().without_retry().http(service_fn(move |_: Request<()>| async move { refused() }));
    client.send(get()).await.expect_err("nobody listens");
    let spans = seen.spans();
    for span in &spans {
        let told = words(span);
        assert!(told[0].ends_with(" error"), "{told:?}");
        assert!(told.contains(&"error.type=transient".to_owned()), "{told:?}");
        assert!(
            !told.iter().any(|word| word.contains("4111 ") || word.starts_with("http.response")),
            "{told:?}"
        );
    }
    assert_eq!(seen.results(), [(None, Some("transient"))]);
    drop(seen);

    let seen = Seen::new("quotes").await;
    let client = seen.client().without_retry().attempt_timeout(SECOND);
    let client = client.http(service_fn(async |_: Request<()>| {
        pending::<()>().await;
        Ok::<_, BoxError>(answer(200, full("")))
    }));
    client.send(get()).await.expect_err("it hangs");
    assert_eq!(seen.results(), [(None, Some("timeout"))]);
}

#[tokio::test(start_paused = true)]
async fn an_answer_at_fault_is_an_error_of_its_attempt_alone() {
    let seen = Seen::new("quotes").await;
    let client = seen
        .client()
        .http(service_fn(async |_: Request<()>| Ok::<_, BoxError>(answer(404, full("no such quote")))));
    drop(client.send(get()).await.unwrap());
    let told: Vec<_> = seen.spans().iter().map(|span| words(span)[0].clone()).collect();
    assert_eq!(told, ["GET CLIENT error", "quotes INTERNAL unset"]);
    assert_eq!(seen.results(), [(Some(404), Some("404"))]);
}

#[tokio::test(start_paused = true)]
async fn a_body_that_breaks_after_a_good_head_is_an_error_of_attempt_and_call() {
    let seen = Seen::new("quotes").await;
    let client = seen.client().http(service_fn(async |_: Request<()>| {
        let frames =
            [Ok(Frame::data(Bytes::from_static(b"a"))), Err(io::Error::from(io::ErrorKind::BrokenPipe))];
        Ok::<_, BoxError>(answer(200, BodyExt::boxed(StreamBody::new(stream::iter(frames)))))
    }));
    client.send(get()).await.unwrap().into_body().collect().await.expect_err("it breaks");
    let told: Vec<_> = seen.spans().iter().map(|span| words(span)[0].clone()).collect();
    assert_eq!(told, ["GET CLIENT error", "quotes INTERNAL error"]);
    assert_eq!(seen.results(), [(Some(200), Some("transient"))]);
    assert_eq!(seen.outcomes(), [Outcome::Transient]);
}

#[tokio::test(start_paused = true)]
async fn a_body_that_stalls_is_told_with_the_limit_that_cut_it() {
    let seen = Seen::new("quotes").await;
    let client = seen.client().http(service_fn(async |_: Request<()>| {
        let silence = stream::pending::<Result<Frame<Bytes>, io::Error>>();
        Ok::<_, BoxError>(answer(200, BodyExt::boxed(StreamBody::new(silence))))
    }));
    client.send(get()).await.unwrap().into_body().collect().await.expect_err("it stalls");
    let spans = seen.spans();
    let call = words(spans.last().unwrap());
    assert!(call.contains(&"error.type=deadline_exceeded".to_owned()), "{call:?}");
    assert_eq!(seen.outcomes(), [Outcome::Timeout]);
}

#[tokio::test(start_paused = true)]
async fn a_caller_that_has_read_enough_of_a_good_answer_is_no_error() {
    let seen = Seen::new("quotes").await;
    let client =
        seen.client().http(service_fn(async |_: Request<()>| Ok::<_, BoxError>(answer(200, full("quote")))));
    drop(client.send(get()).await.unwrap());
    let told: Vec<_> = seen.spans().iter().map(|span| words(span)[0].clone()).collect();
    assert_eq!(told, ["GET CLIENT unset", "quotes INTERNAL unset"]);
    assert_eq!((seen.results(), seen.outcomes()), (vec![(Some(200), None)], vec![Outcome::Success]));
}

#[tokio::test(start_paused = true)]
async fn a_call_that_is_dropped_ends_its_spans_and_requests_once() {
    let seen = Seen::new("quotes").await;
    let client = seen.client().http(service_fn(async |_: Request<()>| {
        pending::<()>().await;
        Ok::<_, BoxError>(answer(200, full("")))
    }));
    tokio::time::timeout(SECOND, client.send(get())).await.expect_err("it hangs");
    let told: Vec<_> = seen.spans().iter().map(|span| words(span)[0].clone()).collect();
    assert_eq!(told, ["GET CLIENT unset", "quotes INTERNAL unset"]);
    assert_eq!((seen.results(), seen.outcomes()), (vec![(None, None)], vec![Outcome::Cancelled]));
}

#[tokio::test(start_paused = true)]
async fn only_the_hosts_that_are_named_are_told_of_the_trace() {
    let seen = Seen::new("quotes").await;
    let told: &std::sync::Mutex<Vec<bool>> = Box::leak(Box::default());
    let transport = service_fn(async |request: Request<()>| {
        told.lock().unwrap().push(request.headers().contains_key("traceparent"));
        Ok::<_, BoxError>(answer(200, full("")))
    });
    let client = seen.client().trace_hosts(["quotes.internal"]).http(transport);
    for url in ["http://Quotes.Internal/", "http://quotes.internal.evil.example/", "/"] {
        let request = Request::get(url).body(()).unwrap();
        drop(client.send(request).await.unwrap());
    }
    let client = seen.client().without_wire_headers().http(transport);
    drop(client.send(get()).await.unwrap());
    assert_eq!(*told.lock().unwrap(), [true, false, false, false]);
}
