//! Bodies that are sent again, over loopback, to a hyper server that breaks off.

use std::{
    convert::Infallible,
    io,
    sync::{
        Arc, Mutex,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use bytes::Bytes;
use futures::{StreamExt as _, stream};
use http::{HeaderMap, HeaderValue, Request, Response, StatusCode};
use http_body::{Body, Frame};
use http_body_util::{BodyExt as _, Empty, StreamBody};
use hyper::{body::Incoming, server::conn::http1, service::service_fn};
use hyper_util::{
    client::legacy::{Client, connect::HttpConnector},
    rt::{TokioExecutor, TokioIo},
};
use moneta_resilience::{
    CallError, Registry,
    golden::{self, ClientBuilder, Limit},
    http::RecordBody,
    retry::{Backoff, RetryLayer},
};
use tokio::net::TcpListener;

/// What a server saw.
#[derive(Debug, Default)]
struct Seen {
    requests: AtomicUsize,
    whole: Mutex<Vec<(Bytes, Option<HeaderMap>)>>,
    bytes: AtomicUsize,
}

/// A server that breaks its connection off once it has read so many bytes of the first request, and takes every later
/// one whole.
async fn server(resets_after: Option<usize>) -> (String, Arc<Seen>) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let seen = Arc::new(Seen::default());
    let told = Arc::clone(&seen);
    tokio::spawn(async move {
        loop {
            let (socket, _) = listener.accept().await.unwrap();
            let seen = Arc::clone(&told);
            let service = service_fn(move |request| serve(request, resets_after, Arc::clone(&seen)));
            tokio::spawn(http1::Builder::new().serve_connection(TokioIo::new(socket), service));
        }
    });
    (format!("http://{address}/"), seen)
}

async fn serve(
    request: Request<Incoming>,
    resets_after: Option<usize>,
    seen: Arc<Seen>,
) -> Result<Response<Empty<Bytes>>, io::Error> {
    let first = seen.requests.fetch_add(1, Ordering::Relaxed) == 0;
    let mut body = request.into_body();
    let (mut data, mut trailers) = (Vec::new(), None);
    loop {
        if first && resets_after.is_some_and(|limit| seen.bytes.load(Ordering::Relaxed) >= limit) {
            return Err(io::ErrorKind::ConnectionReset.into());
        }
        let Some(frame) = body.frame().await else { break };
        match frame.map_err(io::Error::other)?.into_data() {
            Ok(part) => {
                seen.bytes.fetch_add(part.len(), Ordering::Relaxed);
                // What is too long to compare is only counted.
                if data.len() < 1 << 20 {
                    data.extend_from_slice(&part);
                }
            }
            Err(frame) => trailers = frame.into_trailers().ok(),
        }
    }
    seen.whole.lock().unwrap().push((data.into(), trailers));
    Ok(Response::new(Empty::new()))
}

fn client() -> ClientBuilder<Limit, moneta_resilience::fallback::NoFallback> {
    let retry = RetryLayer::new().backoff(Backoff::none());
    golden::client("archive")
        .timeout(Duration::from_secs(60))
        .no_fallback()
        .retry(retry)
        .registry(&Registry::new())
}

fn transport<B>() -> Client<HttpConnector, RecordBody<B>>
where
    B: Body<Data = Bytes, Error: Into<moneta_resilience::BoxError>> + Send,
{
    Client::builder(TokioExecutor::new()).build_http()
}

fn figures(size: usize) -> Bytes {
    (0..size).map(|n| u8::try_from(n % 251).unwrap()).collect()
}

fn trailers() -> HeaderMap {
    HeaderMap::from_iter([(http::header::ETAG, HeaderValue::from_static("sum"))])
}

/// The figures in frames of 1,000 bytes that come one at a time, and trailers.
fn upload(url: &str, size: usize) -> Request<impl Body<Data = Bytes, Error = Infallible> + Send + use<>> {
    let parts: Vec<_> = figures(size).chunks(1_000).map(Bytes::copy_from_slice).collect();
    let parts = parts.into_iter().map(Frame::data).chain([Frame::trailers(trailers())]);
    let parts = stream::iter(parts).then(|part| async {
        tokio::task::yield_now().await;
        Ok(part)
    });
    Request::put(url).header(http::header::TRAILER, "etag").body(StreamBody::new(parts)).unwrap()
}

#[tokio::test]
async fn a_body_under_the_limit_is_sent_again_to_the_byte() {
    const SIZE: usize = 60_000;
    for resets_after in [0, 1, 1_000, 30_500, SIZE] {
        let (url, seen) = server(Some(resets_after)).await;
        let archive = client().http(transport());
        let answer = archive.send(upload(&url, SIZE).map(RecordBody::new)).await.unwrap();
        assert_eq!(answer.status(), StatusCode::OK);
        assert_eq!(seen.requests.load(Ordering::Relaxed), 2, "{resets_after}");
        assert_eq!(*seen.whole.lock().unwrap(), [(figures(SIZE), Some(trailers()))], "{resets_after}");
    }
}

#[tokio::test]
async fn a_body_over_the_limit_goes_through_and_is_not_repeated() {
    let size = 200_000;
    let archive = client().http(transport());

    let (url, seen) = server(None).await;
    archive.send(upload(&url, size).map(RecordBody::new)).await.unwrap();
    assert_eq!(*seen.whole.lock().unwrap(), [(figures(size), Some(trailers()))]);

    let (url, seen) = server(Some(150_000)).await;
    let error: CallError = archive.send(upload(&url, size).map(RecordBody::new)).await.unwrap_err();
    let error = error.into_inner();
    assert!(error.is::<hyper_util::client::legacy::Error>(), "the first attempt's own: {error:?}");
    assert_eq!(seen.requests.load(Ordering::Relaxed), 1);
    assert_eq!(archive.handle().counts().retry_attempts(), 0);
}

/// Each attempt reads a part of the body, fails, and goes on holding what it has not read.
#[tokio::test(start_paused = true)]
async fn a_fallback_service_gets_the_body_that_the_attempts_have_begun_to_send() {
    let stalled = Arc::new(Mutex::new(Vec::new()));
    let held = Arc::clone(&stalled);
    let stalls = tower::service_fn(move |request: Request<RecordBody<_>>| {
        let held = Arc::clone(&held);
        async move {
            let mut body = request.into_body();
            body.frame().await.expect("there is more").map_err(io::Error::other)?;
            held.lock().unwrap().push(body);
            Err::<Response<Empty<Bytes>>, _>(io::Error::from(io::ErrorKind::ConnectionReset))
        }
    });
    let replica = tower::service_fn(async |request: Request<RecordBody<_>>| {
        let collected = request.into_body().collect().await?;
        let trailers = collected.trailers().cloned();
        Ok::<_, CallError>(
            Response::builder()
                .extension((collected.to_bytes(), trailers))
                .body(Empty::<Bytes>::new())
                .unwrap(),
        )
    });
    let archive = client().fallback_service(replica).http(stalls);
    let answer = archive.send(upload("http://archive", 5_000).map(RecordBody::new)).await.unwrap();
    assert_eq!(stalled.lock().unwrap().len(), 3);
    assert_eq!(answer.extensions().get(), Some(&(figures(5_000), Some(trailers()))));

    let error =
        archive.send(upload("http://archive", 100_000).map(|body| RecordBody::with_limit(body, 500))).await;
    assert!(error.unwrap_err().inner().is::<io::Error>(), "it is too long to be sent again");
    assert_eq!(stalled.lock().unwrap().len(), 4);
}

#[tokio::test]
async fn recorded_bodies_are_sent_from_spawned_tasks() {
    fn sent<T: Send + 'static>(value: T) -> T {
        value
    }
    let (url, seen) = server(Some(0)).await;
    let boxed = upload(&url, 10).map(axum::body::Body::new).map(RecordBody::new);
    let task = sent(async move { client().http(transport()).send(boxed).await.unwrap().status() });
    assert_eq!(tokio::spawn(task).await.unwrap(), StatusCode::OK);
    assert_eq!(*seen.whole.lock().unwrap(), [(figures(10), Some(trailers()))]);
}

#[test]
fn a_body_of_a_gibibyte_streams_through_in_little_memory() {
    const FRAME: usize = 1 << 20;
    const FRAMES: usize = 1 << 10;
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    // The runtime has one thread, and the counter counts what this thread holds: client, server and all between.
    let memory = allocation_counter::measure(|| {
        runtime.block_on(async {
            let (url, seen) = server(None).await;
            let frames = stream::repeat(Bytes::from(vec![7; FRAME])).take(FRAMES);
            let body = StreamBody::new(frames.map(|part| Ok::<_, Infallible>(Frame::data(part))));
            let request = Request::put(url).body(RecordBody::new(body)).unwrap();
            let answer = client().http(transport()).send(request).await.unwrap();
            assert_eq!(answer.status(), StatusCode::OK);
            assert_eq!(seen.bytes.load(Ordering::Relaxed), FRAME * FRAMES);
        });
    });
    assert!(memory.bytes_max < 8 << 20, "{memory:?}");
}
