//! One deadline across HTTP → gRPC → HTTP, in memory, to the millisecond.

use std::{
    convert::Infallible,
    sync::{
        Arc, Mutex,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use http::{Request, Response, StatusCode};
use http_body_util::BodyExt as _;
use moneta_resilience::{BoxError, Registry, golden};
use tokio::time::{Instant, sleep};
use tonic::{Code, Status};
use tower::{Layer, ServiceExt, service_fn};

use super::wire::{Quotes, QuotesClient, in_memory};

const FAR: Duration = Duration::from_secs(60);

/// Set when it is dropped.
struct Gone(Arc<AtomicBool>);

impl Drop for Gone {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Relaxed);
    }
}

#[tokio::test(start_paused = true)]
async fn the_innermost_sees_what_is_left_and_everything_stops_at_the_outer_deadline() {
    let registry = Registry::new();
    let seen = Arc::new(Mutex::new(None));
    let gone = Arc::new(AtomicBool::new(false));

    // The innermost: HTTP, and it hangs.
    let store = {
        let (seen, gone) = (Arc::clone(&seen), Arc::clone(&gone));
        service_fn(move |request: Request<String>| {
            let left = request.headers().get("x-request-timeout-ms").cloned();
            *seen.lock().unwrap() = left;
            let gone = Gone(Arc::clone(&gone));
            async move {
                let _gone = gone;
                std::future::pending::<Result<Response<String>, BoxError>>().await
            }
        })
    };
    let store = golden::client("store").timeout(FAR).no_fallback().registry(&registry).http(store);

    // The middle: gRPC, 200 ms of work.
    let quotes = Quotes::new(move |_| {
        let store = store.clone();
        async move {
            sleep(Duration::from_millis(200)).await;
            let answer = store.send(Request::new(String::new())).await?;
            let quote = answer.into_body().collect().await?.to_bytes();
            Ok(String::from_utf8(quote.into()).unwrap())
        }
    });
    let layer = golden::server("quotes").timeout(FAR).registry(&registry).grpc_layer();
    let channel = in_memory(quotes, &layer);
    let quotes = golden::client("quotes").timeout(FAR).no_fallback().registry(&registry).grpc(channel);

    // The outermost: HTTP, 100 ms of work, and the caller waits for a second.
    let status = Arc::new(Mutex::new(None::<Status>));
    let handler = {
        let status = Arc::clone(&status);
        service_fn(move |_: Request<String>| {
            let (quotes, status) = (quotes.clone(), Arc::clone(&status));
            async move {
                sleep(Duration::from_millis(100)).await;
                *status.lock().unwrap() = QuotesClient::new(quotes).get("CHF").await.err();
                Ok::<_, Infallible>(Response::new(String::new()))
            }
        })
    };
    let front = golden::server("front").timeout(FAR).registry(&registry).layer().layer(handler);

    let start = Instant::now();
    let asked = Request::builder().header("x-request-timeout-ms", "1000").body(String::new()).unwrap();
    let answer = front.oneshot(asked).await.unwrap();
    assert_eq!(start.elapsed(), Duration::from_secs(1));
    // The handler had its answer at the same instant at which its own limit passed, and the answer is worth more.
    assert_eq!(answer.status(), StatusCode::OK);
    assert_eq!(status.lock().unwrap().as_ref().map(Status::code), Some(Code::DeadlineExceeded));
    let left = seen.lock().unwrap().take().expect("it was asked");
    assert_eq!(left, "700");
    // The middle hears of it over the connection.
    sleep(Duration::from_millis(1)).await;
    assert!(gone.load(Ordering::Relaxed), "nobody works on");
}
