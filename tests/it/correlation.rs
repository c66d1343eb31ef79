//! What the lines of a request are found by where nothing makes a span of it: neither a tracer provider is set here, nor need
//! OpenTelemetry be in the build.

use std::{
    convert::Infallible,
    io,
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use bytes::Bytes;
use futures::{FutureExt, future::join};
use http::{HeaderName, Request, Response};
use http_body_util::Full;
use moneta_resilience::{
    golden,
    record::log::{JsonLines, LogGuard},
};
use serde_json::Value;
use tokio::{sync::Notify, task::yield_now};
use tower::{BoxError, Layer, ServiceExt, service_fn};
use tracing::subscriber::DefaultGuard;
use tracing_subscriber::{filter::LevelFilter, layer::SubscriberExt};

const SECOND: Duration = Duration::from_secs(1);
const TRACE: &str = "0af7651916cd43dd8448eb211c80319c";
const SPAN: &str = "b7ad6b7169203331";
const TRACEPARENT: &str = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01";

#[derive(Clone, Default)]
struct Page(Arc<Mutex<Vec<u8>>>);

impl io::Write for Page {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// What this thread logs, from here on.
pub(crate) struct Log {
    page: Page,
    guard: LogGuard,
    _logs: DefaultGuard,
}

impl Log {
    pub(crate) fn new() -> Self {
        let page = Page::default();
        let (json, guard) = JsonLines::new("payments").write_to(page.clone()).unwrap();
        let subscriber = tracing_subscriber::registry().with(LevelFilter::INFO).with(json);
        let logs = tracing::subscriber::set_default(subscriber);
        Self { page, guard, _logs: logs }
    }

    pub(crate) fn lines(&self) -> Vec<Value> {
        assert!(self.guard.flush(600 * SECOND));
        let text = self.page.0.lock().unwrap_or_else(PoisonError::into_inner).clone();
        let parse = |line| serde_json::from_str(line).unwrap();
        String::from_utf8(text).unwrap().lines().map(parse).collect()
    }

    fn only(&self) -> Value {
        let [line] = <[Value; 1]>::try_from(self.lines()).unwrap();
        line
    }
}

type Body = Full<Bytes>;

fn request(headers: &[(&'static str, &str)]) -> Request<Body> {
    let mut request = Request::post("/payments").body(Body::default()).unwrap();
    for (name, value) in headers {
        request.headers_mut().append(HeaderName::from_static(name), value.parse().unwrap());
    }
    request
}

async fn ok(_: Request<Body>) -> Result<Response<Body>, Infallible> {
    Ok(Response::new(Body::default()))
}

/// The line of a server's call with these headers.
async fn served(headers: &[(&'static str, &str)]) -> Value {
    let log = Log::new();
    let server = golden::server("correlated").timeout(SECOND).layer().layer(service_fn(ok));
    server.oneshot(request(headers)).await.unwrap();
    log.only()
}

#[tokio::test(start_paused = true)]
async fn all_lines_of_a_request_have_its_id_and_its_callers_trace() {
    let log = Log::new();
    let ledger = golden::client("correlated-ledger")
        .timeout(SECOND)
        .no_fallback()
        .http(service_fn(|_: Request<Body>| async { Err::<Response<Body>, _>(BoxError::from("no")) }));
    let ledger = &ledger;
    let server = golden::server("correlated").timeout(SECOND).layer().layer(service_fn(
        async move |_: Request<Body>| {
            tracing::info!("of the service itself");
            yield_now().await;
            ledger.send(Request::new(Body::default())).await.unwrap_err();
            Ok::<_, Infallible>(Response::new(Body::default()))
        },
    ));
    for (flags, traceparent) in [("01", TRACEPARENT.to_owned()), ("00", TRACEPARENT.replace("-01", "-fe"))] {
        let headers = [("x-request-id", "req-7f9c"), ("traceparent", &traceparent)];
        server.clone().oneshot(request(&headers)).await.unwrap();
        let lines = log.lines().split_off(if flags == "00" { 3 } else { 0 });
        let kinds: Vec<_> = lines.iter().map(|line| line["kind"].as_str()).collect();
        assert_eq!(kinds, [None, Some("client"), Some("server")]);
        for line in lines {
            assert_eq!(line["request_id"], "req-7f9c", "{line}");
            let trace = ["trace_id", "span_id", "trace_flags"].map(|field| &line[field]);
            assert_eq!(trace, [TRACE, SPAN, flags], "{line}");
        }
    }
    tracing::info!("outside");
    let outside = log.lines().pop().unwrap();
    assert_eq!((&outside["request_id"], &outside["trace_id"]), (&Value::Null, &Value::Null));
}

#[tokio::test(start_paused = true)]
async fn an_id_from_outside_is_short_visible_and_nobodys_business_in_no_part() {
    let longest = "x".repeat(128);
    let too_long = "x".repeat(129);
    for (given, shown) in [
        ("req-7f9c", Some("req-7f9c")),
        (&longest, Some(longest.as_str())),
        ("4111111111111111", Some("[card]")),
        (r#"a","b":"c"#, Some(r#"a","b":"c"#)),
        ("", None),
        ("a b", None),
        ("a\tb", None),
        ("größe", None),
        (&too_long, None),
    ] {
        assert_eq!(served(&[("x-request-id", given)]).await["request_id"].as_str(), shown, "{given:?}");
    }
    assert_eq!(served(&[]).await["request_id"], Value::Null);
}

#[tokio::test(start_paused = true)]
async fn a_trace_from_outside_is_whole_or_none() {
    let later = format!("cc{}-what-will-be", &TRACEPARENT[2..]);
    assert_eq!(served(&[("traceparent", &later)]).await["trace_id"], TRACE);
    let hostile = [
        String::new(),
        TRACEPARENT.to_uppercase(),
        TRACEPARENT.replace("0af765", "+af765"),
        TRACEPARENT.replace("0af765", "f765"),
        TRACEPARENT.replace("b7ad", "7ad"),
        TRACEPARENT.replace(TRACE, &"0".repeat(32)),
        TRACEPARENT.replace(SPAN, &"0".repeat(16)),
        TRACEPARENT.replace("00-", "ff-"),
        TRACEPARENT.replace("-01", "-1"),
        TRACEPARENT.replace("-01", "_01"),
        format!("{TRACEPARENT}-and-more"),
        format!("{}.and-more", later.split_at(55).0),
        TRACEPARENT.replace("0af7", "größe"),
    ];
    for hostile in &hostile {
        let line = served(&[("traceparent", hostile)]).await;
        assert_eq!((&line["trace_id"], &line["span_id"]), (&Value::Null, &Value::Null), "{hostile:?}");
    }
    let line = served(&[("traceparent", TRACEPARENT), ("traceparent", TRACEPARENT)]).await;
    assert_eq!(line["trace_id"], Value::Null, "two parents");
}

#[tokio::test(start_paused = true)]
async fn a_service_that_faces_the_internet_shows_nobodys_trace() {
    let log = Log::new();
    let server = golden::server("correlated").timeout(SECOND).edge().layer().layer(service_fn(ok));
    server.oneshot(request(&[("x-request-id", "req-7f9c"), ("traceparent", TRACEPARENT)])).await.unwrap();
    let line = log.only();
    assert_eq!((&line["request_id"], &line["trace_id"]), (&"req-7f9c".into(), &Value::Null));
}

#[tokio::test(start_paused = true)]
async fn requests_that_take_turns_on_a_thread_keep_their_ids_apart() {
    let log = Log::new();
    let server =
        golden::server("correlated").timeout(SECOND).layer().layer(service_fn(async |_: Request<Body>| {
            for _ in 0..3 {
                tracing::info!("at it");
                yield_now().await;
            }
            Ok::<_, Infallible>(Response::new(Body::default()))
        }));
    let ask = |id: &'static str| server.clone().oneshot(request(&[("x-request-id", id)]));
    let (first, second) = join(ask("first"), ask("second")).await;
    first.and(second).unwrap();
    let lines = log.lines();
    let ids: Vec<_> = lines.iter().map(|line| line["request_id"].as_str().unwrap()).collect();
    assert_eq!(ids, ["first", "second", "first", "second", "first", "second", "first", "second"]);
}

#[tokio::test(start_paused = true)]
async fn the_line_of_a_call_whose_caller_goes_away_has_its_id() {
    let log = Log::new();
    let server = golden::server("correlated")
        .timeout(SECOND)
        .layer()
        .layer(service_fn(|_: Request<Body>| std::future::pending::<Result<Response<Body>, Infallible>>()));
    let call = server.oneshot(request(&[("x-request-id", "req-7f9c")]));
    assert!(call.now_or_never().is_none());
    assert_eq!(log.only()["request_id"], "req-7f9c");
}

#[tokio::test(start_paused = true)]
async fn a_spawned_task_logs_for_the_request_that_spawned_it() {
    let log = Log::new();
    let (go_on, done) = (Arc::new(Notify::new()), Arc::new(Notify::new()));
    let (wait, finish) = (Arc::clone(&go_on), Arc::clone(&done));
    let server =
        golden::server("correlated").timeout(SECOND).layer().layer(service_fn(move |_: Request<Body>| {
            let (wait, finish) = (Arc::clone(&wait), Arc::clone(&finish));
            moneta_resilience::spawn(async move {
                wait.notified().await;
                tracing::info!("behind its back");
                finish.notify_one();
            });
            async { Ok::<_, Infallible>(Response::new(Body::default())) }
        }));
    server.oneshot(request(&[("x-request-id", "req-7f9c")])).await.unwrap();
    go_on.notify_one();
    done.notified().await;
    let lines = log.lines();
    let [_, behind] = &lines[..] else { panic!("{lines:?}") };
    assert_eq!((&behind["body"], &behind["request_id"]), (&"behind its back".into(), &"req-7f9c".into()));
}

/// A handler with a key runs on when its caller has gone.
#[cfg(feature = "idempotency")]
#[tokio::test(start_paused = true)]
async fn what_runs_on_behind_a_key_logs_for_its_request() {
    use moneta_resilience::idempotency::MemoryStore;

    let log = Log::new();
    let (go_on, done) = (Arc::new(Notify::new()), Arc::new(Notify::new()));
    let (wait, finish) = (Arc::clone(&go_on), Arc::clone(&done));
    let server =
        golden::server("correlated").timeout(SECOND).idempotency(MemoryStore::default()).layer().layer(
            service_fn(move |_| {
                let (wait, finish) = (Arc::clone(&wait), Arc::clone(&finish));
                async move {
                    wait.notified().await;
                    tracing::info!("behind its back");
                    finish.notify_one();
                    Ok::<_, Infallible>(Response::new(Body::default()))
                }
            }),
        );
    let headers =
        [("idempotency-key", "\"8e03978e\""), ("x-request-id", "req-7f9c"), ("traceparent", TRACEPARENT)];
    let mut call = Box::pin(server.oneshot(request(&headers)));
    for _ in 0..3 {
        assert!((&mut call).now_or_never().is_none());
        yield_now().await;
    }
    drop(call);
    go_on.notify_one();
    done.notified().await;
    let lines = log.lines();
    let behind = lines.iter().find(|line| line["body"] == "behind its back").unwrap();
    assert_eq!((&behind["request_id"], &behind["trace_id"]), (&"req-7f9c".into(), &TRACE.into()));
}
