//! What a gRPC client makes of an answer, wherever its status stands, and what it sends again.

use std::{
    future::ready,
    pin::pin,
    sync::{
        Arc, Mutex,
        atomic::{AtomicU32, Ordering},
    },
    task::Poll,
    time::Duration,
};

use bytes::Bytes;
use futures::{StreamExt as _, channel::mpsc, future::BoxFuture, stream};
use http_body::Frame;
use http_body_util::{BodyExt as _, StreamBody};
use moneta_resilience::{
    BoxError, Reason, Registry, Rejected,
    event::{BreakerResult, CircuitState, Outcome},
    fallback::NoFallback,
    golden::{self, ClientBuilder, GrpcClient, Limit},
    grpc,
};
use tonic::{Code, Request, Status, body::Body, transport::Channel};
use tower::{Service, ServiceExt as _, service_fn};

use super::wire::{QuotesClient, answered, framed, raw, raw_after, trailers};

const LIMIT: Duration = Duration::from_secs(2);
const GET: &str = "/test.Quotes/Get";
const ORDER: &str = "/test.Quotes/Order";
const CHAT: &str = "/test.Quotes/Chat";

fn builder() -> ClientBuilder<Limit, NoFallback> {
    golden::client("quotes").timeout(LIMIT).no_fallback().registry(&Registry::new())
}

fn message(text: &str) -> Frame<Bytes> {
    Frame::data(framed(text))
}

/// Answers so to the first call and well to the others; and the number of its calls.
fn at_first(
    frames: impl Fn() -> Vec<Frame<Bytes>> + Clone + Send + Sync + 'static,
) -> (
    impl Fn(http::Request<Body>) -> BoxFuture<'static, http::Response<Body>> + Clone + Send + 'static,
    Arc<AtomicU32>,
) {
    let calls = Arc::new(AtomicU32::new(0));
    let counted = Arc::clone(&calls);
    let answer = move |request: http::Request<Body>| {
        let (call, frames) = (counted.fetch_add(1, Ordering::Relaxed), frames.clone());
        let answer = async move {
            request.into_body().collect().await.unwrap();
            if call > 0 {
                return grpc::reply("9312");
            }
            answered(stream::iter(frames()))
        };
        Box::pin(answer) as BoxFuture<'static, _>
    };
    (answer, calls)
}

#[tokio::test(start_paused = true)]
async fn a_status_that_comes_instead_of_a_message_is_tried_again_wherever_it_stands() {
    let (answer, calls) = at_first(|| vec![trailers(Code::Unavailable)]);
    let client = builder().grpc(raw(answer)).repeatable_methods([GET]);
    let counts = client.handle().clone();
    assert_eq!(QuotesClient::new(client).get("CHF").await.unwrap(), "9312");
    assert_eq!(calls.load(Ordering::Relaxed), 2);
    assert_eq!(counts.counts().breaker(BreakerResult::Failure), 1);
}

#[tokio::test(start_paused = true)]
async fn a_pushback_in_the_trailers_is_obeyed() {
    let (answer, calls) = at_first(|| {
        let mut end = trailers(Code::Unavailable).into_trailers().unwrap();
        end.insert("grpc-retry-pushback-ms", http::HeaderValue::from_static("-1"));
        vec![Frame::trailers(end)]
    });
    let mut client = QuotesClient::new(builder().grpc(raw(answer)).repeatable_methods([GET]));
    let status = client.get("CHF").await.unwrap_err();
    assert_eq!(status.code(), Code::Unavailable);
    assert_eq!(status.metadata().get("grpc-retry-pushback-ms").unwrap(), "-1");
    assert_eq!(calls.load(Ordering::Relaxed), 1);
}

#[tokio::test(start_paused = true)]
async fn every_code_means_the_same_in_the_trailers() {
    for code in 1..=16 {
        let code = Code::from_i32(code);
        let (answer, _) = at_first(move || vec![trailers(code)]);
        let client = builder().grpc(raw(answer));
        let handle = client.handle().clone();
        assert_eq!(QuotesClient::new(client).get("CHF").await.unwrap_err().code(), code);
        let outcome = match code {
            Code::Unavailable | Code::DeadlineExceeded => Outcome::Transient,
            Code::ResourceExhausted => Outcome::Throttled,
            Code::Internal | Code::Unknown | Code::DataLoss => Outcome::Fault,
            _ => Outcome::CallerFault,
        };
        assert_eq!(handle.counts().calls(outcome), 1, "{code:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn an_answer_without_message_and_status_is_a_fault() {
    let (answer, _) = at_first(Vec::new);
    let client = builder().grpc(raw(answer));
    let handle = client.handle().clone();
    assert_eq!(QuotesClient::new(client).get("CHF").await.unwrap_err().code(), Code::Internal);
    assert_eq!(handle.counts().calls(Outcome::Fault), 1);
}

#[tokio::test(start_paused = true)]
async fn what_had_a_message_is_not_tried_again() {
    let (answer, calls) = at_first(|| vec![message("9311"), trailers(Code::Unavailable)]);
    let mut client = QuotesClient::new(builder().grpc(raw(answer)).repeatable_methods([GET]));
    assert_eq!(client.get("CHF").await.unwrap_err().code(), Code::Unavailable);
    assert_eq!(calls.load(Ordering::Relaxed), 1);
}

#[tokio::test(start_paused = true)]
async fn a_server_that_stalls_after_its_headers_opens_the_circuit() {
    let stalling = raw(async |request: http::Request<Body>| {
        request.into_body().collect().await.unwrap();
        answered(stream::pending())
    });
    let client = builder().grpc(stalling);
    let handle = client.handle().clone();
    let mut client = QuotesClient::new(client);
    for _ in 0..5 {
        let status = client.get("CHF").await.unwrap_err();
        assert_eq!(status.code(), Code::DeadlineExceeded);
        assert_eq!(Rejected::find(&status).map(Rejected::reason), Some(Reason::Timeout));
    }
    assert_eq!(handle.state().circuit, Some(CircuitState::Open));
}

#[tokio::test(start_paused = true)]
async fn a_call_whose_request_goes_on_has_its_headers_at_once() {
    let echo = raw(async |request: http::Request<Body>| {
        answered(request.into_body().into_data_stream().map(|data| Frame::data(data.unwrap())))
    });
    let mut client = QuotesClient::new(builder().grpc(echo));
    let (say, said) = mpsc::unbounded();
    let request = Request::new(said);
    // The server has nothing to say before it is spoken to, which only happens once its headers are here.
    let mut heard = pin!(client.stream(CHAT, request).await.unwrap());
    say.unbounded_send("CHF".to_owned()).unwrap();
    assert_eq!(heard.next().await.unwrap().unwrap(), "CHF");
}

#[tokio::test(start_paused = true)]
async fn a_call_that_nobody_listened_to_is_made_again_whatever_its_method() {
    let (answer, calls) = at_first(|| vec![message("ordered"), trailers(Code::Ok)]);
    let client = builder().grpc(raw_after(1, answer));
    let handle = client.handle().clone();
    let order = QuotesClient::new(client).call(ORDER, Request::new("CHF".to_owned())).await;
    assert_eq!(order.unwrap(), "ordered");
    assert_eq!((calls.load(Ordering::Relaxed), handle.counts().retry_attempts()), (1, 1));

    // Once: a service that is not there is asked a second time and no third.
    let (answer, calls) = at_first(|| vec![message("ordered"), trailers(Code::Ok)]);
    let client = builder().grpc(raw_after(2, answer));
    let order = QuotesClient::new(client).call(ORDER, Request::new("CHF".to_owned())).await;
    assert_eq!(order.unwrap_err().code(), Code::Unavailable);
    assert_eq!(calls.load(Ordering::Relaxed), 0);
}

/// A stream of one message that ends so when it is told to.
fn stream_that_ends(
    end: Option<Frame<Bytes>>,
) -> (GrpcClient<NoFallback, Channel>, mpsc::UnboundedSender<()>) {
    let (tell, told) = mpsc::unbounded::<()>();
    let told = Arc::new(Mutex::new(Some((told, end))));
    let channel = raw(move |_| {
        let (told, mut end) = told.lock().unwrap().take().unwrap();
        let end = told.take(1).filter_map(move |()| ready(end.take()));
        ready(answered(stream::iter([message("9311")]).chain(end)))
    });
    (builder().grpc(channel).streaming_methods([CHAT]), tell)
}

fn no_messages() -> Request<stream::Empty<String>> {
    Request::new(stream::empty())
}

#[tokio::test(start_paused = true)]
async fn an_answer_that_breaks_off_is_told_and_fails_once_more() {
    for (end, outcome) in [
        (Some(trailers(Code::Unavailable)), Outcome::Transient),
        (Some(trailers(Code::Internal)), Outcome::Fault),
        (Some(Frame::trailers(http::HeaderMap::new())), Outcome::Fault),
        (None, Outcome::Fault),
    ] {
        let (client, end) = stream_that_ends(end);
        let handle = client.handle().clone();
        let mut prices = QuotesClient::new(client).stream(CHAT, no_messages()).await.unwrap();
        assert_eq!(prices.next().await.unwrap().unwrap(), "9311");
        assert_eq!(handle.counts().answers_broken(outcome), 0);
        assert_eq!(Outcome::ALL.map(|outcome| handle.counts().calls(outcome)), [0; Outcome::ALL.len()]);
        end.unbounded_send(()).unwrap();
        while prices.next().await.is_some() {}
        assert_eq!(handle.counts().answers_broken(outcome), 1, "{outcome:?}");
        assert_eq!(handle.counts().calls(outcome), 1, "as it ended, and not as it began");
        assert_eq!(handle.counts().calls(Outcome::Success), 0);
        let breaker = handle.circuit_breaker().unwrap().snapshot();
        assert_eq!((breaker.calls, breaker.failures), (2, 1), "{outcome:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn an_end_that_says_nothing_bad_of_the_dependency_fails_no_breaker() {
    for (end, told) in [(Code::Ok, 0), (Code::OutOfRange, 1)] {
        let (client, tell) = stream_that_ends(Some(trailers(end)));
        let handle = client.handle().clone();
        let mut prices = QuotesClient::new(client).stream(CHAT, no_messages()).await.unwrap();
        tell.unbounded_send(()).unwrap();
        while prices.next().await.is_some() {}
        assert_eq!(handle.counts().answers_broken(Outcome::CallerFault), told, "{end:?}");
        assert_eq!(handle.circuit_breaker().unwrap().snapshot().calls, 1);
    }
    // Nor does a reader that has read enough.
    let (client, _tell) = stream_that_ends(None);
    let handle = client.handle().clone();
    let mut prices = QuotesClient::new(client).stream(CHAT, no_messages()).await.unwrap();
    prices.next().await.unwrap().unwrap();
    drop(prices);
    assert_eq!(handle.circuit_breaker().unwrap().snapshot().failures, 0);
}

#[tokio::test(start_paused = true)]
async fn a_breaker_that_has_begun_anew_hears_nothing_of_old_streams() {
    let (client, end) = stream_that_ends(Some(trailers(Code::Unavailable)));
    let handle = client.handle().clone();
    let mut prices = QuotesClient::new(client).stream(CHAT, no_messages()).await.unwrap();
    handle.circuit_breaker().unwrap().reset();
    end.unbounded_send(()).unwrap();
    while prices.next().await.is_some() {}
    assert_eq!(handle.counts().answers_broken(Outcome::Transient), 1);
    assert_eq!(handle.circuit_breaker().unwrap().snapshot().calls, 0);
}

#[tokio::test(start_paused = true)]
async fn answers_that_break_off_again_and_again_open_the_circuit() {
    let breaking = raw(async |_| answered(stream::iter([message("9311"), trailers(Code::Unavailable)])));
    let client = builder().grpc(breaking);
    let handle = client.handle().clone();
    let mut client = QuotesClient::new(client);
    let mut calls = 0;
    while handle.state().circuit == Some(CircuitState::Closed) {
        client.get("CHF").await.unwrap_err();
        calls += 1;
    }
    assert_eq!(calls, 10, "twenty verdicts, half of them bad");
}

/// A channel of which every answer has this body.
fn channel_with<B>(
    body: impl Fn() -> B + Clone,
) -> impl Service<http::Request<Body>, Response = http::Response<B>, Error = BoxError, Future: Send> + Clone
where
    B: Send + 'static,
{
    service_fn(move |request: http::Request<Body>| {
        let answer = http::Response::new(body());
        async move {
            request.into_body().collect().await?;
            Ok::<_, BoxError>(answer)
        }
    })
}

#[tokio::test(start_paused = true)]
async fn what_breaks_an_answer_off_reaches_the_caller_as_it_is() {
    for messages in [0, 1] {
        let breaking = channel_with(move || {
            let messages = stream::iter(vec![(); messages]).map(|()| Ok(message("9311")));
            let broken = stream::iter([Err(Status::data_loss("the disk is gone"))]);
            StreamBody::new(messages.chain(broken).boxed())
        });
        let client = builder().grpc(breaking);
        let handle = client.handle().clone();
        let status = QuotesClient::new(client).get("CHF").await.unwrap_err();
        assert_eq!((status.code(), status.message()), (Code::DataLoss, "the disk is gone"), "{messages}");
        assert_eq!(handle.counts().breaker(BreakerResult::Failure), 1, "{messages}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_flood_of_nothing_holds_nobody_past_the_limit() {
    let flooding = channel_with(|| {
        StreamBody::new(stream::repeat_with(|| Ok::<_, BoxError>(Frame::data(Bytes::new()))))
    });
    let request = http::Request::post("/test.Quotes/Get").body(Body::empty()).unwrap();
    let mut call = tokio_test::task::spawn(builder().grpc(flooding).oneshot(request));
    assert!(call.poll().is_pending());
    tokio::time::advance(LIMIT).await;
    let Poll::Ready(Err(status)) = call.poll() else { panic!("it is held") };
    assert_eq!(status.code(), Code::DeadlineExceeded);
}
