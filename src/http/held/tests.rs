use std::{convert::Infallible, io, time::Duration};

use bytes::Bytes;
use futures::{FutureExt as _, StreamExt as _, stream};
use http::{HeaderMap, Request, Response};
use http_body::Frame;
use http_body_util::{BodyExt as _, Full, StreamBody};
use tower::{Layer, Service, ServiceExt as _, service_fn};

use super::HeldBody;
use crate::{
    BoxError, Reason, Registry, Rejected,
    bulkhead::{Aimd, BulkheadHandle, BulkheadLayer},
    golden,
};

const SECOND: Duration = Duration::from_secs(1);

type Polled = Result<Frame<Bytes>, io::Error>;
type Frames = StreamBody<stream::BoxStream<'static, Polled>>;

#[expect(clippy::unnecessary_wraps, reason = "a frame may fail")]
fn data() -> Polled {
    Ok(Frame::data(Bytes::from_static(b"data")))
}

/// A body of these frames, which then goes on for ever without another.
fn silent_after(frames: Vec<Polled>) -> Frames {
    StreamBody::new(stream::iter(frames).chain(stream::pending()).boxed())
}

/// The answer with such a body, behind one place.
async fn answer(body: impl Fn() -> Frames + Clone) -> (HeldBody<Frames>, BulkheadHandle) {
    let layer = BulkheadLayer::new(1).until_body_end();
    let service = layer.layer(service_fn(move |_: Request<()>| {
        let response = Response::new(body());
        async { Ok::<_, BoxError>(response) }
    }));
    let answer = service.oneshot(Request::new(())).await.expect("there is room");
    (answer.into_body(), layer.handle())
}

fn reason(error: &BoxError) -> Option<Reason> {
    Rejected::find(&**error).map(Rejected::reason)
}

#[tokio::test(start_paused = true)]
async fn a_place_is_held_until_the_last_frame() {
    let (mut body, handle) = answer(|| StreamBody::new(stream::iter([data(), data()]).boxed())).await;
    for _ in 0..2 {
        assert_eq!(handle.state().in_use, 1);
        body.frame().await.expect("there is one").expect("it is good");
    }
    assert_eq!(handle.state().in_use, 1, "nobody knows yet that this was the last");
    assert!(body.frame().await.is_none());
    assert_eq!(handle.state().in_use, 0);
}

#[tokio::test(start_paused = true)]
async fn a_body_that_knows_its_end_gives_the_place_back_with_its_last_frame() {
    let layer = BulkheadLayer::new(1).until_body_end();
    let service = layer.layer(service_fn(|_: Request<()>| async {
        Ok::<_, BoxError>(Response::new(Full::new(Bytes::from_static(b"all of it"))))
    }));
    let mut body = service.oneshot(Request::new(())).await.expect("there is room").into_body();
    assert_eq!(layer.handle().state().in_use, 1);
    body.frame().await.expect("there is one").expect("it is good");
    assert_eq!(layer.handle().state().in_use, 0);
}

#[tokio::test(start_paused = true)]
async fn trailers_and_errors_are_the_end() {
    let ends: [fn() -> Polled; 2] =
        [|| Ok(Frame::trailers(HeaderMap::new())), || Err(io::Error::other("reset"))];
    for end in ends {
        let (mut body, handle) = answer(move || silent_after(vec![data(), end()])).await;
        body.frame().await.expect("there is one").expect("it is good");
        assert_eq!(handle.state().in_use, 1);
        drop(body.frame().await.expect("there is one"));
        assert_eq!(handle.state().in_use, 0);
    }
}

#[tokio::test(start_paused = true)]
async fn a_body_that_is_dropped_gives_its_place_to_the_next_call() {
    let layer = BulkheadLayer::new(1).max_wait(SECOND).until_body_end();
    let service = layer.layer(service_fn(|_: Request<()>| async {
        Ok::<_, BoxError>(Response::new(silent_after(vec![data()])))
    }));
    let mut body = service.clone().oneshot(Request::new(())).await.expect("there is room").into_body();
    body.frame().await.expect("there is one").expect("it is good");
    assert!(body.frame().now_or_never().is_none(), "it waits");
    let mut next = tokio_test::task::spawn(service.clone().oneshot(Request::new(())));
    assert!(next.poll().is_pending());
    drop(body);
    assert!(next.is_woken());
    let answer = tokio_test::assert_ready!(next.poll()).expect("it has the place");
    assert_eq!(layer.handle().state().in_use, 1, "by the answer that was not read");
    drop(answer);
    assert_eq!(layer.handle().state().in_use, 0);
}

#[tokio::test(start_paused = true)]
async fn a_call_without_an_answer_holds_nothing() {
    let layer = BulkheadLayer::new(1).until_body_end();
    let fails = service_fn(|_: Request<()>| async { Err::<Response<Frames>, BoxError>("reset".into()) });
    assert!(layer.layer(fails).oneshot(Request::new(())).await.is_err());
    assert_eq!(layer.handle().state().in_use, 0);
}

#[tokio::test(start_paused = true)]
async fn the_layer_shares_the_places_of_the_one_it_was_made_of() {
    let layer = BulkheadLayer::new(Aimd::new().start(3));
    assert!(layer.until_body_end().handle().is_adapting());
    layer.handle().set_limit(std::num::NonZeroUsize::MIN);
    assert_eq!(layer.until_body_end().clone().handle().state().limit, 1);
}

/// Reads nothing of the first answer, and tells how the second call ended, and whether one ends well after the first was
/// dropped.
async fn second_and_third<S, B, E>(service: S) -> (Result<u16, E>, Result<u16, E>)
where
    S: Service<Request<Full<Bytes>>, Response = Response<B>, Error = E> + Clone,
    E: std::fmt::Debug,
{
    let request = || Request::new(Full::default());
    let first = service.clone().oneshot(request()).await.expect("there is room");
    let second = service.clone().oneshot(request()).await.map(|answer| answer.status().as_u16());
    drop(first);
    (second, service.oneshot(request()).await.map(|answer| answer.status().as_u16()))
}

fn streams()
-> impl Service<Request<Full<Bytes>>, Response = Response<Frames>, Error = Infallible, Future: Send>
+ Clone
+ Send
+ Sync {
    service_fn(|_: Request<Full<Bytes>>| async {
        Ok::<_, Infallible>(Response::new(silent_after(vec![data()])))
    })
}

#[tokio::test(start_paused = true)]
async fn a_golden_server_holds_the_place_when_it_is_told_to() {
    let server = || golden::server("streams").timeout(SECOND).bulkhead(1).registry(&Registry::new());
    let held = second_and_third(server().bulkhead_until_body_end().layer().layer(streams())).await;
    assert_eq!(held, (Ok(503), Ok(200)));
    let plain = second_and_third(server().layer().layer(streams())).await;
    assert_eq!(plain, (Ok(200), Ok(200)));
}

#[tokio::test(start_paused = true)]
async fn a_golden_client_holds_the_place_when_it_is_told_to() {
    let client = || {
        let bulkhead = BulkheadLayer::new(1).max_queue(0);
        golden::client("streams")
            .timeout(SECOND)
            .no_fallback()
            .bulkhead_layer(bulkhead)
            .registry(&Registry::new())
    };
    let (second, third) = second_and_third(client().bulkhead_until_body_end().http(streams())).await;
    assert_eq!(second.map_err(|error| reason(&error)), Err(Some(Reason::BulkheadFull)));
    assert_eq!(third.map_err(|error| reason(&error)), Ok(200));
    let (second, third) = second_and_third(client().http(streams())).await;
    assert_eq!(
        (second.map_err(|error| reason(&error)), third.map_err(|error| reason(&error))),
        (Ok(200), Ok(200))
    );
}
