use std::{
    collections::VecDeque,
    io,
    pin::Pin,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    task::{Context, Poll, Wake, Waker},
};

use bytes::Bytes;
use http::{HeaderMap, HeaderValue, Request};
use http_body::{Body, Frame};
use http_body_util::{BodyExt, Empty, Full, StreamBody, combinators::UnsyncBoxBody};
use proptest::prelude::*;

use super::RecordBody;
use crate::repeat::Repeat;

/// What a body does at each poll.
#[derive(Clone, Copy, Debug)]
enum Step {
    Data(usize),
    Pending,
    Trailers,
    Fail,
}

/// A body that goes by its script. The byte at position `n` is `n` modulo 251.
#[derive(Debug)]
struct Script {
    steps: VecDeque<Step>,
    sent: usize,
    polls: Arc<AtomicUsize>,
}

fn script(steps: impl IntoIterator<Item = Step>) -> Script {
    Script { steps: steps.into_iter().collect(), sent: 0, polls: Arc::default() }
}

fn bytes(from: usize, to: usize) -> Vec<u8> {
    (from..to).map(|n| u8::try_from(n % 251).expect("below 251")).collect()
}

fn trailers() -> HeaderMap {
    HeaderMap::from_iter([(http::header::ETAG, HeaderValue::from_static("sum"))])
}

impl Body for Script {
    type Data = Bytes;
    type Error = io::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, io::Error>>> {
        self.polls.fetch_add(1, Ordering::Relaxed);
        Poll::Ready(match self.steps.pop_front() {
            Some(Step::Data(n)) => {
                let frame = bytes(self.sent, self.sent + n);
                self.sent += n;
                Some(Ok(Frame::data(frame.into())))
            }
            Some(Step::Pending) => {
                cx.waker().wake_by_ref();
                return Poll::Pending;
            }
            Some(Step::Trailers) => Some(Ok(Frame::trailers(trailers()))),
            Some(Step::Fail) => Some(Err(io::ErrorKind::BrokenPipe.into())),
            None => None,
        })
    }
}

fn put<B: Body<Data = Bytes>>(body: B, limit: usize) -> Request<RecordBody<B>> {
    Request::put("/").body(RecordBody::with_limit(body, limit)).expect("it is valid")
}

/// Polls once and puts what comes into `sent`; `true` for data or trailers.
fn poll<B>(body: &mut RecordBody<B>, sent: &mut Vec<u8>) -> Poll<Option<Result<(), crate::CallError>>>
where
    RecordBody<B>: Body<Data = Bytes, Error = crate::CallError>,
{
    Pin::new(body).poll_frame(&mut Context::from_waker(Waker::noop())).map_ok(|frame| {
        if let Some(data) = frame.data_ref() {
            sent.extend_from_slice(data);
        }
    })
}

#[tokio::test]
async fn nothing_is_read_before_the_first_attempt_reads() {
    let body = script([Step::Data(10)]);
    let polls = Arc::clone(&body.polls);
    let first = put(body, 64);
    let copy = first.again().expect("PUT may be repeated");
    assert!(copy.still_repeatable());
    assert_eq!(polls.load(Ordering::Relaxed), 0);
}

#[tokio::test]
async fn every_attempt_sends_the_same_bytes_and_trailers() {
    let first = put(script([Step::Data(10), Step::Pending, Step::Data(7), Step::Trailers]), 64);
    let second = first.again().expect("PUT may be repeated");
    let sent = first.into_body().collect().await.expect("whole");
    assert_eq!(sent.trailers(), Some(&trailers()));
    assert_eq!(sent.to_bytes(), bytes(0, 17));
    assert!(second.still_repeatable());
    let third = second.again().expect("it was kept");
    for later in [second, third] {
        let sent = later.into_body().collect().await.expect("whole");
        assert_eq!(sent.trailers(), Some(&trailers()));
        assert_eq!(sent.to_bytes(), bytes(0, 17));
    }
}

#[tokio::test]
async fn a_body_over_its_limit_goes_through_and_is_not_repeated() {
    for (trailer, size) in [(false, 65), (true, 64)] {
        let steps =
            [Step::Data(40), Step::Data(size - 40)].into_iter().chain(trailer.then_some(Step::Trailers));
        let first = put(script(steps), 64);
        let copy = first.again().expect("PUT may be repeated");
        let sent = first.into_body().collect().await.expect("it goes through");
        assert_eq!(sent.trailers().is_some(), trailer);
        assert_eq!(sent.to_bytes(), bytes(0, size));
        assert!(!copy.still_repeatable());
        assert!(copy.again().is_none());
        copy.into_body().collect().await.expect_err("its beginning is gone");
    }
}

#[tokio::test]
async fn a_body_that_fails_is_not_repeated_and_its_error_passes() {
    let first = put(script([Step::Data(10), Step::Fail]), 64);
    let copy = first.again().expect("PUT may be repeated");
    let error = first.into_body().collect().await.expect_err("it fails");
    assert!(error.inner().is::<io::Error>());
    assert!(!copy.still_repeatable());
}

#[test]
fn a_request_that_nobody_sends_again_is_not_recorded() {
    let mut post = Request::post("/").body(RecordBody::new(script([Step::Data(10)]))).expect("it is valid");
    assert!(post.again().is_none());
    let mut sent = Vec::new();
    assert!(poll(post.body_mut(), &mut sent).is_ready());
    assert!(post.body().rest.is_some());
    post.headers_mut().insert("idempotency-key", HeaderValue::from_static("8e03978e"));
    assert!(post.again().is_none(), "its beginning was not kept");
}

#[tokio::test]
async fn a_request_that_must_not_be_sent_twice_is_kept_for_when_it_was_never_processed() {
    let post = |size, limit| {
        let body = RecordBody::with_limit(script([Step::Data(size), Step::Trailers]), limit);
        Request::post("/").body(body).expect("it is valid")
    };
    let first = post(10, 64);
    let copy = first.if_unprocessed().expect("its beginning is known");
    assert!(copy.again().is_none());
    first.into_body().collect().await.expect("whole");
    assert!(copy.still_repeatable());
    let sent = copy.into_body().collect().await.expect("whole");
    assert_eq!(sent.trailers(), Some(&trailers()));
    assert_eq!(sent.to_bytes(), bytes(0, 10));

    let first = post(65, 64);
    let copy = first.if_unprocessed().expect("its beginning is known");
    first.into_body().collect().await.expect("it goes through");
    assert!(!copy.still_repeatable());
}

#[test]
fn an_earlier_attempt_does_not_spoil_the_record_for_the_one_that_was_promised() {
    let mut first = put(script([Step::Data(60), Step::Data(60)]), 64);
    let mut second = first.again().expect("PUT may be repeated");
    let mut sent = Vec::new();
    assert!(poll(first.body_mut(), &mut sent).is_ready());
    assert!(second.still_repeatable());
    // Its connection goes on sending, and must wait.
    assert!(poll(first.body_mut(), &mut sent).is_pending());
    let mut again = Vec::new();
    while let Poll::Ready(Some(frame)) = poll(second.body_mut(), &mut again) {
        frame.expect("it has the record and the rest");
    }
    assert_eq!((sent, again), (bytes(0, 60), bytes(0, 120)));
}

#[test]
fn a_promise_that_is_dropped_lets_the_attempt_before_go_on() {
    struct Count(AtomicUsize);
    impl Wake for Count {
        fn wake(self: Arc<Self>) {
            self.0.fetch_add(1, Ordering::Relaxed);
        }
    }
    let woken = Arc::new(Count(AtomicUsize::new(0)));
    let waker = Waker::from(Arc::clone(&woken));
    let mut first = put(script([Step::Data(10)]), 64);
    let copy = first.again().expect("PUT may be repeated");
    assert!(copy.still_repeatable());
    let mut poll = || Pin::new(first.body_mut()).poll_frame(&mut Context::from_waker(&waker)).map_ok(drop);
    assert!(poll().is_pending());
    drop(copy);
    assert_eq!(woken.0.load(Ordering::Relaxed), 1);
    assert!(matches!(poll(), Poll::Ready(Some(Ok(())))));
}

#[test]
fn a_body_that_panics_holds_nobody() {
    struct Bad;
    impl Body for Bad {
        type Data = Bytes;
        type Error = io::Error;

        fn poll_frame(
            self: Pin<&mut Self>,
            _: &mut Context<'_>,
        ) -> Poll<Option<Result<Frame<Bytes>, io::Error>>> {
            panic!("a bad body")
        }
    }
    let mut first = put(Bad, 64);
    let mut copy = first.again().expect("PUT may be repeated");
    let unwound = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| {
        poll(first.body_mut(), &mut Vec::new()).is_ready()
    }));
    assert!(unwound.is_err());
    assert!(!copy.still_repeatable());
    assert!(matches!(poll(copy.body_mut(), &mut Vec::new()), Poll::Ready(Some(Err(_)))));
}

#[tokio::test]
async fn the_length_and_the_end_are_those_of_the_body() {
    let first = put(Full::from("figures"), 64);
    let copy = first.again().expect("PUT may be repeated");
    assert_eq!(first.body().size_hint().exact(), Some(7));
    first.into_body().collect().await.expect("whole");
    assert_eq!(copy.body().size_hint().exact(), Some(7));
    assert!(!copy.body().is_end_stream());
    let mut body = copy.into_body();
    body.frame().await.expect("a frame").expect("whole");
    assert!(body.is_end_stream());
    assert_eq!(body.size_hint().exact(), Some(0));
    assert!(RecordBody::new(Empty::<Bytes>::new()).is_end_stream());
}

#[tokio::test]
async fn all_kinds_of_bodies_are_recorded() {
    async fn twice<B>(body: B)
    where
        B: Body<Data = Bytes, Error: Into<crate::BoxError>>,
    {
        let first = put(body, 64);
        let copy = first.again().expect("PUT may be repeated");
        for attempt in [first, copy] {
            let sent = attempt.into_body().collect().await.expect("whole");
            assert_eq!(sent.to_bytes(), "figures");
        }
    }
    twice(Full::from("figures")).await;
    twice(axum::body::Body::from("figures")).await;
    twice(UnsyncBoxBody::new(Full::from("figures"))).await;
    let frames = ["fig", "ures"].map(|part| Ok::<_, io::Error>(Frame::data(Bytes::from(part))));
    twice(StreamBody::new(futures::stream::iter(frames))).await;
}

#[derive(Clone, Copy, Debug)]
enum Move {
    Poll(usize),
    Copy(usize),
    Claim,
    Drop(usize),
}

fn moves() -> impl Strategy<Value = Vec<Move>> {
    let one = (0..4_usize, 0..8_usize).prop_map(|(what, which)| match what {
        0 => Move::Copy(which),
        1 => Move::Claim,
        2 => Move::Drop(which),
        _ => Move::Poll(which),
    });
    proptest::collection::vec(prop_oneof![one, (0..8_usize).prop_map(Move::Poll)], 0..60)
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let step = prop_oneof![(0..30_usize).prop_map(Step::Data), Just(Step::Pending)];
    (proptest::collection::vec(step, 0..8), any::<bool>())
        .prop_map(|(steps, trailer)| steps.into_iter().chain(trailer.then_some(Step::Trailers)).collect())
}

proptest! {
    /// Whatever is dropped when: what an attempt has sent is a beginning of the body, what has ended has sent it all,
    /// the last one alive gets through unless it was never told that it may, and a promise is kept.
    #[test]
    fn attempts_send_the_same_whatever_is_dropped_when(steps in steps(), moves in moves(), limit in 0..100_usize) {
        let size = steps.iter().map(|step| if let Step::Data(n) = step { *n } else { 0 }).sum();
        let whole = bytes(0, size);
        let mut attempts = vec![(put(script(steps), limit), Vec::new(), None)];
        let polled = |(request, sent, ended): &mut (Request<RecordBody<Script>>, Vec<u8>, Option<bool>)| {
            match poll(request.body_mut(), sent) {
                Poll::Ready(None) if ended.is_none() => *ended = Some(true),
                Poll::Ready(Some(Err(_))) => *ended = Some(false),
                _ => {}
            }
        };
        let mut promised = None;
        for step in moves {
            let count = attempts.len();
            match step {
                Move::Poll(n) => polled(&mut attempts[n % count]),
                Move::Copy(n) => {
                    let copy = attempts[n % count].0.again();
                    attempts.extend(copy.map(|copy| (copy, Vec::new(), None)));
                }
                Move::Claim if attempts[count - 1].0.still_repeatable() && attempts[count - 1].1.is_empty() => {
                    promised = Some(attempts.pop().expect("there is one"));
                    break;
                }
                Move::Drop(n) if count > 1 => drop(attempts.remove(n % count)),
                _ => {}
            }
            for (_, sent, ended) in &attempts {
                prop_assert!(whole.starts_with(sent));
                prop_assert!(*ended != Some(true) || *sent == whole);
            }
        }
        if let Some(mut attempt) = promised {
            for _ in 0..20 {
                attempts.iter_mut().for_each(polled);
                polled(&mut attempt);
            }
            prop_assert_eq!(attempt.2, Some(true));
            prop_assert_eq!(attempt.1, whole);
        }
    }
}
