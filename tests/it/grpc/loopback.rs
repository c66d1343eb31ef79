//! HTTP → gRPC → HTTP over real connections: who begins and who ends in which order, and nothing about time.
//!
//! The clock stands still, whatever the sockets do, and goes on only where a test says so.

use std::{future::pending, net::SocketAddr, sync::mpsc::Sender, time::Duration};

use axum::{Router, extract::Request, routing::get};
use bytes::Bytes;
use http_body_util::{BodyExt as _, Empty};
use hyper_util::{client::legacy::Client, rt::TokioExecutor};
use moneta_resilience::{Registry, golden};
use tokio::{
    net::TcpListener,
    sync::mpsc::{UnboundedReceiver, UnboundedSender, unbounded_channel},
    task::JoinHandle,
    time::{advance, sleep},
};

use super::wire::{Quotes, QuotesClient, over_loopback};

/// Longer than what the caller waits, so that it decides nothing.
const FAR: Duration = Duration::from_secs(60);
/// What each hop does before it asks the next.
const WORK: Duration = Duration::from_millis(100);
/// What is left of the caller's patience when the last hop is reached.
const REST: Duration = Duration::from_millis(800);

/// As long as this is held, the paused clock does not move by itself: tokio holds it while a blocking task runs.
fn stand_still() -> Sender<()> {
    let (still, released) = std::sync::mpsc::channel();
    tokio::task::spawn_blocking(move || released.recv());
    still
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum Event {
    /// A hop has been reached, and was told that so much time is left.
    Begins(&'static str, Option<String>),
    Ends(&'static str),
}

/// A call that is in a handler.
struct Inside {
    name: &'static str,
    log: UnboundedSender<Event>,
}

impl Inside {
    fn new(name: &'static str, left: Option<&str>, log: &UnboundedSender<Event>) -> Self {
        log.send(Event::Begins(name, left.map(str::to_owned))).unwrap();
        Self { name, log: log.clone() }
    }
}

impl Drop for Inside {
    fn drop(&mut self) {
        self.log.send(Event::Ends(self.name)).ok();
    }
}

fn asked(address: SocketAddr) -> http::Request<Empty<Bytes>> {
    http::Request::get(format!("http://{address}/")).body(Empty::new()).unwrap()
}

fn left(request: &Request) -> Option<&str> {
    request.headers().get("x-request-timeout-ms").map(|left| left.to_str().unwrap())
}

async fn serve(app: Router) -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    tokio::spawn(async move { axum::serve(listener, app).await });
    address
}

/// The three hops, of which the last one hangs. `told`: whether each tells the next what is left.
async fn front(told: bool) -> (SocketAddr, UnboundedReceiver<Event>) {
    let (log, events) = unbounded_channel();
    let registry = Registry::new();
    let server = |name| golden::server(name).timeout(FAR).registry(&registry);
    let client = |name| {
        let client = golden::client(name).timeout(FAR).no_fallback().registry(&registry);
        if told { client } else { client.without_wire_headers() }
    };

    let store = {
        let log = log.clone();
        let hanging = get(async move |request: Request| {
            let _inside = Inside::new("store", left(&request), &log);
            pending::<String>().await
        });
        serve(Router::new().route("/", hanging).layer(server("store").layer())).await
    };
    let quotes = {
        let log = log.clone();
        let http = client("store").http(Client::builder(TokioExecutor::new()).build_http());
        let asking = Quotes::new(move |call| {
            let (http, inside) = (http.clone(), Inside::new("quotes", call.header("grpc-timeout"), &log));
            async move {
                sleep(WORK).await;
                let answer = http.send(asked(store)).await?;
                let quote = answer.into_body().collect().await?.to_bytes();
                drop(inside);
                Ok(String::from_utf8(quote.into()).unwrap())
            }
        });
        client("quotes").grpc(over_loopback(asking, server("quotes").grpc_layer()).await)
    };
    let asking = get(async move |request: Request| {
        let _inside = Inside::new("front", left(&request), &log);
        sleep(WORK).await;
        match QuotesClient::new(quotes).get("CHF").await {
            Ok(quote) => quote,
            Err(status) => format!("{:?}", status.code()),
        }
    });
    (serve(Router::new().route("/", asking).layer(server("front").layer())).await, events)
}

/// A caller that waits for a second, and says what it was told.
fn call(front: SocketAddr) -> JoinHandle<String> {
    tokio::spawn(async move {
        let mut request = asked(front);
        request.headers_mut().insert("x-request-timeout-ms", http::HeaderValue::from(1_000));
        let caller = Client::builder(TokioExecutor::new()).build_http();
        let answer = caller.request(request).await.unwrap().into_body().collect().await.unwrap();
        String::from_utf8(answer.to_bytes().into()).unwrap()
    })
}

#[tokio::test(start_paused = true)]
async fn all_hops_are_told_what_is_left_in_turn_and_all_of_them_end_with_it() {
    let _still = stand_still();
    let (front, mut events) = front(true).await;
    let caller = call(front);
    for (name, left) in [("front", "1000"), ("quotes", "900000u"), ("store", "800")] {
        assert_eq!(events.recv().await, Some(Event::Begins(name, Some(left.to_owned()))));
        if name != "store" {
            advance(WORK).await;
        }
    }
    advance(REST).await;
    assert_eq!(caller.await.unwrap(), "DeadlineExceeded");
    let mut ended = Vec::new();
    while let Some(Event::Ends(name)) = events.recv().await {
        ended.push(name);
        if ended.len() == 3 {
            break;
        }
    }
    ended.sort_unstable();
    assert_eq!(ended, ["front", "quotes", "store"]);
}

#[tokio::test(start_paused = true)]
async fn a_hop_that_is_told_nothing_ends_once_the_one_before_it_has() {
    let _still = stand_still();
    let (front, mut events) = front(false).await;
    let caller = call(front);
    for (name, left) in [("front", Some("1000")), ("quotes", None), ("store", None)] {
        assert_eq!(events.recv().await, Some(Event::Begins(name, left.map(str::to_owned))));
        if name != "store" {
            advance(WORK).await;
        }
    }
    advance(REST).await;
    for name in ["front", "quotes", "store"] {
        assert_eq!(events.recv().await, Some(Event::Ends(name)));
    }
    assert_eq!(caller.await.unwrap(), "DeadlineExceeded");
}
