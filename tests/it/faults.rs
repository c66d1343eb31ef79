//! Faults of answers over HTTP: axum and hyper, and real connections between them.

use std::{
    net::SocketAddr,
    sync::{
        Arc,
        atomic::{AtomicU32, Ordering},
    },
    time::Duration,
};

use axum::{Router, body::Body, routing::get};
use bytes::Bytes;
use http::{Request, StatusCode};
use http_body_util::{BodyExt, Full, StreamBody};
use hyper_util::{client::legacy, rt::TokioExecutor};
use moneta_resilience::{
    Class, InjectedFault, Registry, classify,
    event::{FaultKind, Outcome},
    fault::{Fault, Target},
    golden::{self, Handle},
};
use tokio::net::TcpListener;

const FAR: Duration = Duration::from_secs(60);

/// A server of a text whose length is known, and of one that is written bit by bit; and how often it was asked.
async fn quotes() -> (SocketAddr, Handle, Arc<AtomicU32>) {
    let layer = golden::server("quotes").timeout(FAR).registry(&Registry::new()).layer();
    let (handle, asked) = (layer.handle().clone(), Arc::new(AtomicU32::new(0)));
    let count = Arc::clone(&asked);
    let known = get(move || {
        count.fetch_add(1, Ordering::Relaxed);
        async { "0123456789" }
    });
    let bit_by_bit = get(async || {
        let bits =
            ["01234", "56789"].map(|text| Ok::<_, std::io::Error>(http_body::Frame::data(Bytes::from(text))));
        Body::new(StreamBody::new(futures::stream::iter(bits)))
    });
    let app = Router::new().route("/known", known).route("/bits", bit_by_bit).layer(layer);
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    tokio::spawn(async move { axum::serve(listener, app).await });
    (address, handle, asked)
}

type Hyper = legacy::Client<legacy::connect::HttpConnector, Full<Bytes>>;

fn hyper() -> Hyper {
    legacy::Client::builder(TokioExecutor::new()).build_http()
}

fn asked_for(address: SocketAddr, path: &str) -> Request<Full<Bytes>> {
    Request::get(format!("http://{address}{path}")).body(Full::default()).unwrap()
}

/// What there is to read of an answer that is well, or why there is none. A connection that breaks may take the head along.
async fn answer(address: SocketAddr, path: &str) -> Result<(StatusCode, Bytes), tower::BoxError> {
    let answer = hyper().request(asked_for(address, path)).await?;
    Ok((answer.status(), answer.into_body().collect().await?.to_bytes()))
}

#[tokio::test]
async fn a_servers_answer_with_another_status_counts_as_what_it_says() {
    let (address, handle, asked) = quotes().await;
    handle.faults().arm(Fault::status(StatusCode::SERVICE_UNAVAILABLE));
    let (status, content) = answer(address, "/known").await.unwrap();
    assert_eq!((status, &content[..]), (StatusCode::SERVICE_UNAVAILABLE, &b"0123456789"[..]));
    assert_eq!(asked.load(Ordering::Relaxed), 1);
    assert_eq!(handle.counts().calls(Outcome::Transient), 1);
    assert_eq!(handle.counts().faults(FaultKind::Status), 1);
}

#[tokio::test]
async fn a_servers_answer_is_cut_so_that_its_caller_sees_it_where_that_is_possible() {
    let (address, handle, _) = quotes().await;
    for (fault, path, seen) in [
        (Fault::short_body(4), "/known", None),
        (Fault::short_body(4), "/bits", Some("0123")),
        (Fault::broken_body(4), "/known", None),
        (Fault::broken_body(4), "/bits", None),
        (Fault::broken_body(11), "/bits", Some("0123456789")),
        (Fault::body("garbage"), "/known", Some("garbage")),
        (Fault::body("garbage"), "/bits", Some("garbage")),
    ] {
        for hook in [handle.faults(), handle.ingress_faults().unwrap()] {
            let armed = hook.arm(fault.clone());
            let content = answer(address, path).await.ok().map(|(_, content)| content);
            assert_eq!(content.as_deref(), seen.map(str::as_bytes), "{fault:?} {path}");
            assert_eq!(armed.hit(), 1);
            hook.disarm();
        }
    }
    assert_eq!(answer(address, "/known").await.unwrap().1, "0123456789");
}

#[tokio::test]
async fn a_client_tries_again_over_a_status_that_was_put_in_and_not_over_a_body_that_breaks() {
    let (address, _, asked) = quotes().await;
    let client = golden::client("quotes").timeout(FAR).no_fallback().registry(&Registry::new()).http(hyper());
    let hook = client.handle().faults();
    hook.arm(Fault::status(StatusCode::BAD_GATEWAY).target(Target::Attempt(1)));
    let answer = client.send(asked_for(address, "/known")).await.unwrap();
    assert_eq!(answer.status(), StatusCode::OK);
    assert_eq!(asked.load(Ordering::Relaxed), 2);
    hook.disarm();

    hook.arm(Fault::broken_body(4));
    let answer = client.send(asked_for(address, "/known")).await.unwrap();
    let error = answer.into_body().collect().await.unwrap_err();
    assert!(error.inner().is::<InjectedFault>());
    assert!(!classify::never_processed(&error.into_inner()));
    assert_eq!(asked.load(Ordering::Relaxed), 3);
}

#[tokio::test(start_paused = true)]
async fn a_body_that_drips_is_cut_by_the_timeout_of_the_call() {
    const LIMIT: Duration = Duration::from_secs(2);
    let service = tower::service_fn(async |_: Request<Full<Bytes>>| {
        Ok::<_, tower::BoxError>(http::Response::new(Full::<Bytes>::from("0123456789")))
    });
    let client =
        golden::client("quotes").timeout(LIMIT).no_fallback().registry(&Registry::new()).http(service);
    client.handle().faults().arm(Fault::slow_body(LIMIT * 2));
    let start = tokio::time::Instant::now();
    let answer = client.send(asked_for(([127, 0, 0, 1], 80).into(), "/known")).await.unwrap();
    let error = answer.into_body().collect().await.unwrap_err();
    assert!(error.rejected().is_some(), "{error:?}");
    assert_eq!(start.elapsed(), LIMIT);
}

#[tokio::test]
async fn a_stack_that_knows_nothing_of_its_answers_alters_none() {
    let ledger = golden::client("ledger").timeout(FAR).no_fallback().registry(&Registry::new()).calls();
    let armed = ledger.handle().faults().arm(Fault::status(StatusCode::BAD_GATEWAY));
    assert_eq!(ledger.run(async || Ok::<_, tower::BoxError>(7)).await.unwrap(), 7);
    assert_eq!(armed.hit(), 0);
    ledger.handle().faults().arm(Fault::error(Class::TRANSIENT));
    ledger.run(async || Ok::<_, tower::BoxError>(7)).await.unwrap_err();
}

#[cfg(feature = "idempotency")]
mod keyed {
    use axum::routing::post;
    use moneta_resilience::{
        event::IdempotencyResult,
        idempotency::{MemoryStore, http::IdempotencyLayer},
    };

    use super::*;

    /// A server that says how often it was paid, and with how much.
    async fn payments() -> (SocketAddr, Handle) {
        let keys = IdempotencyLayer::new(MemoryStore::default()).max_request(1_000);
        let layer = golden::server("payments")
            .registry(&Registry::new())
            .timeout(FAR)
            .idempotency_layer(keys)
            .layer();
        let (handle, paid) = (layer.handle().clone(), Arc::new(AtomicU32::new(0)));
        let pay = move |amount: String| {
            let paid = paid.fetch_add(1, Ordering::Relaxed) + 1;
            async move { format!("{paid}: {}", amount.len()) }
        };
        let app =
            Router::new().route("/payments", post(pay.clone()).get(async move || pay(String::new()).await));
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        tokio::spawn(async move { axum::serve(listener, app.layer(layer)).await });
        (address, handle)
    }

    /// What the caller is told, and whether it had been told before.
    async fn told(request: Request<Full<Bytes>>) -> (StatusCode, bool, Bytes) {
        let answer = hyper().request(request).await.unwrap();
        let replayed = answer.headers().contains_key("idempotent-replayed");
        (answer.status(), replayed, answer.into_body().collect().await.unwrap().to_bytes())
    }

    fn pay(address: SocketAddr, key: Option<&str>, length: usize) -> Request<Full<Bytes>> {
        let request = Request::post(format!("http://{address}/payments"));
        let request = key.into_iter().fold(request, |request, key| request.header("idempotency-key", key));
        request.body(vec![b'1'; length].into()).unwrap()
    }

    #[tokio::test]
    async fn a_request_that_is_delivered_twice_is_run_once_and_answered_as_it_was() {
        let (address, handle) = payments().await;
        let hook = handle.ingress_faults().unwrap();
        let armed = hook.arm(Fault::duplicate());
        assert_eq!(told(pay(address, Some("k1"), 900)).await, (StatusCode::OK, true, "1: 900".into()));
        assert_eq!(armed.hit(), 1);
        hook.disarm();
        hook.arm(Fault::duplicate_at_once());
        let (status, _, told) = told(pay(address, Some("k2"), 3)).await;
        assert_eq!((status, &told[..]), (StatusCode::OK, &b"2: 3"[..]));
        handle.drain().await;
        assert_eq!(handle.counts().idempotency(IdempotencyResult::Executed), 2);
        assert_eq!(handle.counts().faults(FaultKind::Duplicate), 2);
    }

    #[tokio::test]
    async fn what_nothing_keeps_from_a_second_effect_is_delivered_once_and_so_is_what_is_too_long_to_copy() {
        let (address, handle) = payments().await;
        let armed = handle.ingress_faults().unwrap().arm(Fault::duplicate());
        assert_eq!(told(pay(address, None, 3)).await, (StatusCode::OK, false, "1: 3".into()));
        let (status, ..) = told(pay(address, Some("k1"), 1_001)).await;
        assert_eq!((status, armed.hit()), (StatusCode::PAYLOAD_TOO_LARGE, 0));
        assert_eq!(told(asked_for(address, "/payments")).await, (StatusCode::OK, false, "3: 0".into()));
        assert_eq!(armed.hit(), 1, "a GET has no effect");
        armed.disarm();
        handle.ingress_faults().unwrap().arm(Fault::duplicate().on_delicate_calls());
        assert_eq!(told(pay(address, None, 3)).await, (StatusCode::OK, false, "5: 3".into()));
    }

    #[tokio::test]
    async fn an_answer_that_was_altered_on_its_way_out_is_kept_as_the_handler_gave_it() {
        let (address, handle) = payments().await;
        let armed = handle.ingress_faults().unwrap().arm(Fault::status(StatusCode::BAD_GATEWAY));
        assert_eq!(told(pay(address, Some("k1"), 3)).await, (StatusCode::BAD_GATEWAY, false, "1: 3".into()));
        armed.disarm();
        assert_eq!(told(pay(address, Some("k1"), 3)).await, (StatusCode::OK, true, "1: 3".into()));
    }
}
