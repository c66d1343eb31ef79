//! The conventions for HTTP, on a server: what is told of each call, exactly.

use std::{
    convert::Infallible,
    future::pending,
    io,
    pin::Pin,
    task::{self, Poll},
};

use bytes::Bytes;
use futures::{FutureExt, StreamExt, future::join, stream};
use http::{Method, Request, Response};
use http_body::{Frame, SizeHint};
use http_body_util::{BodyExt, Full, StreamBody, combinators::BoxBody};
use moneta_resilience::{
    Class, Registry,
    event::{Ended, Exchange, Outcome},
    fault::{Fault, Faults},
    golden::{self, ServerBuilder},
};
use opentelemetry::{
    Context,
    baggage::BaggageExt,
    trace::{SpanId, TraceContextExt, TraceId},
};
use tokio::time::{advance, sleep};
use tower::{Layer, ServiceExt, service_fn};

use crate::{SECOND, seen::Seen, traces::words};

const TRACE: &str = "0af7651916cd43dd8448eb211c80319c";
const CALLER: &str = "b7ad6b7169203331";

type Body = BoxBody<Bytes, io::Error>;

fn full(text: &'static str) -> Body {
    Full::from(text).map_err(|never: Infallible| match never {}).boxed()
}

/// A body of these frames.
fn frames(frames: impl IntoIterator<Item = Result<&'static str, io::ErrorKind>>) -> Body {
    let frames: Vec<_> = frames
        .into_iter()
        .map(|frame| {
            frame.map(|data| Frame::data(Bytes::from_static(data.as_bytes()))).map_err(io::Error::from)
        })
        .collect();
    BodyExt::boxed(StreamBody::new(stream::iter(frames)))
}

fn get(path: &str) -> Request<()> {
    Request::get(path).body(()).unwrap()
}

impl Seen {
    fn server(&self) -> ServerBuilder<golden::Limit> {
        golden::server("accounts")
            .timeout(SECOND)
            .registry(&Registry::new())
            .sink(self.tape.clone())
            .route_of(|head| head.uri.path().starts_with("/accounts/").then_some("/accounts/{id}"))
    }

    /// The one request, and how it ended; that it began, and that nothing was told twice.
    fn request(&self) -> (Exchange, Ended) {
        let (begun, ended) = self.requests();
        let ([begun], [ended]) = (&begun[..], &ended[..]) else { panic!("{:?}", self.tape) };
        assert_eq!(*begun, ended.0);
        *ended
    }
}

#[tokio::test(start_paused = true)]
async fn a_call_is_told_by_the_conventions_as_a_child_of_its_caller() {
    let seen = Seen::new("accounts").await;
    let server = seen.server().layer().layer(service_fn(async |_: Request<()>| {
        let here = Context::current();
        assert_eq!(here.span().span_context().trace_id(), TraceId::from_hex(TRACE).unwrap());
        assert_eq!(here.baggage().get("tenant"), Some(&"42".into()), "baggage comes in");
        sleep(SECOND / 4).await;
        Ok::<_, Infallible>(Response::new(full("[]")))
    }));
    let mut request = get("http://bank.example/accounts/7?owner=ada&page=2");
    request.headers_mut().insert("traceparent", format!("00-{TRACE}-{CALLER}-01").parse().unwrap());
    request.headers_mut().insert("baggage", "tenant=42".parse().unwrap());
    request.headers_mut().insert("authorization", "Bearer abcdefgh12345678".parse().unwrap());
    let Ok(answer) = server.oneshot(request).await;
    assert_eq!(seen.traces.spans("accounts").len(), 0, "it goes on until its body ends");
    sleep(SECOND / 4).await;
    answer.into_body().collect().await.unwrap();

    let span = seen.span();
    assert_eq!(
        words(&span),
        [
            "GET /accounts/{id} SERVER unset",
            "http.request.method=GET",
            "http.response.status_code=200",
            "http.route=/accounts/{id}",
            "network.protocol.version=1.1",
            "outcome=success",
            "pipeline=accounts",
            "url.path=/accounts/7",
            "url.query=owner=[redacted]&page=[redacted]",
            "url.scheme=http",
        ]
    );
    assert_eq!(span.span_context.trace_id(), TraceId::from_hex(TRACE).unwrap());
    assert_eq!(span.parent_span_id, SpanId::from_hex(CALLER).unwrap());
    assert!(span.parent_span_is_remote);
    assert_eq!(span.end_time.duration_since(span.start_time).unwrap(), SECOND / 2);
    let (exchange, ended) = seen.request();
    assert_eq!(
        (exchange.method, exchange.route, exchange.scheme),
        ("GET", Some("/accounts/{id}"), Some("http"))
    );
    assert_eq!((ended.status, ended.error, ended.version), (Some(200), None, Some("1.1")));
    assert_eq!((ended.elapsed, ended.response_size), (SECOND / 2, 2));
    assert_eq!(seen.outcomes(), [Outcome::Success]);
}

#[cfg(feature = "axum")]
#[tokio::test(start_paused = true)]
async fn the_route_is_the_one_that_axum_matched_and_an_unmatched_path_has_none() {
    use axum::{Router, routing::get as route};

    let seen = Seen::new("accounts").await;
    let layer = golden::server("accounts").timeout(SECOND).registry(&Registry::new()).layer();
    let inner = Router::new().route("/{id}/cards", route(async || "none"));
    let app =
        Router::new().nest("/accounts", inner).fallback(async || http::StatusCode::NOT_FOUND).layer(layer);
    for path in ["/accounts/7/cards", "/etc/passwd"] {
        let request = Request::get(path).body(axum::body::Body::empty()).unwrap();
        let Ok(answer) = app.clone().oneshot(request).await;
        answer.into_body().collect().await.unwrap();
    }
    let spans = seen.traces.spans("accounts");
    let names: Vec<_> = spans.iter().map(|span| &*span.name).collect();
    assert_eq!(names, ["GET /accounts/{id}/cards", "GET"]);
}

#[tokio::test(start_paused = true)]
async fn a_method_that_nobody_knows_is_other_everywhere_but_in_the_original() {
    let seen = Seen::new("accounts").await;
    let server = seen.server().layer().layer(service_fn(async |_: Request<()>| {
        Ok::<_, Infallible>(Response::builder().status(405).body(full("")).unwrap())
    }));
    let mut request = get("/");
    *request.method_mut() = Method::from_bytes(b"FROB").unwrap();
    let Ok(_answer) = server.oneshot(request).await;
    let words = words(&seen.span());
    assert_eq!(words[0], "HTTP SERVER unset");
    assert!(words.contains(&"http.request.method=_OTHER".to_owned()));
    assert!(words.contains(&"http.request.method_original=FROB".to_owned()));
    assert_eq!(seen.request().0.method, "_OTHER");
}

#[tokio::test(start_paused = true)]
async fn a_server_is_at_fault_from_500_on() {
    for (status, error, outcome) in [
        (204, None, Outcome::Success),
        (404, None, Outcome::CallerFault),
        (429, None, Outcome::Throttled),
        (500, Some("500"), Outcome::Transient),
        (501, Some("501"), Outcome::Fault),
    ] {
        let seen = Seen::new("accounts").await;
        let server = seen.server().layer().layer(service_fn(move |_: Request<()>| async move {
            Ok::<_, Infallible>(Response::builder().status(status).body(full("")).unwrap())
        }));
        let Ok(_answer) = server.oneshot(get("/")).await;
        let words = words(&seen.span());
        assert_eq!(words[0] == "GET SERVER error", error.is_some(), "{words:?}");
        let told = words.iter().find_map(|word| word.strip_prefix("error.type="));
        assert_eq!(told, error);
        let ended = seen.request().1;
        assert_eq!((ended.status, ended.error), (Some(status), error));
        assert_eq!(seen.outcomes(), [outcome]);
    }
}

#[tokio::test(start_paused = true)]
async fn a_refused_call_has_the_status_of_its_refusal_and_the_reason() {
    let seen = Seen::new("accounts").await;
    let server = seen.server().bulkhead(1).layer().layer(service_fn(async |_: Request<()>| {
        pending::<()>().await;
        Ok::<_, Infallible>(Response::new(full("")))
    }));
    let (in_time, refused) = join(server.clone().oneshot(get("/")), server.oneshot(get("/"))).await;
    assert_eq!((in_time.unwrap().status().as_u16(), refused.unwrap().status().as_u16()), (504, 503));
    let told: Vec<_> = seen.traces.spans("accounts").iter().map(words).collect();
    let has =
        |at: usize, word: &str| assert!(told[at].contains(&word.to_owned()), "{word} in {:?}", told[at]);
    has(0, "error.type=bulkhead_full");
    has(0, "http.response.status_code=503");
    has(0, "GET SERVER error");
    has(1, "error.type=deadline_exceeded");
    has(1, "http.response.status_code=504");
}

#[tokio::test(start_paused = true)]
async fn a_panic_is_an_error_of_its_own_and_is_told_once() {
    let seen = Seen::new("accounts").await;
    let server = seen.server().layer().layer(service_fn(
        async |_: Request<()>| -> Result<Response<Body>, Infallible> { panic!("card 4111 1111 1111 1111") },
    ));
    let Ok(answer) = server.oneshot(get("/accounts/7")).await;
    assert_eq!(answer.status(), 500);
    assert_eq!(
        words(&seen.span()),
        [
            "GET /accounts/{id} SERVER error",
            "error.type=panic",
            "http.request.method=GET",
            "http.response.status_code=500",
            "http.route=/accounts/{id}",
            "network.protocol.version=1.1",
            "outcome=panic",
            "pipeline=accounts",
            "url.path=/accounts/7",
            "url.scheme=http",
        ]
    );
    assert_eq!(seen.request().1.error, Some("panic"));
    assert_eq!(seen.outcomes(), [Outcome::Panicked]);
}

#[tokio::test(start_paused = true)]
async fn a_caller_that_goes_away_is_no_error_whenever_it_goes() {
    let seen = Seen::new("accounts").await;
    let server = seen.server().layer().layer(service_fn(async |_: Request<()>| {
        pending::<()>().await;
        Ok::<_, Infallible>(Response::new(full("")))
    }));
    let mut call = Box::pin(server.oneshot(get("/")));
    assert!((&mut call).now_or_never().is_none());
    advance(SECOND / 2).await;
    drop(call);
    let told = words(&seen.span());
    assert_eq!(told[0], "GET SERVER unset");
    assert!(told.contains(&"outcome=cancelled".to_owned()));
    assert_eq!((seen.request().1.status, seen.request().1.error), (None, None));
    assert_eq!(seen.request().1.elapsed, SECOND / 2);
    drop(seen);

    let seen = Seen::new("accounts").await;
    let server = seen.server().layer().layer(service_fn(async |_: Request<()>| {
        Ok::<_, Infallible>(Response::new(frames([Ok("a"), Ok("b")])))
    }));
    let Ok(answer) = server.oneshot(get("/")).await;
    let mut body = answer.into_body();
    body.frame().await.unwrap().unwrap();
    assert_eq!(seen.traces.spans("accounts").len(), 0);
    drop(body);
    let told = words(&seen.span());
    assert_eq!(told[0], "GET SERVER unset");
    assert!(told.contains(&"outcome=cancelled".to_owned()));
    let ended = seen.request().1;
    assert_eq!((ended.status, ended.error, ended.response_size), (Some(200), None, 1));
    assert_eq!(seen.outcomes(), [Outcome::Cancelled]);
}

#[tokio::test(start_paused = true)]
async fn a_body_that_was_written_as_promised_is_a_success_though_nobody_saw_its_end() {
    // What hyper does: it drops a body of a known length once all of it was written.
    let seen = Seen::new("accounts").await;
    let server = seen.server().layer().layer(service_fn(async |_: Request<()>| {
        Ok::<_, Infallible>(
            Response::builder().header("content-length", "2").body(frames([Ok("a"), Ok("b")])).unwrap(),
        )
    }));
    let Ok(answer) = server.oneshot(get("/")).await;
    let mut body = answer.into_body();
    for _ in 0..2 {
        body.frame().await.unwrap().unwrap();
    }
    drop(body);
    assert_eq!(seen.outcomes(), [Outcome::Success]);
}

/// Has a server answer with nothing.
async fn asked(seen: &Seen, request: Request<()>) {
    let server = seen
        .server()
        .layer()
        .layer(service_fn(async |_: Request<()>| Ok::<_, Infallible>(Response::new(full("")))));
    let Ok(_answer) = server.oneshot(request).await;
}

#[tokio::test(start_paused = true)]
async fn a_request_that_claims_to_be_larger_than_any_has_no_size() {
    for (claim, size) in [("1099511627776", Some(1 << 40)), ("18446744073709551615", None), ("-1", None)] {
        let seen = Seen::new("accounts").await;
        let mut request = get("/");
        request.headers_mut().insert("content-length", claim.parse().unwrap());
        asked(&seen, request).await;
        assert_eq!(seen.request().1.request_size, size, "{claim}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_body_that_says_itself_how_long_it_is_has_promised_that() {
    /// What hyper then writes as `content-length`, and drops without asking for more.
    struct Known(u8);
    impl http_body::Body for Known {
        type Data = Bytes;
        type Error = Infallible;

        fn poll_frame(
            mut self: Pin<&mut Self>,
            _: &mut task::Context<'_>,
        ) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
            let left = self.0.checked_sub(1);
            self.0 = left.unwrap_or(0);
            Poll::Ready(left.map(|_| Ok(Frame::data(Bytes::from_static(b"a")))))
        }

        fn size_hint(&self) -> SizeHint {
            SizeHint::with_exact(self.0.into())
        }
    }

    for (read, outcome) in [(2, Outcome::Success), (1, Outcome::Cancelled)] {
        let seen = Seen::new("accounts").await;
        let server = seen
            .server()
            .layer()
            .layer(service_fn(async |_: Request<()>| Ok::<_, Infallible>(Response::new(Known(2)))));
        let Ok(answer) = server.oneshot(get("/")).await;
        let mut body = answer.into_body();
        for _ in 0..read {
            body.frame().await.unwrap().unwrap();
        }
        drop(body);
        assert_eq!(seen.outcomes(), [outcome], "{read}");
    }
}

#[tokio::test(start_paused = true)]
async fn an_answer_to_head_is_over_with_its_head() {
    let seen = Seen::new("accounts").await;
    let server = seen.server().layer().layer(service_fn(async |_: Request<()>| {
        Ok::<_, Infallible>(
            Response::builder().header("content-length", "1000").body(frames([Ok("a")])).unwrap(),
        )
    }));
    let mut request = get("/");
    *request.method_mut() = Method::HEAD;
    let Ok(answer) = server.oneshot(request).await;
    assert_eq!(seen.outcomes(), [Outcome::Success]);
    drop(answer);
    assert_eq!(seen.outcomes(), [Outcome::Success]);
}

#[tokio::test(start_paused = true)]
async fn a_body_that_breaks_after_a_good_head_is_an_error() {
    let seen = Seen::new("accounts").await;
    let server = seen.server().layer().layer(service_fn(async |_: Request<()>| {
        Ok::<_, Infallible>(Response::new(frames([Ok("a"), Err(io::ErrorKind::BrokenPipe)])))
    }));
    let Ok(answer) = server.oneshot(get("/")).await;
    answer.into_body().collect().await.expect_err("it breaks");
    let told = words(&seen.span());
    assert_eq!(told[0], "GET SERVER error");
    assert!(told.contains(&"error.type=fault".to_owned()), "{told:?}");
    assert!(told.contains(&"http.response.status_code=200".to_owned()));
    assert_eq!(seen.outcomes(), [Outcome::Fault]);
}

#[tokio::test(start_paused = true)]
async fn a_body_that_panics_is_told_as_a_panic() {
    let seen = Seen::new("accounts").await;
    let server = seen.server().layer().layer(service_fn(async |_: Request<()>| {
        let bug =
            stream::once(async { panic!("a bug") }).map(|()| Ok::<_, io::Error>(Frame::data(Bytes::new())));
        Ok::<_, Infallible>(Response::new(BodyExt::boxed(StreamBody::new(Box::pin(bug)))))
    }));
    let Ok(answer) = server.oneshot(get("/")).await;
    let read = std::panic::AssertUnwindSafe(answer.into_body().collect());
    assert!(read.catch_unwind().await.is_err());
    assert!(words(&seen.span()).contains(&"error.type=panic".to_owned()));
    assert_eq!(seen.outcomes(), [Outcome::Panicked]);
}

#[tokio::test(start_paused = true)]
async fn a_server_at_the_edge_begins_a_trace_with_a_link_and_takes_no_baggage() {
    let seen = Seen::new("accounts").await;
    let server = seen.server().edge().layer().layer(service_fn(async |_: Request<()>| {
        assert!(Context::current().baggage().is_empty());
        Ok::<_, Infallible>(Response::new(full("")))
    }));
    let mut request = get("/");
    // Not sampled, by the caller's will.
    request.headers_mut().insert("traceparent", format!("00-{TRACE}-{CALLER}-00").parse().unwrap());
    request.headers_mut().insert("baggage", "tenant=42".parse().unwrap());
    let Ok(_answer) = server.oneshot(request).await;
    let span = seen.span();
    assert_eq!(span.parent_span_id, SpanId::INVALID);
    assert_ne!(span.span_context.trace_id(), TraceId::from_hex(TRACE).unwrap());
    let [link] = &span.links[..] else { panic!("{:?}", span.links) };
    assert_eq!(link.span_context.span_id(), SpanId::from_hex(CALLER).unwrap());
}

#[tokio::test(start_paused = true)]
async fn a_hostile_trace_context_begins_a_new_trace() {
    for value in [
        "",
        "00",
        "zz-zz-zz-zz",
        &format!("00-{TRACE}-0000000000000000-01"),
        &"0".repeat(10_000),
        &format!("00-1-{CALLER}-01"),
        &format!("00-{TRACE}-+1-01"),
        &format!("0-{TRACE}-{CALLER}-01"),
        &format!("00-{TRACE}-{CALLER}-1"),
    ] {
        let seen = Seen::new("accounts").await;
        let mut request = get("/");
        request.headers_mut().insert("traceparent", value.parse().unwrap());
        request.headers_mut().insert("baggage", "=;,;=,%ff".parse().unwrap());
        asked(&seen, request).await;
        assert_eq!(seen.span().parent_span_id, SpanId::INVALID, "{value:?}");
    }

    let seen = Seen::new("accounts").await;
    let mut request = get("/");
    for caller in [CALLER, "0000000000000001"] {
        request.headers_mut().append("traceparent", format!("00-{TRACE}-{caller}-01").parse().unwrap());
    }
    asked(&seen, request).await;
    assert_eq!(seen.span().parent_span_id, SpanId::INVALID, "two parents");
}

#[tokio::test(start_paused = true)]
async fn what_a_caller_says_in_several_headers_is_taken_together() {
    let seen = Seen::new("accounts").await;
    let server = seen.server().layer().layer(service_fn(async |_: Request<()>| {
        let here = Context::current();
        let baggage = ["tenant", "desk"].map(|key| here.baggage().get(key).map(ToString::to_string));
        assert_eq!(baggage, [Some("42".to_owned()), Some("fx".to_owned())]);
        Ok::<_, Infallible>(Response::new(full("")))
    }));
    let mut request = get("/");
    for (name, value) in [
        ("traceparent", &*format!("00-{TRACE}-{CALLER}-01")),
        ("tracestate", "ot=th:8"),
        ("tracestate", "vendor=b"),
        ("baggage", "tenant=42"),
        ("baggage", "desk=fx"),
    ] {
        request.headers_mut().append(name, value.parse().unwrap());
    }
    let Ok(_answer) = server.oneshot(request).await;
    assert_eq!(seen.span().span_context.trace_state().header(), "ot=th:8,vendor=b");
}

#[tokio::test(start_paused = true)]
async fn a_span_that_is_open_already_is_the_parent() {
    use opentelemetry::trace::{FutureExt as _, Tracer, TracerProvider as _};

    let seen = Seen::new("accounts").await;
    let server = seen
        .server()
        .layer()
        .layer(service_fn(async |_: Request<()>| Ok::<_, Infallible>(Response::new(full("")))));
    let outer = seen.traces.provider.tracer("outer").start("outer");
    let outer = Context::current_with_span(outer);
    let mut request = get("/");
    request.headers_mut().insert("traceparent", format!("00-{TRACE}-{CALLER}-01").parse().unwrap());
    let Ok(_answer) = server.oneshot(request).with_context(outer.clone()).await;
    assert_eq!(seen.span().parent_span_id, outer.span().span_context().span_id());
}

#[tokio::test(start_paused = true)]
async fn an_injected_fault_is_told_as_what_its_caller_gets() {
    let seen = Seen::new("accounts").await;
    let faults = Faults::new();
    faults.arm(Fault::error(Class::TRANSIENT));
    let server = seen
        .server()
        .faults(faults)
        .layer()
        .layer(service_fn(async |_: Request<()>| Ok::<_, Infallible>(Response::new(full("")))));
    let Ok(answer) = server.oneshot(get("/")).await;
    assert_eq!(answer.status(), 503);
    assert_eq!((seen.request().1.status, seen.request().1.error), (Some(503), Some("transient")));
}

#[tokio::test(start_paused = true)]
async fn what_was_told_without_a_provider_is_the_same_but_for_the_span() {
    let seen = Seen::new("accounts").await;
    opentelemetry::global::set_tracer_provider(opentelemetry::trace::noop::NoopTracerProvider::new());
    advance(2 * SECOND).await;
    let server = seen
        .server()
        .layer()
        .layer(service_fn(async |_: Request<()>| Ok::<_, Infallible>(Response::new(full("[]")))));
    let Ok(answer) = server.oneshot(get("/accounts/7")).await;
    answer.into_body().collect().await.unwrap();
    assert_eq!(seen.traces.spans("accounts").len(), 0);
    assert_eq!(seen.request().1.status, Some(200));
}
