//! What becomes of the answers of HTTP.

use std::convert::Infallible;

use bytes::Bytes;
use futures::stream;
use http::{HeaderMap, Request, Response, StatusCode, header::CONTENT_LENGTH};
use http_body::{Body, Frame};
use http_body_util::{BodyExt, Full, StreamBody};
use proptest::prelude::*;

use super::*;
use crate::{
    classify::ByStatus,
    fault::{FaultBody, FaultPolicy, Heads},
    policy::{Leaf, Stack},
};

const SECOND: Duration = Duration::from_secs(1);

/// A body in frames of these lengths, with a trailer.
fn frames(lengths: &[usize]) -> impl Body<Data = Bytes, Error = Infallible> + Unpin + use<> {
    let data = lengths.iter().map(|&length| Frame::data(Bytes::from(vec![b'x'; length])));
    let mut trailers = HeaderMap::new();
    trailers.insert("x-sum", 7.into());
    let frames: Vec<_> = data.chain([Frame::trailers(trailers)]).map(Ok).collect();
    StreamBody::new(stream::iter(frames))
}

/// The answer that comes through a hook, when the service behind it gives what `given` makes.
async fn answered<B>(faults: &Faults, given: impl Fn() -> Response<B> + Clone) -> Response<FaultBody<B>> {
    let policy = FaultPolicy::new(faults.clone(), Heads::new(ByStatus), observer(), Leaf::new(ByStatus));
    let service = service_fn(move |_: Request<()>| std::future::ready(Ok::<_, BoxError>(given())));
    Stack::new(Arc::new(policy), service).oneshot(Request::new(())).await.expect("it answers")
}

/// How many bytes came, whether trailers did, and the error with which it ended.
async fn read<B>(body: &mut FaultBody<B>) -> (usize, bool, Option<BoxError>)
where
    B: Body<Data = Bytes, Error: Into<BoxError>> + Unpin,
{
    let (mut bytes, mut trailers) = (0, false);
    while let Some(frame) = body.frame().await {
        match frame.map(Frame::into_data) {
            Ok(Ok(data)) => bytes += data.len(),
            Ok(Err(_)) => trailers = true,
            Err(error) => return (bytes, trailers, Some(error)),
        }
    }
    (bytes, trailers, None)
}

fn hit(fault: Fault) -> Faults {
    let faults = Faults::seeded(1);
    faults.arm(fault);
    faults
}

#[tokio::test(start_paused = true)]
async fn an_answer_that_is_not_hit_passes_as_it_is() {
    let mut answer = answered(&Faults::new(), || Response::new(Full::<Bytes>::from("quote"))).await;
    assert_eq!((answer.body().size_hint().exact(), answer.body().is_end_stream()), (Some(5), false));
    let (bytes, _, error) = read(answer.body_mut()).await;
    assert!(bytes == 5 && error.is_none());
}

#[tokio::test(start_paused = true)]
async fn another_status_leaves_the_rest_of_the_answer_alone() {
    let faults = hit(Fault::status(StatusCode::SERVICE_UNAVAILABLE));
    let given = || Response::builder().header("x-of", "it").body(frames(&[5, 5])).expect("it is valid");
    let mut answer = answered(&faults, given).await;
    assert_eq!(answer.status(), StatusCode::SERVICE_UNAVAILABLE);
    assert_eq!(answer.headers()["x-of"], "it");
    let (bytes, trailers, error) = read(answer.body_mut()).await;
    assert!(bytes == 10 && trailers && error.is_none());
}

#[tokio::test(start_paused = true)]
async fn another_content_comes_with_its_length_and_without_the_old_encoding_and_trailers() {
    let faults = hit(Fault::body("garbage"));
    let given = || {
        let response = Response::builder().header(CONTENT_LENGTH, 10).header("content-encoding", "gzip");
        response.body(frames(&[5, 5])).expect("it is valid")
    };
    let mut answer = answered(&faults, given).await;
    assert_eq!(answer.headers()[CONTENT_LENGTH], "7");
    assert!(!answer.headers().contains_key("content-encoding"));
    assert_eq!(answer.body().size_hint().exact(), Some(7));
    let whole = answer.body_mut().collect().await.expect("it does not break");
    assert!(whole.trailers().is_none());
    assert_eq!(whole.to_bytes(), "garbage");
}

#[tokio::test(start_paused = true)]
async fn an_answer_that_cannot_have_content_gets_none() {
    for fault in [Fault::body("garbage"), Fault::slow_body(SECOND), Fault::broken_body(0)] {
        let faults = Faults::new();
        let armed = faults.arm(fault);
        let given = || Response::builder().status(204).body(Full::<Bytes>::default()).expect("it is valid");
        let answer = answered(&faults, given).await;
        assert!(answer.body().is_end_stream());
        assert_eq!(armed.hit(), 0);
    }
}

#[tokio::test(start_paused = true)]
async fn what_the_service_failed_to_answer_cannot_be_altered_and_what_is_no_http_neither() {
    let faults = Faults::new();
    let armed = faults.arm(Fault::status(StatusCode::IM_A_TEAPOT));
    let calls = counter();
    let plain = FaultLayer::new(faults.clone()).layer(echo!(calls));
    assert_eq!(plain.oneshot(7).await.expect("it passes"), 7);
    let policy = FaultPolicy::new(faults, Heads::new(ByStatus), observer(), Leaf::new(ByStatus));
    let fails = service_fn(async |_: Request<()>| Err::<Response<()>, BoxError>("down".into()));
    let error = Stack::new(Arc::new(policy), fails).oneshot(Request::new(())).await.expect_err("it fails");
    assert_eq!((error.to_string().as_str(), armed.hit()), ("down", 0));
}

#[tokio::test(start_paused = true)]
async fn a_slow_body_delays_each_of_its_frames_and_its_end() {
    let faults = hit(Fault::slow_body(SECOND));
    let mut answer = answered(&faults, || Response::new(frames(&[5, 5, 5]))).await;
    let start = Instant::now();
    let (bytes, trailers, _) = read(answer.body_mut()).await;
    assert_eq!((bytes, trailers, start.elapsed()), (15, true, 4 * SECOND));
    assert!(answer.body().is_end_stream());
}

#[tokio::test(start_paused = true)]
async fn a_body_at_a_rate_takes_as_long_as_its_bytes_do() {
    let faults = hit(Fault::body_rate(10, SECOND));
    let mut answer = answered(&faults, || Response::new(frames(&[50, 20, 30]))).await;
    let start = Instant::now();
    let (bytes, trailers, _) = read(answer.body_mut()).await;
    assert_eq!((bytes, trailers, start.elapsed()), (100, true, 10 * SECOND));
}

#[tokio::test(start_paused = true)]
async fn a_fault_that_ends_lets_the_rest_of_a_body_pass_at_once() {
    for fault in [Fault::slow_body(SECOND), Fault::body_rate(1, SECOND)] {
        let faults = hit(fault);
        faults.arm(Fault::broken_body(10));
        let mut answer = answered(&faults, || Response::new(frames(&[5, 5, 5]))).await;
        let body = answer.body_mut();
        body.frame().await.expect("there are three").expect("it passes");
        let mut rest = spawn(read(body));
        assert_pending!(rest.poll());
        faults.disarm();
        assert!(rest.is_woken());
        let (bytes, trailers, error) = assert_ready!(rest.poll());
        assert!(bytes == 10 && trailers && error.is_none());
    }
}

#[tokio::test(start_paused = true)]
async fn a_reader_counts_as_suffering_until_the_body_has_ended_or_is_dropped() {
    let faults = hit(Fault::slow_body(SECOND).at_most(1));
    let given = || Response::new(frames(&[5]));
    let mut slow = answered(&faults, given).await;
    let start = Instant::now();
    read(answered(&faults, given).await.body_mut()).await;
    assert_eq!(start.elapsed(), Duration::ZERO);
    read(slow.body_mut()).await;
    assert_eq!(start.elapsed(), 2 * SECOND);
    drop(answered(&faults, given).await);
    read(answered(&faults, given).await.body_mut()).await;
    assert_eq!(start.elapsed(), 4 * SECOND);
}

#[tokio::test(start_paused = true)]
async fn an_answer_suffers_several_faults() {
    let faults = hit(Fault::status(StatusCode::BAD_GATEWAY));
    faults.arm(Fault::body("0123456789"));
    faults.arm(Fault::short_body(4));
    faults.arm(Fault::slow_body(SECOND));
    let mut answer = answered(&faults, || Response::new(frames(&[5]))).await;
    assert_eq!(answer.status(), StatusCode::BAD_GATEWAY);
    let start = Instant::now();
    let whole = answer.body_mut().collect().await.expect("it ends as if all were well").to_bytes();
    assert_eq!((&whole[..], start.elapsed()), (&b"0123"[..], 2 * SECOND));
}

proptest! {
    #[test]
    fn a_body_is_cut_at_the_byte_however_its_frames_lie(
        lengths in proptest::collection::vec(0_usize..20, 0..8),
        after in 0_u64..100,
        silent in any::<bool>(),
    ) {
        let runtime = tokio::runtime::Builder::new_current_thread().build().expect("it can be built");
        let fault = if silent { Fault::short_body(after) } else { Fault::broken_body(after) };
        let faults = hit(fault);
        let (bytes, trailers, error) = runtime.block_on(async {
            read(answered(&faults, || Response::new(frames(&lengths))).await.body_mut()).await
        });
        let whole: usize = lengths.iter().sum();
        let cut = whole as u64 >= after;
        prop_assert_eq!(bytes as u64, after.min(whole as u64));
        prop_assert_eq!(trailers, !cut);
        let transient = error.map(|error| crate::classify::known(&error) == Some(Class::TRANSIENT));
        prop_assert_eq!(transient, (cut && !silent).then_some(true));
    }
}

#[test]
#[should_panic(expected = "a status of 1xx is no answer")]
fn a_status_that_is_no_answer_is_refused() {
    let _ = Fault::status(StatusCode::CONTINUE);
}

#[test]
#[should_panic(expected = "at least one byte")]
fn a_line_that_carries_nothing_is_refused() {
    let _ = Fault::body_rate(0, SECOND);
}
