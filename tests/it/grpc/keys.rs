//! `golden::server(..).idempotency(..).grpc_layer()` round the services of tonic.

use std::{
    convert::Infallible,
    future::{Future, pending},
    sync::{
        Arc, Mutex,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use bytes::Bytes;
use futures::{StreamExt, stream};
use http::{HeaderMap, HeaderValue};
use http_body::Frame;
use http_body_util::{BodyExt, StreamBody};
use moneta_resilience::{
    BoxError, Registry,
    event::{IdempotencyResult, Outcome},
    fault::Fault,
    golden::{self, GrpcServerLayer, Handle, ServerBuilder},
    idempotency::{
        Ask, Claim, Fingerprint, IdempotencyLayer, Identity, LeaseOver, MemoryStore, Outcome as Kept, Owner,
        Sealer, Store, Verdict,
        http::{KeptAnswer, OnServerError},
    },
};
use tonic::{Code, Request, Status, body::Body, metadata::MetadataMap};
use tower::{Layer, Service, ServiceExt, service_fn};

use super::wire::{Asked, Quotes, QuotesClient, answered, framed, in_memory, over_loopback, trailers};

const FAR: Duration = Duration::from_secs(60);
const GET: &str = "/test.Quotes/Get";

type Keys = IdempotencyLayer<MemoryStore>;

fn keys() -> Keys {
    IdempotencyLayer::new(MemoryStore::new())
}

fn server(registry: &Registry, keys: Keys) -> ServerBuilder<golden::Limit, Keys> {
    golden::server("quotes").timeout(FAR).registry(registry).idempotency_layer(keys)
}

fn layer(keys: Keys) -> GrpcServerLayer<Keys> {
    server(&Registry::new(), keys).grpc_layer()
}

fn handle(registry: &Registry) -> Handle {
    Handle::find(registry, "quotes").pop().unwrap()
}

/// A service that says how often it ran.
fn counting() -> (Arc<AtomicUsize>, Quotes) {
    let runs = Arc::new(AtomicUsize::new(0));
    let ran = runs.clone();
    let quotes = Quotes::new(move |asked: Asked| {
        let run = ran.fetch_add(1, Ordering::Relaxed) + 1;
        async move { Ok(format!("{} {run}", asked.message)) }
    });
    (runs, quotes)
}

fn keyed(key: &str, message: &str) -> Request<String> {
    let mut request = Request::new(message.to_owned());
    request.metadata_mut().insert("idempotency-key", key.parse().unwrap());
    request
}

fn is_replay(metadata: &MetadataMap) -> bool {
    metadata.get("idempotent-replayed").is_some_and(|value| value == "true")
}

/// What the caller gets: its message, and whether it was given before.
async fn told<T>(client: &mut QuotesClient<T>, request: Request<String>) -> Result<(String, bool), Status>
where
    T: tonic::client::GrpcService<Body>,
    T::ResponseBody: http_body::Body<Data = Bytes, Error: Into<BoxError> + Send> + Send + 'static,
{
    let answer = client.unary(GET, request).await?;
    Ok((String::from_utf8_lossy(answer.get_ref()).into_owned(), is_replay(answer.metadata())))
}

#[track_caller]
fn code<T: std::fmt::Debug>(answer: Result<T, Status>) -> Code {
    answer.unwrap_err().code()
}

#[tokio::test]
async fn a_key_runs_a_call_once_over_a_real_connection() {
    let (registry, (runs, quotes)) = (Registry::new(), counting());
    let layer = server(&registry, keys()).grpc_layer();
    let mut client = QuotesClient::new(over_loopback(quotes, layer).await);
    let first = told(&mut client, keyed("k1", "CHF")).await.unwrap();
    assert_eq!(first, ("CHF 1".to_owned(), false));
    assert_eq!(told(&mut client, keyed("k1", "CHF")).await.unwrap(), ("CHF 1".to_owned(), true));
    assert_eq!(told(&mut client, keyed("\"k1\"", "CHF")).await.unwrap(), ("CHF 1".to_owned(), true));
    assert_eq!(told(&mut client, keyed("k2", "CHF")).await.unwrap(), ("CHF 2".to_owned(), false));
    assert_eq!(code(told(&mut client, keyed("k1", "EUR")).await), Code::InvalidArgument);
    assert_eq!(code(told(&mut client, keyed("k1, k2", "CHF")).await), Code::InvalidArgument);
    // Without a key nothing is different.
    for run in 3..=4 {
        let answer = told(&mut client, Request::new("CHF".to_owned())).await.unwrap();
        assert_eq!(answer, (format!("CHF {run}"), false));
    }
    assert_eq!(runs.load(Ordering::Relaxed), 4);
    let handle = handle(&registry);
    handle.drain().await;
    let counts = handle.counts();
    assert_eq!(counts.idempotency(IdempotencyResult::Executed), 2);
    assert_eq!(counts.idempotency(IdempotencyResult::Replayed), 2);
    assert_eq!(counts.idempotency(IdempotencyResult::Mismatch), 1);
    assert_eq!(counts.calls(Outcome::CallerFault), 2);
}

#[tokio::test]
async fn a_call_that_is_delivered_twice_has_one_effect() {
    let (registry, (runs, quotes)) = (Registry::new(), counting());
    let mut client = QuotesClient::new(over_loopback(quotes, server(&registry, keys()).grpc_layer()).await);
    let handle = handle(&registry);
    let armed = handle.ingress_faults().unwrap().arm(Fault::duplicate());
    assert_eq!(told(&mut client, keyed("k1", "CHF")).await.unwrap(), ("CHF 1".to_owned(), true));
    assert_eq!(client.call(GET, Request::new("EUR".to_owned())).await.unwrap(), "EUR 2");
    assert_eq!((runs.load(Ordering::Relaxed), armed.hit()), (2, 1));
    assert_eq!(handle.counts().idempotency(IdempotencyResult::Replayed), 1);
}

#[tokio::test]
async fn a_status_is_an_outcome_with_all_that_stands_beside_it() {
    let runs = Arc::new(AtomicUsize::new(0));
    let ran = runs.clone();
    let declining = Quotes::new(move |_| {
        ran.fetch_add(1, Ordering::Relaxed);
        let mut metadata = MetadataMap::new();
        metadata.insert("x-account", "7".parse().unwrap());
        metadata.insert("grpc-retry-pushback-ms", "250".parse().unwrap());
        let details = Bytes::from_static(b"\x08\x09");
        let declined =
            Status::with_details_and_metadata(Code::FailedPrecondition, "no funds", details, metadata);
        async { Err(declined) }
    });
    let mut client = QuotesClient::new(over_loopback(declining, layer(keys())).await);
    for again in [false, true] {
        let status = client.unary(GET, keyed("k1", "CHF")).await.unwrap_err();
        assert_eq!((status.code(), status.message()), (Code::FailedPrecondition, "no funds"));
        assert_eq!(status.details(), b"\x08\x09");
        assert_eq!(status.metadata().get("x-account").unwrap(), "7");
        // When to come again was said to the one who came then.
        assert_eq!(status.metadata().contains_key("grpc-retry-pushback-ms"), !again);
        assert_eq!(is_replay(status.metadata()), again);
    }
    assert_eq!(runs.load(Ordering::Relaxed), 1);
}

/// An answer as its frames say it.
struct Whole {
    headers: HeaderMap,
    body: Bytes,
    trailers: Option<HeaderMap>,
}

/// The stack in front of a service that answers with these frames.
async fn send<F, Fut>(layer: &GrpcServerLayer<Keys>, request: http::Request<Body>, answer: F) -> Whole
where
    F: Fn() -> Fut + Clone + Send + 'static,
    Fut: Future<Output = http::Response<Body>> + Send + 'static,
{
    let service = service_fn(move |_: http::Request<_>| {
        let answer = answer();
        async { Ok::<_, Infallible>(answer.await) }
    });
    let Ok(answer) = layer.layer(service).oneshot(request).await;
    let (head, body) = answer.into_parts();
    let body = body.collect().await.unwrap();
    Whole { headers: head.headers, trailers: body.trailers().cloned(), body: body.to_bytes() }
}

fn post(path: &'static str, key: &'static str, body: Body) -> http::Request<Body> {
    let request = http::Request::post(path).header("content-type", "application/grpc");
    request.header("idempotency-key", key).body(body).unwrap()
}

fn one(message: &str) -> Body {
    Body::new(http_body_util::Full::new(framed(message)))
}

#[tokio::test(start_paused = true)]
async fn frames_status_and_trailers_are_replayed_to_the_byte() {
    let layer = layer(keys());
    let request = || post(GET, "k1", one("CHF"));
    let answer = || async {
        // As a codec with compression writes it: a message in two pieces.
        let message = [1, 0, 0, 0, 4, 0x1f, 0x8b, 0, 0xff];
        let mut end = HeaderMap::new();
        for (name, value) in
            [("grpc-status", "0"), ("x-cost", "3"), ("set-cookie", "a=1"), ("tracestate", "t=1")]
        {
            end.insert(name, HeaderValue::from_static(value));
        }
        let frames = [
            Frame::data(Bytes::copy_from_slice(&message[..3])),
            Frame::data(Bytes::copy_from_slice(&message[3..])),
        ];
        let mut answer = answered(stream::iter(frames.into_iter().chain([Frame::trailers(end)])));
        for (name, value) in [("grpc-encoding", "gzip"), ("x-request-id", "7"), ("date", "now")] {
            answer.headers_mut().insert(name, HeaderValue::from_static(value));
        }
        answer
    };
    let first = send(&layer, request(), answer).await;
    let again = send(&layer, request(), || async { panic!("it was run") }).await;
    assert_eq!(first.body, again.body);
    assert_eq!(again.body.len(), 9);
    let names = |headers: &HeaderMap| headers.keys().map(ToString::to_string).collect::<Vec<_>>();
    assert_eq!(names(&again.headers), ["content-type", "grpc-encoding", "idempotent-replayed"]);
    assert_eq!(names(&again.trailers.unwrap()), ["grpc-status", "x-cost"]);
    assert_eq!(first.trailers.unwrap().len(), 4);
}

#[tokio::test(start_paused = true)]
async fn a_key_is_of_one_method_and_one_caller() {
    let (_, quotes) = counting();
    let mut client = QuotesClient::new(in_memory(quotes, &layer(keys())));
    let mut ask = async |path: &'static str, token: Option<&str>| {
        let mut request = keyed("k1", "CHF");
        if let Some(token) = token {
            request.metadata_mut().insert("authorization", token.parse().unwrap());
        }
        client.call(path, request).await.unwrap()
    };
    assert_eq!(ask(GET, None).await, "CHF 1");
    assert_eq!(ask("/test.Quotes/Put", None).await, "CHF 2");
    assert_eq!(ask(GET, Some("Bearer a")).await, "CHF 3");
    assert_eq!(ask(GET, Some("Bearer b")).await, "CHF 4");
    assert_eq!(ask(GET, Some("Bearer a")).await, "CHF 3");
    assert_eq!(ask(GET, None).await, "CHF 1");
}

#[tokio::test(start_paused = true)]
async fn a_key_that_is_required_or_too_much_is_an_invalid_argument() {
    let (runs, quotes) = counting();
    let keys = keys().required("https://example.com/keys").max_request(20);
    let mut client = QuotesClient::new(in_memory(quotes, &layer(keys)));
    let status = client.get("CHF").await.unwrap_err();
    assert_eq!(
        (status.code(), status.message()),
        (Code::InvalidArgument, "the request needs an idempotency key")
    );
    assert_eq!(code(client.call(GET, keyed("k1", "more than twenty bytes")).await), Code::InvalidArgument);
    assert_eq!(runs.load(Ordering::Relaxed), 0);
    assert_eq!(client.call(GET, keyed("k1", "CHF")).await.unwrap(), "CHF 1");
}

#[tokio::test(start_paused = true)]
async fn a_golden_client_waits_for_the_call_that_has_its_key() {
    let quotes = Quotes::new(async |asked: Asked| {
        tokio::time::sleep(Duration::from_millis(300)).await;
        Ok(asked.message)
    });
    let channel = in_memory(quotes, &layer(keys()));
    let client = golden::client("quotes").timeout(FAR).no_fallback().grpc(channel);
    let (mut first, mut second) = (QuotesClient::new(client.clone()), QuotesClient::new(client.clone()));
    let (first, second) =
        tokio::join!(told(&mut first, keyed("k1", "CHF")), told(&mut second, keyed("k1", "CHF")));
    assert_eq!(first.unwrap(), ("CHF".to_owned(), false));
    assert_eq!(second.unwrap(), ("CHF".to_owned(), true));
    assert_eq!(client.handle().counts().retries_scheduled(), 1);
    assert_eq!(client.handle().counts().calls(Outcome::CallerFault), 0);
}

#[tokio::test(start_paused = true)]
async fn a_key_that_is_being_worked_on_is_aborted_and_may_come_again() {
    let hanging = Quotes::new(async |_| pending().await);
    let (registry, keys) = (Registry::new(), keys().run_limit(FAR / 2));
    let mut client = QuotesClient::new(in_memory(hanging, &server(&registry, keys).grpc_layer()));
    let mut second = client.clone();
    let (first, busy) =
        tokio::join!(client.call(GET, keyed("k1", "CHF")), second.call(GET, keyed("k1", "CHF")));
    // The run limit ended it, and nobody knows what it did.
    assert_eq!(code(first), Code::DeadlineExceeded);
    let busy = busy.unwrap_err();
    assert_eq!(busy.code(), Code::Aborted);
    assert_eq!(busy.metadata().get("grpc-retry-pushback-ms").unwrap(), "1000");
    let doubt = client.call(GET, keyed("k1", "CHF")).await.unwrap_err();
    assert_eq!(doubt.code(), Code::FailedPrecondition);
    assert!(!doubt.metadata().contains_key("grpc-retry-pushback-ms"));
    assert_eq!(code(client.call(GET, keyed("k1", "EUR")).await), Code::InvalidArgument);
}

#[tokio::test(start_paused = true)]
async fn a_store_without_room_is_unavailable_and_nothing_runs() {
    let (runs, quotes) = counting();
    let keys = IdempotencyLayer::new(MemoryStore::new().max_keys(1));
    let mut client = QuotesClient::new(in_memory(quotes, &layer(keys)));
    client.call(GET, keyed("k1", "CHF")).await.unwrap();
    let refused = client.call(GET, keyed("k2", "CHF")).await.unwrap_err();
    assert_eq!(refused.code(), Code::Unavailable);
    assert_eq!(refused.metadata().get("grpc-retry-pushback-ms").unwrap(), "1000");
    assert_eq!(runs.load(Ordering::Relaxed), 1);
}

#[tokio::test(start_paused = true)]
async fn the_handler_runs_on_after_the_deadline_and_holds_its_place() {
    let (registry, limit) = (Registry::new(), Duration::from_secs(2));
    let slow = Quotes::new(move |_| async move {
        tokio::time::sleep(2 * limit).await;
        Ok("late".to_owned())
    });
    let keys = keys();
    let running = keys.handle();
    let layer = server(&registry, keys).timeout(limit).bulkhead(1).grpc_layer();
    let mut client = QuotesClient::new(in_memory(slow, &layer));
    assert_eq!(code(client.call(GET, keyed("k1", "CHF")).await), Code::DeadlineExceeded);
    let handle = handle(&registry);
    assert_eq!((handle.state().bulkhead.unwrap().in_use, running.running()), (1, 1));
    assert_eq!(code(client.call(GET, keyed("k2", "CHF")).await), Code::Unavailable);
    handle.drain().await;
    assert_eq!(handle.state().bulkhead.unwrap().in_use, 0);
    assert_eq!(told(&mut client, keyed("k1", "CHF")).await.unwrap(), ("late".to_owned(), true));
}

#[tokio::test(start_paused = true)]
async fn a_stream_of_messages_is_refused_and_leaves_no_record() {
    let layer = layer(keys());
    let runs = Arc::new(AtomicUsize::new(0));
    let ran = runs.clone();
    let answer = move || {
        ran.fetch_add(1, Ordering::Relaxed);
        async { answered(stream::iter([Frame::data(framed("CHF")), Frame::trailers(HeaderMap::new())])) }
    };
    // It is refused where its second message begins, and not waited for any longer.
    let messages = stream::iter(["CHF", "EUR"]).map(framed).chain(stream::pending());
    let body = Body::new(StreamBody::new(messages.map(|message| Ok::<_, Status>(Frame::data(message)))));
    let refused = send(&layer, post(GET, "k1", body), answer.clone()).await;
    assert_eq!(refused.headers["grpc-status"], (Code::InvalidArgument as i32).to_string().as_str());
    // One that stays open after its first message may have another.
    let open = stream::once(async { Ok::<_, Status>(Frame::data(framed("CHF"))) }).chain(stream::pending());
    let waited = send(&layer, post(GET, "k1", Body::new(StreamBody::new(open))), answer.clone()).await;
    assert_eq!(waited.headers["grpc-status"], (Code::DeadlineExceeded as i32).to_string().as_str());
    assert_eq!(runs.load(Ordering::Relaxed), 0);
    assert_eq!(send(&layer, post(GET, "k1", one("CHF")), answer).await.body, framed("CHF"));
}

#[tokio::test(start_paused = true)]
async fn an_answer_of_many_messages_is_given_once_as_it_comes() {
    // How it ends is not known yet, so it has not failed.
    for then in [OnServerError::Keep, OnServerError::Reexecute] {
        let layer = layer(keys().on_server_error(then));
        let streaming = || async {
            let frames = stream::iter(["CHF", "EUR", "USD"]).map(framed).map(Frame::data);
            answered(frames.chain(stream::iter([trailers(Code::Ok)])))
        };
        let first = send(&layer, post(GET, "k1", one("all")), streaming).await;
        assert_eq!(first.body, ["CHF", "EUR", "USD"].map(framed).concat());
        assert_eq!(first.trailers.unwrap()["grpc-status"], "0");
        let again = send(&layer, post(GET, "k1", one("all")), || async { panic!("it was run") }).await;
        assert_eq!(again.headers["grpc-status"], (Code::AlreadyExists as i32).to_string().as_str());
    }
}

#[tokio::test(start_paused = true)]
async fn where_a_failure_undoes_all_the_next_try_runs_again() {
    let runs = AtomicUsize::new(0);
    let failing = Quotes::new(move |_| {
        let run = runs.fetch_add(1, Ordering::Relaxed) + 1;
        async move {
            Err(match run {
                1 => Status::unavailable("run 1"),
                2 => Status::internal("run 2"),
                _ => Status::not_found(format!("run {run}")),
            })
        }
    });
    let keys = keys().on_server_error(OnServerError::Reexecute);
    let mut client = QuotesClient::new(in_memory(failing, &layer(keys)));
    for message in ["run 1", "run 2", "run 3", "run 3"] {
        assert_eq!(client.call(GET, keyed("k1", "CHF")).await.unwrap_err().message(), message);
    }
}

/// Sees what is kept.
#[derive(Clone, Default)]
struct Spy(Arc<Mutex<Vec<Bytes>>>);

impl Sealer for Spy {
    fn seal(&self, _: &Identity, answer: Bytes) -> Result<Bytes, BoxError> {
        self.0.lock().unwrap().push(answer.clone());
        Ok(answer)
    }

    fn open(&self, _: &Identity, kept: Bytes) -> Result<Bytes, BoxError> {
        Ok(kept)
    }
}

#[tokio::test(start_paused = true)]
async fn what_a_handler_keeps_itself_is_what_would_have_been_kept() {
    let spy = Spy::default();
    let echo = Quotes::new(async |asked: Asked| match &*asked.message {
        "missing" => Err(Status::not_found("no such quote")),
        _ => Ok(asked.message),
    });
    let mut client = QuotesClient::new(in_memory(echo, &layer(keys().sealer(spy.clone()))));
    client.call(GET, keyed("k1", "CHF")).await.unwrap();
    client.call(GET, keyed("k2", "missing")).await.unwrap_err();
    let kept = [KeptAnswer::of_message("CHF"), KeptAnswer::of_status(Status::not_found("no such quote"))];
    let kept = kept.map(|answer| match answer.into() {
        Kept::Answer(bytes) => bytes,
        Kept::Tombstone => panic!("it is an answer"),
    });
    assert_eq!(*spy.0.lock().unwrap(), kept);
}

#[tokio::test(start_paused = true)]
async fn a_verdict_on_a_doubt_is_replayed() {
    let store = MemoryStore::new();
    let (runs, quotes) = counting();
    let mut client = QuotesClient::new(in_memory(quotes, &layer(IdempotencyLayer::new(store.clone()))));
    // Another process claimed it, and died.
    let id = Identity::of(b"", GET.as_bytes(), b"k1");
    let fingerprint = Fingerprint::of([&b"POST"[..], GET.as_bytes(), b"application/grpc", &framed("CHF")]);
    let lease_over = LeaseOver::InDoubt;
    store.claim(id, Ask { owner: Owner::random(), fingerprint, lease: FAR, lease_over }).await.unwrap();
    assert_eq!(code(client.call(GET, keyed("k1", "CHF")).await), Code::Aborted);
    tokio::time::advance(FAR).await;
    assert_eq!(code(client.call(GET, keyed("k1", "CHF")).await), Code::FailedPrecondition);
    let doubt = store.in_doubt(1).await.unwrap()[0];
    let outcome = KeptAnswer::of_message("paid").into();
    store.reconcile(id, doubt.fence, Verdict::Done { outcome, retention: FAR }).await.unwrap();
    assert_eq!(told(&mut client, keyed("k1", "CHF")).await.unwrap(), ("paid".to_owned(), true));
    assert_eq!(runs.load(Ordering::Relaxed), 0);
}

#[tokio::test(start_paused = true)]
async fn a_handler_finds_its_claim_and_can_say_that_it_did_nothing() {
    let runs = Arc::new(AtomicUsize::new(0));
    let ran = runs.clone();
    let service = service_fn(move |request: http::Request<_>| {
        let run = ran.fetch_add(1, Ordering::Relaxed) + 1;
        let claim: Claim = request.extensions().get().cloned().expect("it is under a key");
        async move {
            let _body: http::Request<_> = request.map(BodyExt::boxed_unsync);
            if run == 1 {
                claim.not_executed();
            }
            Ok::<_, Infallible>(answered(stream::iter([
                Frame::data(framed(&run.to_string())),
                trailers(Code::Ok),
            ])))
        }
    });
    let mut stack = layer(keys()).layer(service);
    for expected in ["1", "2", "2"] {
        let answer = stack.ready().await.unwrap().call(post(GET, "k1", one("CHF"))).await.unwrap();
        assert_eq!(answer.into_body().collect().await.unwrap().to_bytes(), framed(expected));
    }
}
