//! A deadline on its way through a chain of services: HTTP client → server → client → server → client → server, each hop
//! in a task of its own, so that nothing but headers passes between them.

use std::{
    future::pending,
    sync::{
        Arc, Mutex,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use http::{Request, Response, StatusCode};
use moneta_resilience::{
    BoxError, Deadline, Reason, Registry, Rejected,
    circuit_breaker::CircuitBreakerLayer,
    event::BreakerResult,
    golden::{self, ClientBody},
};
use tokio::time::{Instant, sleep};
use tower::{Layer, Service, ServiceExt, service_fn, util::BoxCloneSyncService};

const MS: Duration = Duration::from_millis(1);
const OUTER: Duration = Duration::from_millis(900);
/// Longer than the outer one, so that it decides nothing.
const LONG: Duration = Duration::from_secs(30);

type Transport = BoxCloneSyncService<Request<String>, Response<String>, BoxError>;
type Client = golden::BoxedClient<Request<String>, Response<ClientBody<String>>>;

fn client(name: &str, timeout: Duration, transport: Transport) -> Client {
    golden::client(name).timeout(timeout).no_fallback().registry(&Registry::new()).http(transport).boxed()
}

fn get() -> Request<String> {
    Request::get("/").body(String::new()).unwrap()
}

/// A connection to a golden server: the call runs in a task of its own, which ends when the connection is dropped.
fn serve<H>(name: &str, handler: H) -> Transport
where
    H: Service<Request<String>, Response = Response<String>, Error = BoxError>
        + Clone
        + Send
        + Sync
        + 'static,
    H::Future: Send,
{
    struct Connection(tokio::task::JoinHandle<()>);
    impl Drop for Connection {
        fn drop(&mut self) {
            self.0.abort();
        }
    }
    let server = golden::server(name).timeout(LONG).registry(&Registry::new()).layer().layer(handler);
    BoxCloneSyncService::new(service_fn(move |request| {
        let (answer, answered) = tokio::sync::oneshot::channel();
        let server = server.clone();
        let connection = Connection(tokio::spawn(async move {
            assert_eq!(Deadline::current(), None, "a deadline came over without a header");
            let Ok(response) = server.oneshot(request).await;
            answer.send(response.map(|_| String::new())).ok();
        }));
        async move {
            let response = answered.await?;
            drop(connection);
            Ok(response)
        }
    }))
}

/// A handler that works for a while and then asks the next service.
fn middle(
    work: Duration,
    next: Client,
) -> impl Service<
    Request<String>,
    Response = Response<String>,
    Error = BoxError,
    Future = impl Future<Output = Result<Response<String>, BoxError>> + Send,
> + Clone
+ Send
+ Sync {
    service_fn(move |_: Request<String>| {
        let next = next.clone();
        async move {
            sleep(work).await;
            Ok(next.send(get()).await?.map(|_| String::new()))
        }
    })
}

#[derive(Clone, Default)]
struct Innermost {
    seen: Arc<Mutex<Option<Duration>>>,
    running: Arc<AtomicUsize>,
}

impl Innermost {
    async fn handle(self, hangs: bool) -> Result<Response<String>, BoxError> {
        struct Running(Arc<AtomicUsize>);
        impl Drop for Running {
            fn drop(&mut self) {
                self.0.fetch_sub(1, Ordering::Relaxed);
            }
        }
        self.running.fetch_add(1, Ordering::Relaxed);
        let _running = Running(self.running);
        *self.seen.lock().unwrap() = Deadline::current().map(Deadline::remaining);
        if hangs {
            pending::<()>().await;
        }
        Ok(Response::new(String::new()))
    }
}

/// The whole chain. Each service works for a while before it asks the next one.
fn chain(innermost: &Innermost, hangs: bool) -> Client {
    let handler = innermost.clone();
    let third = serve("third", service_fn(move |_| handler.clone().handle(hangs)));
    let second = serve("second", middle(30 * MS, client("to-third", LONG, third)));
    let first = serve("first", middle(70 * MS, client("to-second", LONG, second)));
    client("to-first", OUTER, first)
}

#[tokio::test(start_paused = true)]
async fn the_innermost_of_three_hops_sees_exactly_what_is_left() {
    let innermost = Innermost::default();
    let response = chain(&innermost, false).send(get()).await.unwrap();
    assert_eq!(response.status(), StatusCode::OK);
    assert_eq!(*innermost.seen.lock().unwrap(), Some(800 * MS));
}

#[tokio::test(start_paused = true)]
async fn everything_stops_at_the_outer_deadline_when_the_innermost_hangs() {
    let innermost = Innermost::default();
    let client = chain(&innermost, true);
    let start = Instant::now();
    let call = tokio::spawn(async move { client.send(get()).await.map(|response| response.status()) });
    sleep(899 * MS).await;
    assert_eq!(innermost.running.load(Ordering::Relaxed), 1);
    // Client and server share the instant, so either may be the one that says it.
    match call.await.unwrap() {
        Ok(status) => assert_eq!(status, StatusCode::GATEWAY_TIMEOUT),
        Err(error) => assert_eq!(error.rejected().unwrap().reason(), Reason::Timeout),
    }
    assert_eq!(start.elapsed(), OUTER);
    // Tasks that were told to end do so when they are next looked at; no time passes.
    for _ in 0..10 {
        tokio::task::yield_now().await;
    }
    assert_eq!(innermost.running.load(Ordering::Relaxed), 0);
    assert_eq!(start.elapsed(), OUTER);
}

/// What the transport saw of each attempt: the remaining milliseconds and the number of the attempt.
type Seen = Arc<Mutex<Vec<[Option<String>; 2]>>>;

/// A transport that fails with 503 after 100 ms.
fn failing(seen: &Seen, deadline: &'static str) -> Transport {
    let seen = Arc::clone(seen);
    BoxCloneSyncService::new(service_fn(move |request: Request<String>| {
        let header = |name| Some(request.headers().get(name)?.to_str().unwrap().to_owned());
        seen.lock().unwrap().push([header(deadline), header("x-envoy-attempt-count")]);
        async {
            sleep(100 * MS).await;
            Ok(Response::builder().status(503).body(String::new()).unwrap())
        }
    }))
}

fn builder() -> golden::ClientBuilder<golden::Limit, moneta_resilience::fallback::NoFallback> {
    use moneta_resilience::retry::{Backoff, RetryLayer};
    let retry = RetryLayer::new().backoff(Backoff::constant(50 * MS));
    golden::client("attempts").timeout(OUTER).no_fallback().registry(&Registry::new()).retry(retry)
}

#[tokio::test(start_paused = true)]
async fn each_attempt_says_what_is_left_then_and_which_it_is() {
    let seen = Seen::default();
    builder().http(failing(&seen, "x-request-timeout-ms")).send(get()).await.unwrap();
    let expected = [("900", None), ("750", Some("2")), ("600", Some("3"))];
    let expected = expected.map(|(left, attempt)| [Some(left.to_owned()), attempt.map(str::to_owned)]);
    assert_eq!(*seen.lock().unwrap(), expected);
}

#[tokio::test(start_paused = true)]
async fn the_header_has_the_name_that_it_was_given_and_is_off_when_it_is_said() {
    let seen = Seen::default();
    let name = http::HeaderName::from_static("x-patience");
    builder().deadline_header(name).http(failing(&seen, "x-patience")).send(get()).await.unwrap();
    assert_eq!(seen.lock().unwrap()[0][0].as_deref(), Some("900"));
    seen.lock().unwrap().clear();
    builder().without_wire_headers().http(failing(&seen, "x-request-timeout-ms")).send(get()).await.unwrap();
    assert_eq!(*seen.lock().unwrap(), [[None, None], [None, None], [None, None]]);
}

#[tokio::test(start_paused = true)]
async fn the_time_spent_in_the_queue_of_the_bulkhead_is_not_promised_again() {
    let seen = Seen::default();
    let places = moneta_resilience::bulkhead::BulkheadLayer::new(1).max_wait(OUTER);
    let client =
        builder().bulkhead_layer(places).without_retry().http(failing(&seen, "x-request-timeout-ms"));
    let (first, second) = tokio::join!(client.send(get()), client.send(get()));
    assert!(first.is_ok() && second.is_ok());
    let seen = seen.lock().unwrap();
    assert_eq!((seen[0][0].as_deref(), seen[1][0].as_deref()), (Some("900"), Some("800")));
}

#[tokio::test(start_paused = true)]
async fn the_limit_of_a_call_is_what_the_function_says_of_its_request_and_all_attempts_share_it() {
    let seen = Seen::default();
    let stack = builder()
        .timeout_by(|head| if head.uri.path() == "/report" { 2 * OUTER } else { 180 * MS })
        .circuit_breaker(CircuitBreakerLayer::new().without_consecutive_failures())
        .http(failing(&seen, "x-request-timeout-ms"));
    let start = Instant::now();
    stack.send(Request::get("/report").body(String::new()).unwrap()).await.unwrap();
    let left: Vec<_> = seen.lock().unwrap().drain(..).map(|[left, _]| left.unwrap()).collect();
    assert_eq!((left, start.elapsed()), (["1800", "1650", "1500"].map(str::to_owned).to_vec(), 400 * MS));

    // The second attempt is cut where the call ends, and told as the dependency's failure: nobody was in a hurry.
    let start = Instant::now();
    let error = stack.send(get()).await.unwrap_err();
    assert_eq!((error.rejected().map(Rejected::reason), start.elapsed()), (Some(Reason::Timeout), 180 * MS));
    assert_eq!(seen.lock().unwrap().len(), 2);
    let breaker = stack.handle().counts().breaker(BreakerResult::Failure);
    assert_eq!(breaker, 5);

    let hurried = Deadline::after(80 * MS).scope(async { stack.send(get()).await }).await.unwrap_err();
    assert_eq!(hurried.rejected().map(Rejected::reason), Some(Reason::DeadlineExceeded));
    assert_eq!(stack.handle().counts().breaker(BreakerResult::Failure), breaker, "the caller's own doing");
}
