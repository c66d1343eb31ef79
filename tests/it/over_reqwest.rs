//! reqwest as the transport, over loopback.

use std::time::Duration;

use axum::{
    Router,
    http::{HeaderMap, StatusCode, header::LOCATION},
    routing::{get, post},
};
use http::Request;
use http_body_util::BodyExt;
use moneta_resilience::{Registry, event::Outcome, golden, http::Reqwest};
use tokio::net::TcpListener;

type Client = golden::Client<golden::HttpClientPolicy<moneta_resilience::fallback::NoFallback>, Reqwest>;

fn client() -> Client {
    let transport = Reqwest::new(reqwest::Client::builder().no_proxy()).unwrap();
    let builder = golden::client("reqwest").timeout(Duration::from_secs(5)).no_fallback();
    builder.registry(&Registry::new()).http(transport)
}

async fn serve() -> String {
    let app = Router::new()
        .route(
            "/left",
            get(async |headers: HeaderMap| headers["x-request-timeout-ms"].to_str().unwrap().to_owned()),
        )
        .route("/echo", post(async |body: String| body))
        .route("/moved", post(async || (StatusCode::SEE_OTHER, [(LOCATION, "http://127.0.0.1:1/")])));
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    tokio::spawn(async move { axum::serve(listener, app).await });
    format!("http://{address}")
}

#[tokio::test]
async fn headers_and_bodies_go_both_ways() {
    let (client, server) = (client(), serve().await);
    let request = Request::get(format!("{server}/left")).body(String::new()).unwrap();
    let left = client.send(request).await.unwrap().into_body().collect().await.unwrap().to_bytes();
    let left: u64 = std::str::from_utf8(&left).unwrap().parse().unwrap();
    assert!((1..=5_000).contains(&left), "{left}");

    let request = Request::post(format!("{server}/echo")).body("EUR 7.00".to_owned()).unwrap();
    let echo = client.send(request).await.unwrap().into_body().collect().await.unwrap().to_bytes();
    assert_eq!(echo, "EUR 7.00");
}

#[tokio::test]
async fn a_redirect_is_an_answer_and_is_not_followed() {
    let (client, server) = (client(), serve().await);
    let request = Request::post(format!("{server}/moved")).body("EUR 7.00".to_owned()).unwrap();
    assert_eq!(client.send(request).await.unwrap().status(), StatusCode::SEE_OTHER);
}

#[tokio::test]
async fn a_payment_whose_connection_is_refused_is_sent_once_more() {
    let client = client();
    let closed = TcpListener::bind("127.0.0.1:0").await.unwrap().local_addr().unwrap();
    let request = Request::post(format!("http://{closed}/")).body("EUR 7.00".to_owned()).unwrap();
    let error = client.send(request).await.unwrap_err();
    assert!(error.inner().downcast_ref::<reqwest::Error>().is_some_and(reqwest::Error::is_connect));
    assert_eq!(
        (client.handle().counts().first_attempts(), client.handle().counts().retry_attempts()),
        (1, 1)
    );
}

#[tokio::test]
async fn a_url_without_a_host_is_the_callers_fault() {
    let client = client();
    client.send(Request::get("/quotes").body(String::new()).unwrap()).await.unwrap_err();
    assert_eq!(client.handle().counts().calls(Outcome::CallerFault), 1);
    assert_eq!(client.handle().counts().retry_attempts(), 0);
}
