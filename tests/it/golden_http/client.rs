//! `golden::client(..).http(..)` in front of hyper-util's client and of other services.

use std::{
    sync::atomic::{AtomicUsize, Ordering},
    time::Duration,
};

use axum::{extract::State, http::HeaderMap, routing::any};
use moneta_resilience::{
    BoxError, Class, Reason, Registry,
    event::{BreakerResult, Outcome},
    fallback::{Answering, NoFallback, Why},
    golden::{self, BoxedClient, Client, ClientBody, ClientBuilder, HttpClientPolicy},
    http::Degraded,
};
use tower::{ServiceBuilder, ServiceExt, service_fn};

use super::*;

/// A limit that no test reaches.
const FAR: Duration = Duration::from_secs(60);

fn quotes() -> ClientBuilder<golden::Limit, golden::Missing> {
    golden::client("market-data").timeout(FAR).registry(&Registry::new())
}

#[expect(clippy::unnecessary_wraps, reason = "a fallback may fail")]
fn stale(_why: Why) -> Result<Response<Full<Bytes>>, BoxError> {
    Ok(Response::new(Full::from("stale")))
}

/// An upstream that counts its calls and answers with these statuses in turn, the last one for ever.
async fn upstream(statuses: &'static [u16]) -> (SocketAddr, Arc<AtomicUsize>) {
    let calls = Arc::new(AtomicUsize::new(0));
    let count = Arc::clone(&calls);
    let handler = any(move || {
        let call = count.fetch_add(1, Ordering::Relaxed);
        let status = statuses[call.min(statuses.len() - 1)];
        async move { (StatusCode::from_u16(status).unwrap(), "fresh") }
    });
    (serve(Router::new().route("/", handler)).await, calls)
}

#[tokio::test]
async fn a_healthy_upstream_answers_in_full() {
    let (address, calls) = upstream(&[200]).await;
    let client = quotes().fallback(stale).http(hyper());
    let answer = client.send(get_of(address, "/")).await.unwrap();
    assert_eq!(answer.status(), StatusCode::OK);
    assert!(answer.extensions().get::<Degraded>().is_none());
    assert_eq!(text(answer).await, "fresh");
    assert_eq!(calls.load(Ordering::Relaxed), 1);
    assert_eq!(client.handle().counts().calls(Outcome::Success), 1);
}

#[tokio::test]
async fn where_nobody_listens_the_fallback_answers_and_says_so() {
    let (address, _socket) = nobody();
    let client = quotes().fallback(stale).http(hyper());
    let answer = client.send(get_of(address, "/")).await.unwrap();
    assert_eq!(answer.status(), StatusCode::OK);
    assert!(answer.extensions().get::<Degraded>().is_some());
    assert_eq!(text(answer).await, "stale");
    assert_eq!(client.handle().counts().calls(Outcome::Degraded), 1);
    assert_eq!(client.handle().counts().retry_attempts(), 2);

    let bare = quotes().no_fallback().http(hyper());
    let error = bare.send(get_of(address, "/")).await.unwrap_err();
    assert!(error.rejected().is_none() && error.inner().is::<legacy::Error>(), "{error:?}");
}

#[tokio::test]
async fn another_service_answers_what_may_be_sent_twice() {
    let (down, _) = upstream(&[503]).await;
    let (replica, calls) = upstream(&[200]).await;
    let replica = hyper().map_request(move |_: Request<Full<Bytes>>| get_of(replica, "/"));
    let client = quotes().fallback_service(replica).http(hyper());
    let answer = client.send(get_of(down, "/")).await.unwrap();
    assert!(answer.extensions().get::<Degraded>().is_some());
    assert_eq!(text(answer).await, "fresh");
    let answer = client.send(request("POST", down, "/")).await.unwrap();
    assert_eq!(answer.status(), StatusCode::SERVICE_UNAVAILABLE, "the failure of a POST stays what it is");
    drop(answer);
    assert_eq!(calls.load(Ordering::Relaxed), 1);
    let counts = client.handle().counts();
    assert_eq!((counts.calls(Outcome::Degraded), counts.calls(Outcome::Transient)), (1, 1));
}

#[tokio::test]
async fn a_404_is_answered_by_the_fallback_where_that_was_asked_for() {
    let (address, _) = upstream(&[404, 503, 200]).await;
    let client = quotes().without_retry().fallback(stale);
    let client = client.fallback_when(|end| end.status() == Some(StatusCode::NOT_FOUND)).http(hyper());
    for (status, body) in [(200, "stale"), (503, "fresh"), (200, "fresh")] {
        let answer = client.send(get_of(address, "/")).await.unwrap();
        assert_eq!(answer.status(), status);
        assert_eq!(text(answer).await, body);
    }
    let counts = client.handle().counts();
    assert_eq!((counts.calls(Outcome::Degraded), counts.breaker(BreakerResult::Success)), (1, 2));
}

#[tokio::test]
async fn a_get_is_tried_again_and_a_post_only_with_a_key() {
    for (method, key, attempts) in [("GET", None, 3), ("POST", None, 1), ("POST", Some("8e03978e"), 3)] {
        let (address, calls) = upstream(&[503]).await;
        let client = quotes().no_fallback().http(hyper());
        let mut request = request(method, address, "/");
        if let Some(key) = key {
            request.headers_mut().insert("idempotency-key", key.parse().unwrap());
        }
        // A failed response without a fallback is the caller's to look at.
        let answer = client.send(request).await.unwrap();
        assert_eq!(answer.status(), StatusCode::SERVICE_UNAVAILABLE);
        assert_eq!(calls.load(Ordering::Relaxed), attempts, "{method} {key:?}");
    }
}

#[tokio::test]
async fn a_failure_that_passes_is_not_seen() {
    let (address, calls) = upstream(&[503, 503, 200]).await;
    let client = quotes().no_fallback().http(hyper());
    let answer = client.send(get_of(address, "/")).await.unwrap();
    assert_eq!((answer.status(), text(answer).await.as_str()), (StatusCode::OK, "fresh"));
    assert_eq!(calls.load(Ordering::Relaxed), 3);
    assert_eq!(client.handle().counts().calls(Outcome::Success), 1);
}

#[tokio::test]
async fn a_429_is_throttled_and_its_hint_is_read() {
    let handler = any(async || (StatusCode::TOO_MANY_REQUESTS, [("retry-after", "7")], "later"));
    let address = serve(Router::new().route("/", handler)).await;
    let (tell, mut told) = mpsc::unbounded_channel();
    let client = quotes().fallback(move |why: Why| {
        tell.send(why.class()).unwrap();
        stale(why)
    });
    let client = client.http(hyper());
    // Not repeatable, so that nobody waits for seven seconds.
    let answer = client.send(request("POST", address, "/")).await.unwrap();
    assert_eq!(text(answer).await, "stale");
    let retry_after = Some(Duration::from_secs(7));
    assert_eq!(told.recv().await, Some(Class::Throttled { retry_after }));

    let bare = quotes().no_fallback().http(hyper());
    let answer = bare.send(request("POST", address, "/")).await.unwrap();
    assert_eq!(answer.status(), StatusCode::TOO_MANY_REQUESTS);
    drop(answer);
    assert_eq!(bare.handle().counts().calls(Outcome::Throttled), 1);
}

#[tokio::test]
async fn an_outage_opens_the_circuit_and_spares_the_upstream() {
    let (address, calls) = upstream(&[500]).await;
    let client = quotes().without_retry().no_fallback().http(hyper());
    for _ in 0..5 {
        let answer = client.send(get_of(address, "/")).await.unwrap();
        assert_eq!(answer.status(), StatusCode::INTERNAL_SERVER_ERROR);
    }
    let error = client.send(get_of(address, "/")).await.unwrap_err();
    assert_eq!(error.rejected().unwrap().reason(), Reason::CircuitOpen);
    assert_eq!(calls.load(Ordering::Relaxed), 5);
}

#[tokio::test]
async fn a_function_is_a_service_and_a_client_is_a_part_of_others() {
    let echo = service_fn(async |request: Request<Full<Bytes>>| {
        Ok::<_, Infallible>(Response::new(request.into_body()))
    });
    let client = quotes().fallback(stale).http(echo);
    let answer = client.send(Request::new(Full::from("hello"))).await.unwrap();
    assert_eq!(text(answer).await, "hello");

    let inside = ServiceBuilder::new()
        .concurrency_limit(1)
        .map_request(|text: &'static str| Request::new(Full::from(text)))
        .service(client.clone());
    for word in ["once", "twice"] {
        assert_eq!(text(inside.clone().oneshot(word).await.unwrap()).await, word);
    }
    assert_eq!(client.handle().counts().calls(Outcome::Success), 3);
}

/// A client whose type a service writes down: its fallback is a function.
type Quotes = Client<HttpClientPolicy<Answering<fn(Why) -> Result<Response<Full<Bytes>>, BoxError>>>, Hyper>;

#[tokio::test]
async fn clients_live_in_the_state_of_a_router() {
    #[derive(Clone)]
    struct App {
        named: Quotes,
        erased: BoxedClient<Request<Full<Bytes>>, Response<ClientBody<hyper::body::Incoming>>>,
        upstream: SocketAddr,
    }
    async fn named(State(app): State<App>) -> String {
        text(app.named.send(get_of(app.upstream, "/")).await.unwrap()).await
    }
    async fn erased(State(app): State<App>, _headers: HeaderMap) -> Result<String, StatusCode> {
        let answer = app.erased.send(get_of(app.upstream, "/")).await.map_err(|_| StatusCode::BAD_GATEWAY)?;
        Ok(text(answer).await)
    }
    async fn made_here(State(app): State<App>) -> String {
        let client = quotes().fallback(|_why| Ok(Response::new(Full::<Bytes>::from("stale")))).http(hyper());
        text(client.send(get_of(app.upstream, "/")).await.unwrap()).await
    }
    let (address, calls) = upstream(&[200]).await;
    let app = App {
        named: quotes().fallback(stale as fn(Why) -> _).http(hyper()),
        erased: quotes().no_fallback().http(hyper()).boxed(),
        upstream: address,
    };
    let _: &Client<HttpClientPolicy<NoFallback>, Hyper> = &quotes().no_fallback().http(hyper());
    let routes = Router::new()
        .route("/named", get(named))
        .route("/erased", get(erased))
        .route("/made-here", get(made_here))
        .layer(golden::server("payments").timeout(FAR).registry(&Registry::new()).layer())
        .with_state(app);
    let address = serve(routes).await;
    for path in ["/named", "/erased", "/made-here"] {
        let answer = hyper().request(get_of(address, path)).await.unwrap();
        assert_eq!((answer.status(), text(answer).await.as_str()), (StatusCode::OK, "fresh"), "{path}");
    }
    assert_eq!(calls.load(Ordering::Relaxed), 3);
}
