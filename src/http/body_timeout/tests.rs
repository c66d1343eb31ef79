use std::{
    convert::Infallible,
    io,
    pin::Pin,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    task::{Context, Poll},
    time::Duration,
};

use bytes::Bytes;
use futures::{FutureExt as _, StreamExt as _, stream};
use http::{Request, Response, header::CONTENT_TYPE};
use http_body::{Body, Frame};
use http_body_util::{BodyExt as _, Empty, Full, StreamBody};
use tokio::time::{Instant, sleep};
use tower::{Layer, ServiceExt as _, service_fn};

use super::BodyTimeoutLayer;
use crate::{BoxError, CallError, Deadline, Reason, Registry, golden};

const SECOND: Duration = Duration::from_secs(1);

/// A body that gives one byte at the end of each wait, and after the last of them is silent.
type Bits = StreamBody<Pin<Box<dyn futures::Stream<Item = Result<Frame<Bytes>, Infallible>> + Send>>>;

fn bits(waits: impl IntoIterator<Item = Duration, IntoIter: Send + 'static>) -> Bits {
    let silence = stream::iter([Duration::MAX]);
    whole(stream::iter(waits).chain(silence))
}

/// A body that gives one byte at the end of each wait, and then ends.
fn whole(waits: impl futures::Stream<Item = Duration> + Send + 'static) -> Bits {
    StreamBody::new(Box::pin(waits.then(|wait| async move {
        sleep(wait).await;
        Ok(Frame::data(Bytes::from_static(b"b")))
    })))
}

/// The answer that a layer lets through.
async fn answer<B: Send + 'static>(
    layer: BodyTimeoutLayer,
    body: impl Fn() -> B + Clone,
) -> Response<super::TimedBody<B>> {
    let service = service_fn(move |_: Request<()>| {
        let response = Response::new(body());
        async { Ok::<_, BoxError>(response) }
    });
    layer.layer(service).oneshot(Request::new(())).await.expect("the head is there")
}

fn reason(error: &CallError) -> Option<Reason> {
    error.rejected().map(crate::Rejected::reason)
}

/// Reads to the end, and says how many frames came, and what ended the body.
async fn read<B>(mut body: B, pause: Duration) -> (u32, Option<CallError>)
where
    B: Body<Data = Bytes, Error = CallError> + Unpin,
{
    let mut frames = 0;
    loop {
        match body.frame().await {
            Some(Ok(_)) => frames += 1,
            Some(Err(error)) => {
                assert!(body.frame().await.is_none() && body.is_end_stream(), "what was cut has ended");
                return (frames, Some(error));
            }
            None => return (frames, None),
        }
        sleep(pause).await;
    }
}

#[tokio::test(start_paused = true)]
async fn a_head_and_then_a_byte_a_second_is_cut_at_the_deadline() {
    let start = Instant::now();
    let layer = BodyTimeoutLayer::new().total(SECOND * 7 / 2);
    let answer = answer(layer, || bits([SECOND; 100])).await;
    let (frames, error) = read(answer.into_body(), Duration::ZERO).await;
    assert_eq!((frames, error.as_ref().and_then(reason)), (3, Some(Reason::DeadlineExceeded)));
    assert_eq!(start.elapsed(), SECOND * 7 / 2);
}

#[tokio::test(start_paused = true)]
async fn a_slow_reader_is_not_cut() {
    let layer = BodyTimeoutLayer::new().total(SECOND).idle(SECOND);
    // Each frame is waited for a little: nine tenths of a second in all, over a minute and a half.
    let answer = answer(layer, || whole(stream::iter([SECOND / 10; 9]))).await;
    sleep(SECOND * 10).await;
    let (frames, error) = read(answer.into_body(), SECOND * 10).await;
    assert_eq!((frames, error.as_ref().and_then(reason)), (9, None));
}

#[tokio::test(start_paused = true)]
async fn a_slow_reader_is_cut_when_its_own_waits_add_up_to_the_limit() {
    let layer = BodyTimeoutLayer::new().total(SECOND);
    let answer = answer(layer, || bits([SECOND / 10; 100])).await;
    let (frames, error) = read(answer.into_body(), SECOND * 10).await;
    assert_eq!((frames, error.as_ref().and_then(reason)), (10, Some(Reason::DeadlineExceeded)));
}

#[tokio::test(start_paused = true)]
async fn silence_is_cut_at_the_idle_limit_and_the_body_is_dropped() {
    struct Silent(Arc<AtomicBool>);
    impl Drop for Silent {
        fn drop(&mut self) {
            self.0.store(true, Ordering::Relaxed);
        }
    }
    impl Body for Silent {
        type Data = Bytes;
        type Error = Infallible;

        fn poll_frame(
            self: Pin<&mut Self>,
            _: &mut Context<'_>,
        ) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
            Poll::Pending
        }
    }
    let start = Instant::now();
    let dropped = Arc::new(AtomicBool::new(false));
    let silent = Arc::clone(&dropped);
    let answer = answer(BodyTimeoutLayer::new().idle(SECOND), move || Silent(Arc::clone(&silent))).await;
    let mut body = answer.into_body();
    let error = body.frame().await.expect("an error").expect_err("it is silent");
    assert_eq!(reason(&error), Some(Reason::BodyIdle));
    assert_eq!(start.elapsed(), SECOND);
    assert!(dropped.load(Ordering::Relaxed));
}

#[tokio::test(start_paused = true)]
async fn a_stream_runs_on_and_is_cut_only_when_it_is_silent() {
    let start = Instant::now();
    let layer = BodyTimeoutLayer::new()
        .total(SECOND * 2)
        .idle(SECOND * 5)
        .streaming(|head| head.headers.get(CONTENT_TYPE).is_some_and(|kind| kind == "text/event-stream"));
    let service = service_fn(|_: Request<()>| async {
        let response = Response::builder().header(CONTENT_TYPE, "text/event-stream");
        Ok::<_, BoxError>(response.body(bits(std::iter::repeat_n(SECOND, 3_600))).expect("it is valid"))
    });
    let answer = layer.layer(service).oneshot(Request::new(())).await.expect("the head is there");
    let (frames, error) = read(answer.into_body(), Duration::ZERO).await;
    assert_eq!((frames, error.as_ref().and_then(reason)), (3_600, Some(Reason::BodyIdle)));
    assert_eq!(start.elapsed(), SECOND * 3_605);
}

#[tokio::test(start_paused = true)]
async fn the_deadline_of_the_work_in_hand_goes_on_over_the_body() {
    let start = Instant::now();
    let answer = answer(BodyTimeoutLayer::new().total(SECOND * 9), || bits([SECOND; 100]));
    let answer = Deadline::after(SECOND * 3 / 2).scope(answer).await;
    let (frames, error) = read(answer.into_body(), Duration::ZERO).await;
    assert_eq!((frames, error.as_ref().and_then(reason)), (1, Some(Reason::DeadlineExceeded)));
    assert_eq!(start.elapsed(), SECOND * 3 / 2);
}

#[tokio::test(start_paused = true)]
async fn a_frame_that_is_there_is_given_out_however_late() {
    let layer = BodyTimeoutLayer::new().total(SECOND).idle(SECOND);
    let answer = answer(layer, || bits([SECOND / 2])).await;
    let mut body = answer.into_body();
    assert!(body.frame().now_or_never().is_none(), "it is waited for");
    sleep(SECOND * 60).await;
    assert!(body.frame().await.expect("a frame").is_ok());
}

#[tokio::test(start_paused = true)]
async fn a_body_without_limits_is_waited_for() {
    let answer = answer(BodyTimeoutLayer::new().without_idle(), || bits([SECOND * 86_400])).await;
    assert!(answer.into_body().frame().await.expect("a frame").is_ok());
}

#[tokio::test(start_paused = true)]
async fn the_bodys_own_error_and_size_pass() {
    let layer = BodyTimeoutLayer::new().total(SECOND);
    let broken = || stream::iter([Err::<Frame<Bytes>, _>(io::Error::from(io::ErrorKind::ConnectionReset))]);
    let answer = answer(layer.clone(), move || StreamBody::new(broken())).await;
    let error = answer.into_body().collect().await.expect_err("it breaks off");
    assert!(error.inner().is::<io::Error>());

    let full = self::answer(layer.clone(), || Full::<Bytes>::from("figures")).await.into_body();
    assert_eq!(full.size_hint().exact(), Some(7));
    assert_eq!(full.collect().await.expect("whole").to_bytes(), "figures");
    assert!(self::answer(layer, Empty::<Bytes>::new).await.into_body().is_end_stream());
}

#[tokio::test(start_paused = true)]
async fn the_golden_client_goes_on_over_the_body_and_counts_what_it_cuts() {
    let slow = service_fn(|request: Request<()>| async move {
        let response = Response::builder().header(CONTENT_TYPE, request.uri().path().trim_matches('/'));
        Ok::<_, Infallible>(response.body(bits([SECOND; 100])).expect("it is valid"))
    });
    let client = golden::client("slow")
        .timeout(SECOND * 5 / 2)
        .streaming(|head| head.headers.get(CONTENT_TYPE).is_some_and(|kind| kind == "stream"))
        .body_idle_timeout(SECOND * 2)
        .fallback(|_why| Ok(Response::new(Full::<Bytes>::from("stale"))))
        .registry(&Registry::new())
        .http(slow);
    let get = |path: &str| Request::get(path).body(()).expect("it is valid");

    let answer = client.send(get("/quote")).await.expect("the head is there");
    let (frames, error) = read(answer.into_body(), Duration::ZERO).await;
    assert_eq!((frames, error.as_ref().and_then(reason)), (2, Some(Reason::DeadlineExceeded)));
    let counts = client.handle().counts();
    assert_eq!((counts.deadlines_exceeded(), counts.bodies_idle()), (1, 0));

    let answer = client.send(get("/stream")).await.expect("the head is there");
    let (frames, error) = read(answer.into_body(), Duration::ZERO).await;
    assert_eq!((frames, error.as_ref().and_then(reason)), (100, Some(Reason::BodyIdle)));
    assert_eq!((counts.deadlines_exceeded(), counts.bodies_idle()), (1, 1));
}

#[test]
#[should_panic(expected = "a limit of zero would cut every body")]
fn a_total_of_zero_is_refused() {
    let _ = BodyTimeoutLayer::new().total(Duration::ZERO);
}

#[test]
#[should_panic(expected = "an idle limit of zero would cut every body")]
fn an_idle_limit_of_zero_is_refused() {
    let _ = BodyTimeoutLayer::new().idle(Duration::ZERO);
}
