use std::{
    fmt,
    pin::Pin,
    task::{Context, Poll},
};

use bytes::Bytes;
use http::{Request, Response};
use http_body::Body;
use pin_project_lite::pin_project;
use reqwest::{Client, ClientBuilder, redirect, retry};
use tower::Service;

use crate::error::BoxError;

/// [`reqwest`] as the transport of a golden HTTP client, for requests with any body.
///
/// It builds the client itself, with two of reqwest's own features off, because each would do behind the stack's back what
/// belongs in front of it:
///
/// * *Retries.* reqwest sends again what an HTTP/2 server did not process (`REFUSED_STREAM`, a `GOAWAY`), twice and
///   without a budget. The stack repeats it instead, once and paid for.
/// * *Redirects.* The hops of one attempt would be calls that nobody counts, and a connection that is refused behind a
///   redirect would look like a call that was never processed. A 3xx is an answer.
///
/// Take reqwest as a dependency of your own, too, with the features that you need (TLS above all): this crate asks for none.
/// What is left as it was: TLS, proxies, the pool, and [`ClientBuilder::connect_timeout`]. A timeout of reqwest's own is not
/// needed, because the stack drops an attempt that takes too long.
///
/// ```
/// # #[tokio::main(flavor = "current_thread")] async fn main() -> anyhow::Result<()> {
/// use std::time::Duration;
/// use moneta_resilience::{golden, http::Reqwest};
///
/// let quotes = golden::client("market-data")
///     .timeout(Duration::from_millis(800))
///     .no_fallback()
///     .http(Reqwest::new(reqwest::Client::builder().no_proxy())?);
///
/// let request = http::Request::get("http://localhost:1/quotes/EURCHF").body(String::new())?;
/// assert!(quotes.send(request).await.is_err()); // nobody listens there
/// # Ok(()) }
/// ```
#[derive(Clone, Debug)]
pub struct Reqwest {
    client: Client,
}

impl Reqwest {
    /// Builds the client.
    ///
    /// # Errors
    ///
    /// What [`ClientBuilder::build`] says: no TLS backend, a broken resolver configuration.
    pub fn new(builder: ClientBuilder) -> Result<Self, reqwest::Error> {
        let client = builder.retry(retry::never()).redirect(redirect::Policy::none()).build()?;
        Ok(Self { client })
    }
}

impl<B> Service<Request<B>> for Reqwest
where
    B: Body + Send + Sync + 'static,
    B::Data: Into<Bytes>,
    B::Error: Into<BoxError>,
{
    type Response = Response<reqwest::Body>;
    type Error = reqwest::Error;
    type Future = ReqwestFuture;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), reqwest::Error>> {
        self.client.poll_ready(cx)
    }

    fn call(&mut self, request: Request<B>) -> ReqwestFuture {
        match reqwest::Request::try_from(request.map(reqwest::Body::wrap)) {
            Ok(request) => ReqwestFuture { malformed: None, sent: Some(self.client.call(request)) },
            Err(error) => ReqwestFuture { malformed: Some(error), sent: None },
        }
    }
}

pin_project! {
    /// The future of [`Reqwest`].
    pub struct ReqwestFuture {
        // The request that reqwest cannot send: its URL has no host.
        malformed: Option<reqwest::Error>,
        #[pin]
        sent: Option<<Client as Service<reqwest::Request>>::Future>,
    }
}

impl Future for ReqwestFuture {
    type Output = Result<Response<reqwest::Body>, reqwest::Error>;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let future = self.project();
        if let Some(sent) = future.sent.as_pin_mut() {
            return sent.poll(cx).map_ok(Response::from);
        }
        let error = future.malformed.take().expect("a future is not polled again once it is ready");
        Poll::Ready(Err(error))
    }
}

impl fmt::Debug for ReqwestFuture {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ReqwestFuture").finish_non_exhaustive()
    }
}
