//! `golden::client(..).grpc(channel)` under a tonic client.

use std::{
    sync::{
        Arc,
        atomic::{AtomicU32, Ordering},
    },
    time::Duration,
};

use moneta_resilience::{
    Deadline, Reason, Registry, Rejected,
    event::Outcome,
    fallback::NoFallback,
    golden::{self, BoxedGrpcClient, ClientBuilder, GrpcClient, Limit},
    grpc,
    http::Degraded,
};
use tokio::{
    net::TcpSocket,
    time::{Instant, sleep},
};
use tonic::{
    Code, Request, Status,
    transport::{Channel, Endpoint},
};
use tower::layer::util::Identity;

use super::wire::{Asked, Quotes, QuotesClient, in_memory, over_loopback};

const LIMIT: Duration = Duration::from_secs(2);
const GET: &str = "/test.Quotes/Get";
const ORDER: &str = "/test.Quotes/Order";

fn builder() -> ClientBuilder<Limit, NoFallback> {
    golden::client("quotes").timeout(LIMIT).no_fallback().registry(&Registry::new())
}

fn client(channel: Channel) -> GrpcClient<NoFallback, Channel> {
    builder().grpc(channel).repeatable_methods([GET])
}

/// Answers with `code` to the first calls and then well, telling what it saw; and the number of its calls.
fn failing(times: u32, code: Code, pushback: Option<&'static str>) -> (Quotes, Arc<AtomicU32>) {
    let calls = Arc::new(AtomicU32::new(0));
    let counted = Arc::clone(&calls);
    let quotes = Quotes::new(move |asked: Asked| {
        let call = counted.fetch_add(1, Ordering::Relaxed);
        async move {
            if call >= times {
                let previous = asked.header("grpc-previous-rpc-attempts").unwrap_or("no");
                return Ok(format!("{} after {previous}", asked.message));
            }
            let mut status = Status::new(code, "as told");
            if let Some(pushback) = pushback {
                status.metadata_mut().insert("grpc-retry-pushback-ms", pushback.parse().unwrap());
            }
            Err(status)
        }
    });
    (quotes, calls)
}

fn reason(status: &Status) -> Option<Reason> {
    Rejected::find(status).map(Rejected::reason)
}

#[tokio::test(start_paused = true)]
async fn a_repeatable_method_is_tried_again_while_it_is_unavailable() {
    let (quotes, calls) = failing(2, Code::Unavailable, None);
    let client = client(in_memory(quotes, &Identity::new()));
    let counts = client.handle().clone();
    assert_eq!(QuotesClient::new(client).get("CHF").await.unwrap(), "CHF after 2");
    assert_eq!(calls.load(Ordering::Relaxed), 3);
    assert_eq!(counts.counts().calls(Outcome::Success), 1);
    assert_eq!(counts.counts().retry_attempts(), 2);
}

#[tokio::test]
async fn so_it_is_over_real_connections() {
    let (quotes, calls) = failing(1, Code::Unavailable, Some("0"));
    let server = golden::server("market").timeout(LIMIT).registry(&Registry::new()).grpc_layer();
    let mut client = QuotesClient::new(client(over_loopback(quotes, server).await));
    assert_eq!(client.get("CHF").await.unwrap(), "CHF after 1");
    assert_eq!(calls.load(Ordering::Relaxed), 2);
}

#[tokio::test(start_paused = true)]
async fn a_method_that_nobody_called_repeatable_is_called_once() {
    let (quotes, calls) = failing(1, Code::Unavailable, None);
    let mut client = QuotesClient::new(client(in_memory(quotes, &Identity::new())));
    let status = client.call(ORDER, Request::new("CHF".to_owned())).await.unwrap_err();
    assert_eq!((status.code(), status.message()), (Code::Unavailable, "as told"));
    assert_eq!(calls.load(Ordering::Relaxed), 1);
}

#[tokio::test(start_paused = true)]
async fn only_codes_that_pass_are_tried_again() {
    for code in 1..=16 {
        let code = Code::from_i32(code);
        let (quotes, calls) = failing(u32::MAX, code, None);
        let client = builder().timeout(Duration::from_secs(60)).grpc(in_memory(quotes, &Identity::new()));
        let mut client = QuotesClient::new(client.repeatable_if(|path| path.ends_with("Get")));
        let status = client.get("CHF").await.unwrap_err();
        assert_eq!((status.code(), status.message()), (code, "as told"));
        let passes = matches!(code, Code::Unavailable | Code::DeadlineExceeded | Code::ResourceExhausted);
        assert_eq!(calls.load(Ordering::Relaxed), if passes { 3 } else { 1 }, "{code:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn pushback_is_waited_for_and_a_negative_one_or_garbage_stops() {
    let (quotes, _) = failing(1, Code::Unavailable, Some("1500"));
    let mut client = QuotesClient::new(super::client::client(in_memory(quotes, &Identity::new())));
    let start = Instant::now();
    client.get("CHF").await.unwrap();
    assert_eq!(start.elapsed().as_millis(), 1_500);

    for stop in ["-1", "soon"] {
        let (quotes, calls) = failing(1, Code::Unavailable, Some(stop));
        let mut client = QuotesClient::new(super::client::client(in_memory(quotes, &Identity::new())));
        assert_eq!(client.get("CHF").await.unwrap_err().code(), Code::Unavailable);
        assert_eq!(calls.load(Ordering::Relaxed), 1, "{stop:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_long_message_goes_through_and_is_sent_once() {
    let (quotes, calls) = failing(1, Code::Unavailable, None);
    let mut client = QuotesClient::new(client(in_memory(quotes, &Identity::new())));
    let long = "CHF".repeat(30_000);
    assert_eq!(client.get(&long).await.unwrap_err().code(), Code::Unavailable);
    assert_eq!(calls.load(Ordering::Relaxed), 1);
    assert_eq!(client.get(&long).await.unwrap(), format!("{long} after no"));
}

#[tokio::test(start_paused = true)]
async fn a_hanging_server_is_cut_at_the_limit_by_the_timeout_and_not_by_the_channel() {
    let hanging = Quotes::new(async |_| std::future::pending().await);
    let client = client(in_memory(hanging, &Identity::new()));
    let handle = client.handle().clone();
    let mut client = QuotesClient::new(client);
    for _ in 0..5 {
        let start = Instant::now();
        let status = client.get("CHF").await.unwrap_err();
        assert_eq!((status.code(), reason(&status)), (Code::DeadlineExceeded, Some(Reason::Timeout)));
        assert_eq!(start.elapsed(), LIMIT);
    }
    assert_eq!(handle.counts().calls(Outcome::Timeout), 5);
    // What only hangs is a failure to the breaker.
    let status = client.get("CHF").await.unwrap_err();
    assert_eq!((status.code(), reason(&status)), (Code::Unavailable, Some(Reason::CircuitOpen)));
}

#[tokio::test(start_paused = true)]
async fn each_attempt_says_what_is_left_when_it_begins() {
    let telling = Quotes::new(async |asked: Asked| {
        if asked.header("grpc-previous-rpc-attempts").is_none() {
            sleep(Duration::from_millis(300)).await;
            let mut status = Status::unavailable("");
            status.metadata_mut().insert("grpc-retry-pushback-ms", "700".parse().unwrap());
            return Err(status);
        }
        Ok(asked.header("grpc-timeout").unwrap().to_owned())
    });
    let mut client = QuotesClient::new(client(in_memory(telling, &Identity::new())));
    assert_eq!(client.get("CHF").await.unwrap(), "1000000u");
}

#[tokio::test(start_paused = true)]
async fn a_timeout_of_the_request_and_the_deadline_of_the_work_shorten_the_call() {
    let echo = Quotes::new(async |asked: Asked| Ok(asked.header("grpc-timeout").unwrap().to_owned()));
    let mut client = QuotesClient::new(client(in_memory(echo, &Identity::new())));
    let asked = |limit| {
        let mut request = Request::new(String::new());
        request.set_timeout(Duration::from_millis(limit));
        request
    };
    assert_eq!(client.call(GET, asked(1_000)).await.unwrap(), "1000000u");
    assert_eq!(client.call(GET, asked(9_000)).await.unwrap(), "2000000u");
    let work = Deadline::after(Duration::from_millis(500));
    assert_eq!(work.scope(client.call(GET, asked(1_000))).await.unwrap(), "500000u");
    let expired = Deadline::after(Duration::ZERO).scope(client.call(GET, asked(1_000))).await.unwrap_err();
    assert_eq!(expired.code(), Code::DeadlineExceeded);
    assert_eq!(reason(&expired), Some(Reason::DeadlineExceeded));
}

#[tokio::test]
async fn a_server_that_is_not_there_is_unavailable() {
    let socket = TcpSocket::new_v4().unwrap();
    socket.bind("127.0.0.1:0".parse().unwrap()).unwrap();
    let address = socket.local_addr().unwrap();
    let channel = Endpoint::from_shared(format!("http://{address}")).unwrap().connect_lazy();
    let client = client(channel);
    let handle = client.handle().clone();
    let status = QuotesClient::new(client).call(ORDER, Request::new(String::new())).await.unwrap_err();
    assert_eq!(status.code(), Code::Unavailable);
    assert_eq!(handle.counts().calls(Outcome::Transient), 1);
}

#[tokio::test(start_paused = true)]
async fn a_fallback_answers_with_a_message_or_a_status() {
    let (quotes, _) = failing(u32::MAX, Code::Unavailable, None);
    let channel = in_memory(quotes, &Identity::new());
    let stale = golden::client("quotes").timeout(LIMIT).registry(&Registry::new());
    let stale = stale.fallback(|_why| Ok(grpc::reply("yesterday"))).grpc(channel.clone());
    assert_eq!(QuotesClient::new(stale.clone()).get("CHF").await.unwrap(), "yesterday");
    let request = http::Request::post(format!("http://quotes{GET}")).body(tonic::body::Body::empty());
    let answer = tower::ServiceExt::oneshot(stale, request.unwrap()).await.unwrap();
    assert!(answer.extensions().get::<Degraded>().is_some());

    let none = golden::client("quotes").timeout(LIMIT).registry(&Registry::new());
    let none = none
        .fallback(|_why| Ok(Status::not_found("no quote today").into_http::<tonic::body::Body>()))
        .grpc(channel);
    assert_eq!(QuotesClient::new(none).get("CHF").await.unwrap_err().code(), Code::NotFound);
}

#[tokio::test(start_paused = true)]
async fn another_channel_answers_for_methods_that_may_be_repeated() {
    let (down, _) = failing(u32::MAX, Code::Unavailable, None);
    let (replica, _) = failing(0, Code::Ok, None);
    let replica = grpc::GrpcTransport::new(in_memory(replica, &Identity::new()));
    let builder = golden::client("quotes").timeout(LIMIT).registry(&Registry::new());
    let client = builder.fallback_service(replica).grpc(in_memory(down, &Identity::new()));
    let client = QuotesClient::new(client.repeatable_methods([GET]));
    assert_eq!(client.clone().get("CHF").await.unwrap(), "CHF after no");
    let order = client.clone().call(ORDER, Request::new(String::new())).await;
    assert_eq!(order.unwrap_err().code(), Code::Unavailable);
}

#[test]
#[should_panic(expected = "`Get` is no path of a gRPC method; they look like `/package.Service/Method`")]
fn a_name_that_no_call_would_match_is_refused() {
    let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
    let _entered = runtime.enter();
    drop(builder().grpc(Channel::from_static("http://quotes").connect_lazy()).repeatable_methods(["Get"]));
}

#[tokio::test(start_paused = true)]
async fn a_client_whose_type_is_erased_does_the_same() {
    struct Desk(QuotesClient<BoxedGrpcClient>);

    let (quotes, _) = failing(1, Code::Unavailable, None);
    let stale = golden::client("quotes").timeout(LIMIT).registry(&Registry::new());
    let stale = stale.fallback(|_why| Ok(grpc::reply("yesterday"))).grpc(in_memory(quotes, &Identity::new()));
    let breaker = stale.handle().circuit_breaker().unwrap().clone();
    let mut desk = Desk(QuotesClient::new(stale.repeatable_methods([GET]).boxed()));
    assert_eq!(desk.0.get("CHF").await.unwrap(), "CHF after 1");
    breaker.force_open();
    assert_eq!(desk.0.get("CHF").await.unwrap(), "yesterday");
}

#[tokio::test(start_paused = true)]
async fn calls_are_made_from_spawned_tasks() {
    fn sent<T: Send + 'static>(value: T) -> T {
        value
    }
    let (quotes, _) = failing(0, Code::Ok, None);
    let client = client(in_memory(quotes, &Identity::new()));
    let task = sent(async move { QuotesClient::new(client).get("CHF").await });
    assert_eq!(tokio::spawn(task).await.unwrap().unwrap(), "CHF after no");
}
