//! What an HTTP client repeats: by method, by key, and what was certainly never processed.

use std::{
    io,
    sync::{Arc, Mutex},
    time::Duration,
};

use http::{HeaderValue, Method, Request, Response};
use http_body_util::Full;
use moneta_resilience::{
    BoxError, Registry, Repeat, RetryBudget,
    event::Outcome,
    fallback::NoFallback,
    golden::{self, ClientBuilder, Limit},
    http::RecordBody,
    retry::{Backoff, RetryLayer},
};
use tower::{Service, service_fn};

/// The key of each request that arrived.
type Seen = Arc<Mutex<Vec<Option<HeaderValue>>>>;
type Ends = [Result<u16, io::ErrorKind>];

fn client() -> ClientBuilder<Limit, NoFallback> {
    let retry = RetryLayer::new().backoff(Backoff::none());
    let builder = golden::client("keys").timeout(Duration::from_secs(30)).no_fallback().retry(retry);
    builder.registry(&Registry::new())
}

/// A transport whose answers these are, in this order; a 409 comes with `Retry-After: 1`.
fn transport<B>(
    seen: &Seen,
    ends: &'static Ends,
) -> impl Service<
    Request<B>,
    Response = Response<String>,
    Error = BoxError,
    Future = impl Future<Output = Result<Response<String>, BoxError>>,
> + Clone {
    let seen = Arc::clone(seen);
    service_fn(move |request: Request<B>| {
        let mut seen = seen.lock().unwrap();
        let end = ends[seen.len()];
        seen.push(request.headers().get("idempotency-key").cloned());
        async move {
            let mut response = Response::new(String::new());
            *response.status_mut() = http::StatusCode::from_u16(end.map_err(io::Error::from)?)?;
            if end == Ok(409) {
                response.headers_mut().insert("retry-after", HeaderValue::from_static("1"));
            }
            Ok(response)
        }
    })
}

fn request(method: Method) -> Request<&'static str> {
    Request::builder().method(method).uri("/payments").body("EUR 7.00").unwrap()
}

fn keyed(key: &'static str) -> Request<&'static str> {
    let mut request = request(Method::POST);
    request.headers_mut().insert("idempotency-key", HeaderValue::from_static(key));
    request
}

/// The keys of the attempts of a call, and the status that its caller got.
async fn attempts<B>(
    client: ClientBuilder<Limit, NoFallback>,
    request: Request<B>,
    ends: &'static Ends,
) -> (Vec<Option<HeaderValue>>, Option<u16>)
where
    Request<B>: Repeat,
{
    let seen = Seen::default();
    let answer = client.http(transport(&seen, ends)).send(request).await;
    let seen = std::mem::take(&mut *seen.lock().unwrap());
    (seen, answer.ok().map(|response| response.status().as_u16()))
}

#[tokio::test(start_paused = true)]
async fn a_call_has_one_key_on_all_its_attempts_and_the_next_call_another() {
    let mut keys = Vec::new();
    for method in [Method::POST, Method::PATCH] {
        let (seen, status) =
            attempts(client().idempotency_keys(), request(method), &[Ok(503), Ok(503), Ok(201)]).await;
        assert_eq!((seen.len(), status), (3, Some(201)));
        assert!(seen[0].is_some() && seen.iter().all(|key| *key == seen[0]), "{seen:?}");
        keys.push(seen[0].clone());
    }
    assert_ne!(keys[0], keys[1]);
}

#[tokio::test(start_paused = true)]
async fn only_unsafe_methods_without_a_key_of_their_own_get_one_and_only_when_it_is_said() {
    let (seen, _) = attempts(client().idempotency_keys(), request(Method::GET), &[Ok(200)]).await;
    assert_eq!(seen, [None]);
    let (seen, _) = attempts(client().idempotency_keys(), keyed("order-7"), &[Ok(503), Ok(200)]).await;
    assert_eq!(seen, [Some(HeaderValue::from_static("order-7")), Some(HeaderValue::from_static("order-7"))]);
    let (seen, status) = attempts(client(), request(Method::POST), &[Ok(503), Ok(200)]).await;
    assert_eq!((seen, status), (vec![None], Some(503)));
}

#[tokio::test(start_paused = true)]
async fn a_conflict_that_says_when_to_ask_again_is_asked_again_only_with_a_key() {
    let (seen, status) = attempts(client(), keyed("order-7"), &[Ok(409), Ok(409), Ok(201)]).await;
    assert_eq!((seen.len(), status), (3, Some(201)));
    for request in [request(Method::POST), request(Method::PUT)] {
        let (seen, status) = attempts(client(), request, &[Ok(409), Ok(201)]).await;
        assert_eq!((seen.len(), status), (1, Some(409)));
    }
}

#[tokio::test(start_paused = true)]
async fn a_conflict_that_stays_is_told_as_passing() {
    let seen = Seen::default();
    let stack = client().http(transport(&seen, &[Ok(409); 3]));
    assert_eq!(stack.send(keyed("order-7")).await.unwrap().status(), 409);
    assert_eq!(stack.handle().counts().calls(Outcome::Transient), 1);
}

#[tokio::test(start_paused = true)]
async fn a_payment_to_a_port_where_nobody_listens_is_sent_once_more() {
    use io::ErrorKind::{ConnectionRefused as Refused, ConnectionReset as Reset};
    for (ends, expected) in [
        (&[Err(Refused), Ok(201)][..], (2, Some(201))),
        (&[Err(Refused), Err(Refused), Ok(201)], (2, None)),
        (&[Err(Reset), Ok(201)], (1, None)),
    ] {
        let (seen, status) = attempts(client(), request(Method::POST), ends).await;
        assert_eq!((seen.len(), status), expected, "{ends:?}");
        let recorded = request(Method::POST).map(|body| RecordBody::new(Full::from(body)));
        let (seen, status) = attempts(client(), recorded, ends).await;
        assert_eq!((seen.len(), status), expected, "recorded, {ends:?}");
    }
    let broke = RetryLayer::new().budget(RetryBudget::new().min_per_second(0));
    let recorded = request(Method::POST).map(|body| RecordBody::new(Full::from(body)));
    let (seen, _) = attempts(client().retry(broke), recorded, &[Err(Refused), Ok(201)]).await;
    assert_eq!(seen.len(), 1, "the budget is asked as ever");
}
