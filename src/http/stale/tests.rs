use std::{
    collections::VecDeque,
    convert::Infallible,
    future::ready,
    io,
    pin::Pin,
    sync::{Arc, Mutex},
    time::Duration,
};

use bytes::Bytes;
use futures::{StreamExt as _, stream};
use http::{HeaderMap, HeaderValue, Method, Request, Response, StatusCode, header};
use http_body::Frame;
use http_body_util::{BodyExt as _, StreamBody};
use tokio::time::advance;
use tower::{BoxError, Layer, Service, ServiceExt as _, service_fn};

use super::{Stale, StaleBody, StaleCache};
use crate::{Registry, event::Outcome, golden, http::Degraded};

const SECOND: Duration = Duration::from_secs(1);

/// A body of frames that are there at once.
type Frames = StreamBody<Pin<Box<dyn futures::Stream<Item = Result<Frame<Bytes>, io::Error>> + Send>>>;

fn text(text: &'static str) -> Frames {
    body(vec![Ok(data(text))])
}

/// An answer with a body, and these fields.
fn answer<const N: usize>(body: &'static str, fields: [(&'static str, &'static str); N]) -> Response<Frames> {
    let mut response = Response::new(text(body));
    for (name, value) in fields {
        response.headers_mut().append(name, HeaderValue::from_static(value));
    }
    response
}

/// A service behind the cache, that answers as it is told and then is down.
struct Rig<S> {
    answers: Arc<Mutex<VecDeque<Response<Frames>>>>,
    stack: S,
}

type Reply = Result<Response<StaleBody<Frames>>, BoxError>;

fn rig(
    cache: StaleCache,
) -> Rig<impl Service<Request<()>, Response = Response<StaleBody<Frames>>, Error = BoxError> + Clone> {
    let answers = Arc::<Mutex<VecDeque<_>>>::default();
    let told = Arc::clone(&answers);
    let service = service_fn(move |_: Request<()>| {
        let down = || io::Error::from(io::ErrorKind::ConnectionRefused);
        ready(told.lock().expect("no test panics with it").pop_front().ok_or_else(down))
    });
    Rig { answers, stack: cache.layer().layer(service) }
}

impl<S> Rig<S>
where
    S: Service<Request<()>, Response = Response<StaleBody<Frames>>, Error = BoxError> + Clone,
{
    async fn send(&self, request: Request<()>) -> Reply {
        self.stack.clone().oneshot(request).await
    }

    /// The service answers this; the caller reads it to its end.
    async fn answered(&self, request: Request<()>, response: Response<Frames>) {
        self.tell(response);
        let response = self.send(request).await.expect("it answers");
        assert!(response.extensions().get::<Stale>().is_none());
        let _ = response.into_body().collect().await;
    }

    fn tell(&self, response: Response<Frames>) {
        self.answers.lock().expect("no test panics with it").push_back(response);
    }

    /// What a caller gets while the service is down.
    async fn down(&self, request: Request<()>) -> Option<String> {
        assert!(self.answers.lock().expect("no test panics with it").is_empty());
        let response = self.send(request).await.ok()?;
        assert!(response.extensions().get::<Stale>().is_some());
        Some(read(response).await)
    }
}

async fn read(response: Response<StaleBody<Frames>>) -> String {
    let bytes = response.into_body().collect().await.expect("a copy does not fail").to_bytes();
    String::from_utf8(bytes.to_vec()).expect("it is text")
}

fn get(uri: &str) -> Request<()> {
    asked(Method::GET, uri, [])
}

fn asked<const N: usize>(
    method: Method,
    uri: &str,
    fields: [(&'static str, &'static str); N],
) -> Request<()> {
    let mut request = Request::builder().method(method).uri(uri).body(()).expect("it is valid");
    for (name, value) in fields {
        request.headers_mut().append(name, HeaderValue::from_static(value));
    }
    request
}

#[tokio::test(start_paused = true)]
async fn a_host_is_never_served_the_answer_of_another_at_the_same_uri() {
    for uri in ["/balance", "http://10.0.0.1/balance"] {
        let rig = rig(StaleCache::new());
        let of = |host| asked(Method::GET, uri, [("host", host)]);
        rig.answered(of("a.example"), answer("of a", [])).await;
        assert_eq!(rig.down(of("b.example")).await, None);
        rig.answered(of("b.example"), answer("of b", [])).await;
        rig.answered(asked(Method::PUT, uri, [("host", "b.example")]), answer("", [])).await;
        assert_eq!(rig.down(of("a.example")).await.as_deref(), Some("of a"));
        assert_eq!(rig.down(of("b.example")).await, None);
    }
}

#[tokio::test(start_paused = true)]
async fn the_last_good_answer_stands_in_and_says_so() {
    let rig = rig(StaleCache::new());
    for price in ["100", "101"] {
        rig.answered(
            get("/eur"),
            answer(price, [("etag", "\"7\""), ("age", "3"), ("keep-alive", "timeout=5")]),
        )
        .await;
    }
    advance(7 * SECOND).await;
    let stale = rig.send(get("/eur")).await.expect("there is a copy");
    assert_eq!(stale.status(), StatusCode::OK);
    assert_eq!(stale.extensions().get(), Some(&Stale { age: 10 * SECOND }));
    assert_eq!(stale.extensions().get(), Some(&Degraded));
    let fields = |name| stale.headers().get_all(name).iter().collect::<Vec<_>>();
    assert_eq!(fields("age"), ["10"]);
    assert_eq!(fields("etag"), ["\"7\""]);
    assert_eq!(fields("cache-status"), ["moneta-resilience; fwd=stale"]);
    assert!(fields("keep-alive").is_empty(), "it is about another connection");
    assert_eq!(read(stale).await, "101");
    assert_eq!(rig.down(get("/chf")).await, None);

    rig.tell(Response::builder().status(503).body(text("busy")).expect("it is valid"));
    let stale = rig.send(get("/eur")).await.expect("there is a copy");
    assert_eq!(stale.headers()["cache-status"], "moneta-resilience; fwd=stale; fwd-status=503");
}

#[tokio::test(start_paused = true)]
async fn an_unsafe_method_is_neither_kept_nor_answered() {
    let rig = rig(StaleCache::new());
    for method in ["POST", "PUT", "PATCH", "DELETE", "OPTIONS", "TRACE", "LOCK"] {
        let method: Method = method.parse().expect("it is one");
        rig.answered(asked(method.clone(), "/order", []), answer("done", [])).await;
        assert_eq!(rig.down(asked(method.clone(), "/order", [])).await, None, "{method}");
        assert_eq!(rig.down(get("/order")).await, None, "{method}");
        rig.answered(get("/price"), answer("100", [])).await;
        assert_eq!(rig.down(asked(method.clone(), "/price", [])).await, None, "{method}");
    }
    // HEAD is safe, and has its own copies.
    assert_eq!(rig.down(asked(Method::HEAD, "/price", [])).await, None);
    rig.answered(asked(Method::HEAD, "/price", []), answer("", [("content-length", "3")])).await;
    assert_eq!(rig.down(asked(Method::HEAD, "/price", [])).await.as_deref(), Some(""));
}

#[tokio::test(start_paused = true)]
async fn a_copy_is_served_until_it_is_too_old() {
    let cases: [(&'static str, &'static str, u64); 5] = [
        ("cache-control", "max-age=1", 60),
        ("age", "20", 40),
        ("age", "99999999999999999999", 0),
        ("cache-control", "max-age=2, stale-if-error=5", 7),
        ("cache-control", "stale-if-error=86400", 60),
    ];
    for (name, value, seconds) in cases {
        let rig = rig(StaleCache::new().max_age(60 * SECOND));
        rig.answered(get("/"), answer("100", [(name, value)])).await;
        if seconds > 0 {
            advance(Duration::from_secs(seconds)).await;
            assert!(rig.down(get("/")).await.is_some(), "{value} at {seconds}");
            advance(Duration::from_millis(1)).await;
        }
        assert_eq!(rig.down(get("/")).await, None, "{value} after {seconds}");
    }
}

#[tokio::test(start_paused = true)]
async fn what_must_not_be_kept_is_not_and_takes_the_older_copy_away() {
    let fields: [(&'static str, &'static str); 11] = [
        ("cache-control", "no-store"),
        ("cache-control", "max-age=5, NO-CACHE"),
        ("cache-control", "public,must-revalidate"),
        ("cache-control", "private=\"x-user, x-tenant\""),
        ("cache-control", "s-maxage=5"),
        ("cache-control", "proxy-revalidate"),
        ("set-cookie", "session=1"),
        ("vary", "*"),
        ("vary", "accept, *"),
        ("vary", "not a name"),
        ("content-length", "4"),
    ];
    for (name, value) in fields {
        let rig = rig(StaleCache::new());
        if name != "content-length" {
            rig.answered(get("/"), answer("old", [])).await;
        }
        rig.answered(get("/"), answer("new", [(name, value)])).await;
        assert_eq!(rig.down(get("/")).await, None, "{name}: {value}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_head_without_room_for_our_fields_is_not_kept() {
    let rig = rig(StaleCache::new());
    for (fields, kept) in [(1_000, true), (24_576, false)] {
        let mut big = answer("100", []);
        let name = |n| header::HeaderName::try_from(format!("x-{n}")).expect("it is a name");
        big.headers_mut().extend((0..fields).map(|n: u32| (name(n), HeaderValue::from_static("-"))));
        rig.answered(get("/"), big).await;
        assert_eq!(rig.down(get("/")).await.is_some(), kept, "{fields}");
    }
}

#[tokio::test(start_paused = true)]
async fn what_is_no_whole_good_answer_is_not_kept() {
    for (status, keeps_the_old) in
        [(206, true), (304, true), (301, false), (404, false), (403, false), (429, true)]
    {
        let rig = rig(StaleCache::new());
        rig.answered(get("/"), answer("old", [])).await;
        let mut other = answer("other", []);
        *other.status_mut() = StatusCode::from_u16(status).expect("it is one");
        rig.tell(other);
        let _ = rig.send(get("/")).await;
        assert_eq!(rig.down(get("/")).await.is_some(), keeps_the_old, "{status}");
    }
}

#[tokio::test(start_paused = true)]
async fn nobody_is_served_what_was_meant_for_somebody_else() {
    for (name, value) in [
        ("authorization", "Bearer a"),
        ("cookie", "session=a"),
        ("range", "bytes=0-5"),
        ("cache-control", "no-store"),
        ("cache-control", "no-cache"),
    ] {
        let rig = rig(StaleCache::new());
        let with = || asked(Method::GET, "/", [(name, value)]);
        rig.answered(with(), answer("mine", [])).await;
        assert_eq!(rig.down(with()).await, None, "{name}");
        assert_eq!(rig.down(get("/")).await, None, "{name}");
        rig.answered(get("/"), answer("public", [])).await;
        assert_eq!(rig.down(with()).await, None, "{name}");
    }
}

#[tokio::test(start_paused = true)]
async fn each_caller_has_its_own_copies() {
    let rig = rig(StaleCache::new().per_caller(|head| {
        let user = head.headers.get("x-user")?;
        Some(user.to_str().ok()?.to_owned())
    }));
    let by = |user, uri: &str| asked(Method::GET, uri, [("x-user", user), ("authorization", "Bearer")]);
    for user in ["ann", "bob"] {
        rig.answered(by(user, "/me"), answer(user, [("cache-control", "private"), ("set-cookie", "s")]))
            .await;
    }
    for user in ["ann", "bob"] {
        assert_eq!(rig.down(by(user, "/me")).await.as_deref(), Some(user));
    }
    assert_eq!(rig.down(by("eve", "/me")).await, None);
    rig.answered(get("/me"), answer("nobody", [])).await;
    assert_eq!(rig.down(get("/me")).await, None, "who says nothing of its caller is not kept");
    // No name of a caller together with a URI reads like another's.
    rig.answered(by("ann", "/bob/me"), answer("hers", [])).await;
    assert_eq!(rig.down(by("ann/bob", "/me")).await, None);
    rig.answered(by("ann", "/me"), answer("secret", [("cache-control", "no-store")])).await;
    assert_eq!(rig.down(by("ann", "/me")).await, None);
}

#[tokio::test(start_paused = true)]
async fn a_copy_stands_in_only_where_the_dependency_would_have_chosen_it() {
    let rig = rig(StaleCache::new());
    let in_language = |language| asked(Method::GET, "/", [("accept-language", language)]);
    let german = answer("Kurs", [("vary", "Accept-Encoding, accept-language")]);
    rig.answered(in_language("de"), german).await;
    assert_eq!(rig.down(in_language("fr")).await, None);
    assert_eq!(rig.down(get("/")).await, None);
    assert_eq!(rig.down(in_language("de")).await.as_deref(), Some("Kurs"));
}

fn data(text: &'static str) -> Frame<Bytes> {
    Frame::data(Bytes::from_static(text.as_bytes()))
}

fn body(frames: Vec<io::Result<Frame<Bytes>>>) -> Frames {
    StreamBody::new(stream::iter(frames).boxed())
}

#[tokio::test(start_paused = true)]
async fn a_body_is_kept_when_it_was_read_to_its_end_and_is_whole_and_short() {
    let trailers = Frame::trailers(HeaderMap::from_iter([(header::ETAG, HeaderValue::from_static("sum"))]));
    for (frames, kept) in [
        (vec![Ok(data("123")), Ok(data("456"))], true),
        (vec![], true),
        (vec![Ok(data("123")), Ok(data("4567"))], false),
        (vec![Ok(data("1234567"))], false),
        (vec![Ok(data("123")), Err(io::Error::other("broke off"))], false),
        (vec![Ok(data("123")), Ok(trailers)], false),
    ] {
        let case = format!("{frames:?}");
        let rig = rig(StaleCache::new().max_body(6));
        rig.answered(get("/"), Response::new(body(frames))).await;
        assert_eq!(rig.down(get("/")).await.is_some(), kept, "{case}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_reader_gets_each_frame_when_it_comes_and_one_that_leaves_leaves_no_copy() {
    let rig = rig(StaleCache::new());
    let (frames, coming) = futures::channel::mpsc::unbounded();
    rig.tell(Response::new(StreamBody::new(coming.boxed())));
    let mut reading = rig.send(get("/")).await.expect("the head is there").into_body();
    for text in ["1", "2"] {
        assert!(futures::FutureExt::now_or_never(reading.frame()).is_none());
        frames.unbounded_send(Ok(data(text))).expect("somebody reads");
        let frame = reading.frame().await.expect("it is there").expect("it is good");
        assert_eq!(frame.into_data().ok(), Some(Bytes::from(text)));
    }
    drop(reading);
    assert_eq!(rig.down(get("/")).await, None);
}

#[tokio::test(start_paused = true)]
async fn an_older_answer_that_comes_late_does_not_take_a_newer_ones_place() {
    for newer_status in [200, 403] {
        let rig = rig(StaleCache::new());
        rig.tell(answer("older", []));
        let slow = rig.send(get("/")).await.expect("the head is there");
        advance(SECOND).await;
        let mut newer = answer("newer", []);
        *newer.status_mut() = StatusCode::from_u16(newer_status).expect("it is one");
        rig.answered(get("/"), newer).await;
        assert_eq!(read(slow).await, "older");
        let stale = rig.down(get("/")).await;
        assert_eq!(stale.as_deref(), (newer_status == 200).then_some("newer"));
    }
}

#[tokio::test(start_paused = true)]
async fn what_was_read_before_a_write_ended_does_not_stand_in_after_it() {
    let rig = rig(StaleCache::new());
    rig.answered(get("/limit"), answer("100", [])).await;
    rig.tell(answer("100", []));
    let slow = rig.send(get("/limit")).await.expect("the head is there");
    advance(SECOND).await;
    rig.answered(asked(Method::PUT, "/limit", [("authorization", "Bearer")]), answer("", [])).await;
    assert_eq!(read(slow).await, "100");
    assert_eq!(rig.down(get("/limit")).await, None);

    rig.answered(get("/limit"), answer("200", [])).await;
    let _ = rig.send(asked(Method::PUT, "/limit", [])).await;
    assert_eq!(rig.down(get("/limit")).await.as_deref(), Some("200"), "a write that failed has no say");
}

#[tokio::test(start_paused = true)]
async fn a_flood_of_keys_is_bounded_and_what_is_used_survives_it() {
    let rig = rig(StaleCache::new().max_entries(8));
    rig.answered(get("/used"), answer("100", [])).await;
    for n in 0..100 {
        rig.answered(get(&format!("/{n}")), answer("flood", [])).await;
        assert!(rig.down(get("/used")).await.is_some());
    }
    let mut kept = 0;
    for n in 0..100 {
        kept += u32::from(rig.down(get(&format!("/{n}"))).await.is_some());
    }
    assert_eq!(kept, 7);
}

#[tokio::test(start_paused = true)]
async fn a_copy_does_not_hold_on_to_the_buffers_it_came_in() {
    let rig = rig(StaleCache::new());
    let buffer = Bytes::from(vec![b'7'; 1 << 20]);
    let mut big = Response::new(body(vec![Ok(Frame::data(buffer.slice(..10)))]));
    let value = HeaderValue::from_maybe_shared(buffer.slice(..5)).expect("digits make a value");
    big.headers_mut().insert(header::ETAG, value);
    rig.answered(get("/"), big).await;
    assert_eq!(rig.down(get("/")).await.as_deref(), Some("7777777777"));
    assert!(buffer.is_unique());
}

#[tokio::test(start_paused = true)]
async fn where_there_is_no_copy_another_fallback_answers() {
    let down = service_fn(async |_: Request<()>| {
        Err::<Response<Frames>, _>(io::Error::from(io::ErrorKind::ConnectionRefused))
    });
    let registry = Registry::new();
    let stack = golden::client("quotes")
        .timeout(SECOND)
        .stale_cache(StaleCache::new().or(|_why| Ok(Response::new("unknown".to_owned()))))
        .registry(&registry)
        .http(down);
    let answer = stack.send(get("/")).await.expect("the closure answers");
    assert!(answer.extensions().get::<Degraded>().is_some() && answer.extensions().get::<Stale>().is_none());
    let body = answer.into_body().collect().await.expect("it does not fail").to_bytes();
    assert_eq!(body, "unknown");
    assert_eq!(stack.handle().counts().calls(Outcome::Degraded), 1);
}

#[tokio::test(start_paused = true)]
async fn a_cache_that_nobody_was_asked_past_says_hit() {
    let up = Arc::new(Mutex::new(true));
    let told = Arc::clone(&up);
    let service = service_fn(move |_: Request<()>| {
        assert!(*told.lock().expect("no test panics with it"), "the circuit is open");
        ready(Ok::<_, Infallible>(answer("100", [])))
    });
    let stack = golden::client("quotes").timeout(SECOND).stale_cache(StaleCache::new());
    let stack = stack.fallback_when(|end| end.is_failure() || end.status() == Some(StatusCode::GONE));
    let stack = stack.registry(&Registry::new()).http(service);
    let fresh = stack.send(get("/")).await.expect("it answers");
    fresh.into_body().collect().await.expect("it is read");
    stack.handle().circuit_breaker().expect("on by default").force_open();
    *up.lock().expect("no test panics with it") = false;
    let stale = stack.send(get("/")).await.expect("there is a copy");
    assert_eq!(stale.headers()["cache-status"], "moneta-resilience; hit");
    drop(stale);
    let counts = stack.handle().counts();
    assert_eq!((counts.calls(Outcome::Degraded), counts.fallbacks_served()), (1, 1));
}

#[test]
#[should_panic(expected = "a cache without entries keeps nothing")]
fn a_cache_without_entries_is_refused() {
    let _ = StaleCache::new().max_entries(0);
}

#[tokio::test(start_paused = true)]
async fn clones_share_the_copies_and_a_setter_makes_an_empty_cache() {
    let cache = StaleCache::new();
    let first = rig(cache.clone());
    first.answered(get("/"), answer("100", [])).await;
    assert!(rig(cache.clone()).down(get("/")).await.is_some());
    for changed in [cache.clone().max_age(SECOND), cache.clone().max_entries(5), cache.max_body(9)] {
        assert_eq!(rig(changed).down(get("/")).await, None);
    }
}
