//! `golden::server` round the routes of axum.

use std::time::Duration;

use axum::routing::get;
use moneta_resilience::{
    Class, Registry,
    event::Outcome,
    fault::Fault,
    golden::{self, Handle, ServerBuilder},
};
use tokio::{io::AsyncWriteExt, net::TcpStream};

use super::*;

/// A limit that no test reaches.
const FAR: Duration = Duration::from_secs(60);

fn payments(registry: &Registry) -> ServerBuilder<golden::Limit> {
    golden::server("payments").timeout(FAR).registry(registry)
}

fn one(registry: &Registry) -> Handle {
    let mut handles = Handle::find(registry, "payments");
    assert_eq!(handles.len(), 1, "however often it was applied, it is one stack");
    handles.pop().unwrap()
}

#[tokio::test]
async fn routes_and_connections_share_one_state() {
    let registry = Registry::new();
    let (mut gate, slow) = Gate::new();
    let app = Router::new()
        .route("/slow", slow)
        .route("/quick", get(async || "quick"))
        .layer(payments(&registry).bulkhead(1).layer());
    let address = serve(app).await;
    let handle = one(&registry);

    let waiting = tokio::spawn(hyper().request(get_of(address, "/slow")));
    gate.entered().await;
    assert_eq!(handle.state().bulkhead.unwrap().in_use, 1);
    // Another route, over other connections.
    for _ in 0..2 {
        let refused = hyper().request(get_of(address, "/quick")).await.unwrap();
        assert_eq!(refused.status(), StatusCode::SERVICE_UNAVAILABLE);
        assert_eq!(header(&refused, "content-type"), Some("application/problem+json"));
        assert_eq!(header(&refused, "retry-after"), Some("1"));
        let problem = text(refused).await;
        assert!(problem.contains(r#""status":503,"reason":"bulkhead_full""#), "{problem}");
    }
    gate.let_go();
    let answer = waiting.await.unwrap().unwrap();
    assert_eq!(text(answer).await, "waited");
    let answer = hyper().request(get_of(address, "/quick")).await.unwrap();
    assert_eq!(text(answer).await, "quick");

    assert_eq!(handle.state().bulkhead.unwrap().in_use, 0);
    let counts = one(&registry);
    assert_eq!(counts.counts().calls(Outcome::Success), 2);
    assert_eq!(counts.counts().calls(Outcome::Rejected), 2);
}

#[tokio::test]
async fn routes_added_after_the_layer_stay_outside() {
    let registry = Registry::new();
    let (mut gate, slow) = Gate::new();
    let app = Router::new()
        .route("/slow", slow)
        .layer(payments(&registry).bulkhead(1).layer())
        .route("/health", get(async || "well"));
    let address = serve(app).await;

    let waiting = tokio::spawn(hyper().request(get_of(address, "/slow")));
    gate.entered().await;
    let health = hyper().request(get_of(address, "/health")).await.unwrap();
    assert_eq!(text(health).await, "well");
    gate.let_go();
    waiting.await.unwrap().unwrap();
    let counted = Outcome::ALL.map(|outcome| one(&registry).counts().calls(outcome));
    assert_eq!(counted.iter().sum::<u64>(), 1, "health is not counted");
}

#[tokio::test]
async fn a_panic_is_answered_and_leaves_its_place() {
    let registry = Registry::new();
    let app = Router::new()
        .route("/panic", get(async || -> &'static str { panic!("on purpose") }))
        .route("/quick", get(async || "quick"))
        .layer(payments(&registry).bulkhead(1).layer());
    let address = serve(app).await;
    let client = hyper();

    for _ in 0..3 {
        let answer = client.request(get_of(address, "/panic")).await.unwrap();
        assert_eq!(answer.status(), StatusCode::INTERNAL_SERVER_ERROR);
        assert_eq!(header(&answer, "content-type"), Some("application/problem+json"));
        assert!(!text(answer).await.contains("on purpose"), "no text of the panic leaves the process");
    }
    let answer = client.request(get_of(address, "/quick")).await.unwrap();
    assert_eq!(text(answer).await, "quick");
    let handle = one(&registry);
    assert_eq!(handle.state().bulkhead.unwrap().in_use, 0);
    assert_eq!(handle.counts().calls(Outcome::Panicked), 3);
}

#[tokio::test]
async fn a_caller_that_hangs_up_gives_its_place_back() {
    let registry = Registry::new();
    let (mut gate, slow) = Gate::new();
    let app = Router::new()
        .route("/slow", slow)
        .route("/quick", get(async || "quick"))
        .layer(payments(&registry).bulkhead(1).layer());
    let address = serve(app).await;
    let handle = one(&registry);

    let mut caller = TcpStream::connect(address).await.unwrap();
    caller.write_all(b"GET /slow HTTP/1.1\r\nhost: payments\r\n\r\n").await.unwrap();
    gate.entered().await;
    assert_eq!(handle.state().bulkhead.unwrap().in_use, 1);
    drop(caller);
    gate.left().await;
    assert_eq!(handle.state().bulkhead.unwrap().in_use, 0);
    assert_eq!(handle.counts().calls(Outcome::Cancelled), 1);
    let answer = hyper().request(get_of(address, "/quick")).await.unwrap();
    assert_eq!(text(answer).await, "quick");
}

#[tokio::test]
async fn a_handle_from_the_registry_moves_the_server_that_runs() {
    let registry = Registry::new();
    let app = Router::new().route("/quick", get(async || "quick")).layer(payments(&registry).layer());
    let address = serve(app).await;
    let handle = one(&registry);
    let client = hyper();
    let status = async || client.request(get_of(address, "/quick")).await.unwrap().status();

    assert_eq!(status().await, StatusCode::OK);
    handle.faults().arm(Fault::error(Class::TRANSIENT));
    assert_eq!(status().await, StatusCode::SERVICE_UNAVAILABLE);
    handle.faults().disarm();
    assert_eq!(status().await, StatusCode::OK);
}
