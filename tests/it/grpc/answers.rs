//! How long the answer of a gRPC client may take, beyond its headers.

use std::{
    future::pending,
    sync::{
        Arc,
        atomic::{AtomicU32, Ordering},
    },
    time::Duration,
};

use bytes::Bytes;
use futures::{StreamExt as _, stream};
use http_body::Frame;
use moneta_resilience::{
    Reason, Registry, Rejected,
    event::Outcome,
    fallback::NoFallback,
    golden::{self, ClientBuilder, Limit},
    hedge::HedgeLayer,
};
use tokio::time::{Instant, sleep};
use tonic::{Code, Request, Status};

use super::wire::{QuotesClient, answered, framed, raw, trailers};

const SECOND: Duration = Duration::from_secs(1);
const LIMIT: Duration = Duration::from_secs(2);
const GET: &str = "/test.Quotes/Get";
const WATCH: &str = "/test.Quotes/Watch";

fn builder() -> ClientBuilder<Limit, NoFallback> {
    golden::client("quotes").timeout(LIMIT).no_fallback().registry(&Registry::new())
}

fn why(status: &Status) -> (Code, Option<Reason>) {
    (status.code(), Rejected::find(status).map(Rejected::reason))
}

/// One message a second, so many of them, and then silence or an end.
fn ticks(count: u64, ends: bool) -> impl stream::Stream<Item = Frame<Bytes>> + Send + 'static {
    let ticks = stream::iter(0..count).then(|tick| async move {
        sleep(SECOND).await;
        Frame::data(framed(&tick.to_string()))
    });
    let end = stream::once(async move { if ends { trailers(Code::Ok) } else { pending().await } });
    ticks.chain(end)
}

fn no_messages() -> Request<stream::Empty<String>> {
    Request::new(stream::empty())
}

#[tokio::test(start_paused = true)]
async fn a_call_that_stalls_in_its_message_is_cut_at_the_deadline() {
    let stalling = raw(async |_| {
        let begun = Frame::data(framed("a long message").slice(..9));
        answered(stream::iter([begun]).chain(stream::pending()))
    });
    let client = builder().grpc(stalling);
    let handle = client.handle().clone();
    let mut client = QuotesClient::new(client);
    let start = Instant::now();
    let status = client.get("CHF").await.unwrap_err();
    assert_eq!(handle.counts().answers_broken(Outcome::Timeout), 1);
    assert_eq!(why(&status), (Code::DeadlineExceeded, Some(Reason::DeadlineExceeded)));
    assert_eq!(start.elapsed(), LIMIT);
}

#[tokio::test(start_paused = true)]
async fn a_stream_runs_on_when_it_is_named_and_is_cut_when_it_is_not() {
    let watched = || raw(async |_| answered(ticks(9, true)));
    let mut named = QuotesClient::new(builder().grpc(watched()).streaming_methods([WATCH]));
    let ticks: Vec<_> = named.stream(WATCH, no_messages()).await.unwrap().collect().await;
    assert_eq!(ticks.len(), 9);
    assert!(ticks.iter().all(Result::is_ok), "{ticks:?}");

    let mut unnamed = QuotesClient::new(builder().grpc(watched()));
    let ticks: Vec<_> = unnamed.stream(WATCH, no_messages()).await.unwrap().collect().await;
    let [Ok(first), .., Err(status)] = &ticks[..] else { panic!("{ticks:?}") };
    assert_eq!(first, "0");
    assert_eq!(why(status), (Code::DeadlineExceeded, Some(Reason::DeadlineExceeded)));
}

#[tokio::test(start_paused = true)]
async fn a_stream_that_falls_silent_is_cut_at_its_idle_limit() {
    let watched = raw(async |_| answered(ticks(3, false)));
    let client = builder().body_idle_timeout(5 * SECOND).grpc(watched);
    let mut client = QuotesClient::new(client.streaming_methods([WATCH]));
    let start = Instant::now();
    let ticks: Vec<_> = client.stream(WATCH, no_messages()).await.unwrap().collect().await;
    // What ended it tonic says twice.
    let [Ok(_), Ok(_), Ok(_), Err(status), ..] = &ticks[..] else { panic!("{ticks:?}") };
    assert_eq!(why(status), (Code::DeadlineExceeded, Some(Reason::BodyIdle)));
    assert_eq!(start.elapsed(), 8 * SECOND);
}

#[tokio::test(start_paused = true)]
async fn a_stream_is_told_no_end_but_its_callers() {
    let echo = raw(async |request| {
        let left = request.headers().get("grpc-timeout").map(|left| left.to_str().unwrap().to_owned());
        let message = Frame::data(framed(&left.unwrap_or("none".into())));
        answered(stream::iter([message, trailers(Code::Ok)]))
    });
    let mut client = QuotesClient::new(builder().grpc(echo).streaming_methods([WATCH]));
    assert_eq!(client.get("CHF").await.unwrap(), "2000000u");
    let told = client.stream(WATCH, no_messages()).await.unwrap().next().await;
    assert_eq!(told.unwrap().unwrap(), "none");
    let mut request = no_messages();
    request.set_timeout(Duration::from_secs(3_600));
    let told = client.stream(WATCH, request).await.unwrap().next().await;
    assert_eq!(told.unwrap().unwrap(), "3600000m");
}

#[tokio::test(start_paused = true)]
async fn a_slow_call_is_overtaken_by_its_second_copy() {
    let calls = Arc::new(AtomicU32::new(0));
    let counted = Arc::clone(&calls);
    let slow_at_first = raw(move |_| {
        let call = counted.fetch_add(1, Ordering::Relaxed);
        async move {
            if call == 0 {
                sleep(SECOND).await;
            }
            answered(stream::iter([Frame::data(framed(&call.to_string())), trailers(Code::Ok)]))
        }
    });
    let hedged = builder().hedge(HedgeLayer::new().delay(Duration::from_millis(50))).grpc(slow_at_first);
    let mut client = QuotesClient::new(hedged.repeatable_methods([GET]));
    let start = Instant::now();
    assert_eq!(client.get("CHF").await.unwrap(), "1");
    assert_eq!(start.elapsed().as_millis(), 50);
    // And what nobody called repeatable has no second copy.
    calls.store(0, Ordering::Relaxed);
    let order = client.call("/test.Quotes/Order", Request::new("CHF".to_owned())).await;
    assert_eq!(order.unwrap(), "0");
    assert_eq!(calls.load(Ordering::Relaxed), 1);
}
