//! What an HTTP/2 server says that it did not process is sent again, over loopback.

use std::{
    future::ready,
    io,
    sync::{
        Arc, Mutex,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use bytes::Bytes;
use futures::stream;
use http::{Request, Response, Uri};
use http_body::Frame;
use http_body_util::{Full, StreamBody};
use hyper_util::{
    client::legacy::Client,
    rt::{TokioExecutor, TokioIo},
};
use moneta_resilience::{
    CallError, Registry, RetryBudget,
    fallback::NoFallback,
    golden::{self, ClientBuilder, Limit},
    http::RecordBody,
    retry::{Backoff, RetryLayer},
};
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::{TcpListener, TcpStream},
};
use tower::service_fn;

const DATA: u8 = 0;
const HEADERS: u8 = 1;
const RST_STREAM: u8 = 3;
const SETTINGS: u8 = 4;
const GOAWAY: u8 = 7;
const END_STREAM: u8 = 1;
const END_HEADERS: u8 = 4;
const ACK: u8 = 1;

const NO_ERROR: u32 = 0;
const REFUSED_STREAM: u32 = 7;
const CANCEL: u32 = 8;
const ENHANCE_YOUR_CALM: u32 = 11;

/// How a request ends, once it has arrived as a whole.
#[derive(Clone, Copy, Debug)]
enum Fate {
    Answer,
    /// Its stream is reset with this code.
    Reset(u32),
    /// The server goes away with this code, and says that it has processed nothing.
    GoAwayBefore(u32),
    /// The server goes away having processed it, and breaks off.
    GoAwayAfter,
}

const FATES: [(&[Fate], usize, bool); 7] = [
    (&[Fate::Reset(REFUSED_STREAM), Fate::Answer], 2, true),
    (&[Fate::GoAwayBefore(NO_ERROR), Fate::Answer], 2, true),
    (&[Fate::GoAwayBefore(ENHANCE_YOUR_CALM), Fate::Answer], 2, true),
    // Once.
    (&[Fate::Reset(REFUSED_STREAM), Fate::Reset(REFUSED_STREAM), Fate::Answer], 2, false),
    (&[Fate::GoAwayBefore(NO_ERROR), Fate::Reset(REFUSED_STREAM), Fate::Answer], 2, false),
    // These may have been processed.
    (&[Fate::Reset(CANCEL), Fate::Answer], 1, false),
    (&[Fate::GoAwayAfter, Fate::Answer], 1, false),
];

/// What a server saw.
#[derive(Debug, Default)]
struct Seen {
    requests: AtomicUsize,
    answered: Mutex<Vec<Vec<u8>>>,
}

/// A server that speaks as much HTTP/2 (RFC 9113) as it takes to refuse.
async fn server(fates: &'static [Fate]) -> (String, Arc<Seen>) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let seen = Arc::new(Seen::default());
    let told = Arc::clone(&seen);
    tokio::spawn(async move {
        loop {
            let (socket, _) = listener.accept().await.unwrap();
            tokio::spawn(connection(socket, fates, Arc::clone(&told)));
        }
    });
    (format!("http://{address}/payments"), seen)
}

/// One connection, until the client closes it or a request's fate ends it.
async fn connection(mut socket: TcpStream, fates: &'static [Fate], seen: Arc<Seen>) -> io::Result<()> {
    let mut preface = [0; 24];
    socket.read_exact(&mut preface).await?;
    send(&mut socket, SETTINGS, 0, 0, &[]).await?;
    let mut body = Vec::new();
    loop {
        let mut head = [0; 9];
        socket.read_exact(&mut head).await?;
        let [high, middle, low, kind, flags, stream @ ..] = head;
        let mut payload = vec![0; u32::from_be_bytes([0, high, middle, low]) as usize];
        socket.read_exact(&mut payload).await?;
        if kind == SETTINGS && flags & ACK == 0 {
            send(&mut socket, SETTINGS, ACK, 0, &[]).await?;
        }
        if kind == DATA {
            body.append(&mut payload);
        }
        if matches!(kind, DATA | HEADERS) && flags & END_STREAM != 0 {
            let stream = u32::from_be_bytes(stream);
            match fates[seen.requests.fetch_add(1, Ordering::Relaxed)] {
                Fate::Answer => {
                    seen.answered.lock().unwrap().push(std::mem::take(&mut body));
                    // The one byte is ":status: 200" (RFC 7541, appendix A).
                    send(&mut socket, HEADERS, END_STREAM | END_HEADERS, stream, &[0x88]).await?;
                }
                Fate::Reset(code) => send(&mut socket, RST_STREAM, 0, stream, &code.to_be_bytes()).await?,
                Fate::GoAwayBefore(code) => go_away(&mut socket, 0, code).await?,
                Fate::GoAwayAfter => return go_away(&mut socket, stream, NO_ERROR).await,
            }
            body.clear();
        }
    }
}

async fn go_away(socket: &mut TcpStream, last_stream: u32, code: u32) -> io::Result<()> {
    let payload = [last_stream.to_be_bytes(), code.to_be_bytes()].concat();
    send(socket, GOAWAY, 0, 0, &payload).await
}

async fn send(socket: &mut TcpStream, kind: u8, flags: u8, stream: u32, payload: &[u8]) -> io::Result<()> {
    let [_, length @ ..] = u32::try_from(payload.len()).unwrap().to_be_bytes();
    let frame = [&length[..], &[kind, flags], &stream.to_be_bytes(), payload].concat();
    socket.write_all(&frame).await
}

fn client() -> ClientBuilder<Limit, NoFallback> {
    let retry = RetryLayer::new().backoff(Backoff::none());
    let builder = golden::client("payments").timeout(Duration::from_secs(60)).no_fallback().retry(retry);
    builder.registry(&Registry::new())
}

fn payment(url: &str) -> Request<Full<Bytes>> {
    Request::post(url).body("EUR 7.00".into()).unwrap()
}

/// The client's answer must be what the fates say, and an answered payment must have arrived as a whole.
fn check<T>(
    (fates, requests, answered): (&[Fate], usize, bool),
    seen: &Seen,
    answer: &Result<Response<T>, CallError>,
) {
    assert_eq!(seen.requests.load(Ordering::Relaxed), requests, "{fates:?}");
    assert_eq!(answer.is_ok(), answered, "{fates:?}: {:?}", answer.as_ref().err());
    assert_eq!(*seen.answered.lock().unwrap(), vec![b"EUR 7.00"; usize::from(answered)], "{fates:?}");
}

#[tokio::test]
async fn a_payment_that_an_http2_server_did_not_process_is_sent_once_more() {
    for row in FATES {
        let (url, seen) = server(row.0).await;
        let transport = Client::builder(TokioExecutor::new()).http2_only(true).build_http();
        let answer = client().http(transport).send(payment(&url)).await;
        check(row, &seen, &answer);
    }
}

#[tokio::test]
async fn so_is_one_whose_body_was_recorded_while_it_was_refused() {
    for row in FATES {
        let (url, seen) = server(row.0).await;
        let transport = Client::builder(TokioExecutor::new()).http2_only(true).build_http();
        let parts = ["EUR ", "7.00"].map(|part| Ok::<_, io::Error>(Frame::data(Bytes::from(part))));
        let payment = payment(&url).map(|_| RecordBody::new(StreamBody::new(stream::iter(parts))));
        let answer = client().http(transport).send(payment).await;
        check(row, &seen, &answer);
    }
}

#[tokio::test]
async fn so_is_one_for_which_there_was_no_connection_whatever_the_reason() {
    let asked = Arc::<AtomicUsize>::default();
    let counter = Arc::clone(&asked);
    let connector = service_fn(move |_: Uri| {
        counter.fetch_add(1, Ordering::Relaxed);
        ready(Err::<TokioIo<TcpStream>, _>(io::Error::other("a certificate of somebody else")))
    });
    let transport = Client::builder(TokioExecutor::new()).build(connector);
    client().http(transport).send(payment("http://payments.test/")).await.unwrap_err();
    assert_eq!(asked.load(Ordering::Relaxed), 2);
}

#[tokio::test]
async fn the_budget_is_asked_for_it_and_the_users_word_is_the_whole_of_it() {
    let broke = RetryLayer::new().budget(RetryBudget::new().min_per_second(0));
    let told = RetryLayer::new().never_processed(|_| false);
    for retry in [broke, told] {
        let (url, seen) = server(&[Fate::Reset(REFUSED_STREAM), Fate::Answer]).await;
        let transport = Client::builder(TokioExecutor::new()).http2_only(true).build_http();
        client().retry(retry).http(transport).send(payment(&url)).await.unwrap_err();
        assert_eq!(seen.requests.load(Ordering::Relaxed), 1);
    }
}

#[cfg(feature = "reqwest")]
#[tokio::test]
async fn over_reqwest_only_the_stack_sends_it_again() {
    use moneta_resilience::http::Reqwest;

    for row in FATES {
        let (url, seen) = server(row.0).await;
        let transport = Reqwest::new(reqwest::Client::builder().no_proxy().http2_prior_knowledge()).unwrap();
        let answer = client().http(transport).send(payment(&url)).await;
        check(row, &seen, &answer);
    }
}

#[cfg(feature = "grpc")]
#[tokio::test]
async fn over_grpc_it_is_sent_once_more_whatever_its_method() {
    use tonic::{body::Body, transport::Endpoint};
    use tower::ServiceExt as _;

    for (fates, requests, answered) in FATES {
        let (url, seen) = server(fates).await;
        let channel = Endpoint::from_shared(url.clone()).unwrap().connect_lazy();
        let client = client().grpc(channel);
        let order = payment(&url).map(Body::new);
        // The server knows no gRPC: what it answers ends without a status.
        client.oneshot(order).await.unwrap_err();
        assert_eq!(seen.requests.load(Ordering::Relaxed), requests, "{fates:?}");
        assert_eq!(*seen.answered.lock().unwrap(), vec![b"EUR 7.00"; usize::from(answered)], "{fates:?}");
    }
}
