//! The portfolio service on the golden path: a server stack in front, a client stack behind.
//!
//! The file to copy from. What a team decides stands in `app`: names, limits of time, and what to say when market
//! data says nothing. Retries, their budget, the circuit breaker, bulkheads and telemetry are on without a word; where
//! telemetry goes is said in `metrics.rs`.

use std::{
    net::SocketAddr,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use anyhow::Result;
use axum::{
    Router,
    body::HttpBody,
    extract::State,
    response::{IntoResponse, Response},
    routing::get,
};
use bytes::Bytes;
use http::{HeaderName, Request, StatusCode, Uri, header::CONTENT_TYPE};
use http_body_util::{BodyExt, Empty};
use hyper::body::Incoming;
use moneta_resilience::{
    BoxError, Head,
    golden::{self, BoxedClient, ClientBodyOr},
    http::Degraded,
};

#[cfg(feature = "slo")]
use crate::objectives;
use crate::{
    circuit::Circuit,
    metrics::Metrics,
    transport::{Calls, http_client},
};

/// After this time nobody wants the answer any more.
pub(crate) const DEADLINE: Duration = Duration::from_millis(400);
/// Says in an answer why it is less than it should be.
pub(crate) const DEGRADED: HeaderName = HeaderName::from_static("x-degraded");

/// How many shares the portfolio holds.
const SHARES: u64 = 40;

/// The service, asking market data at this address.
pub(crate) fn app(
    market_data: SocketAddr,
    calls: &Calls,
    circuit: Arc<Circuit>,
    metrics: Metrics,
) -> Result<Router> {
    let last = Arc::new(LastQuote::default());
    let stale = Arc::clone(&last);

    let quotes = golden::client("market-data")
        .timeout(Duration::from_millis(250)) // leaves the rest of the deadline for what follows
        .fallback(move |why| stale.answer().ok_or_else(|| why.into_error()))
        .sink(circuit);
    let server = golden::server("portfolio").timeout(DEADLINE).route_of(route);
    #[cfg(feature = "slo")]
    let (quotes, server) = (quotes.slo(objectives::market_data()), server.slo(objectives::portfolio()));
    let quotes = quotes.http(calls.of(http_client())).boxed();

    let quote = format!("http://{market_data}/quote").parse()?;
    Ok(Router::new()
        .route("/portfolio", get(portfolio))
        .with_state(Service { quote, quotes, last })
        .layer(server.layer())
        // After the layer: whoever watches the service is neither refused nor counted.
        .route("/metrics", get(async move || ([(CONTENT_TYPE, Metrics::CONTENT_TYPE)], metrics.scrape()))))
}

/// What metrics call a request, whatever its path; with feature `axum` that is asked of the router.
fn route(head: Head<'_>) -> Option<&'static str> {
    (head.uri.path() == "/portfolio").then_some("/portfolio")
}

/// The client of market data. Its answers are the dependency's, or the fallback's text.
type Quotes = BoxedClient<Request<Empty<Bytes>>, http::Response<ClientBodyOr<Incoming, String>>>;

/// What the handlers share.
#[derive(Clone)]
struct Service {
    quote: Uri,
    quotes: Quotes,
    last: Arc<LastQuote>,
}

async fn portfolio(State(service): State<Service>) -> Result<Response, NoQuote> {
    let request = Request::get(&service.quote).body(Empty::new())?;
    let answer = service.quotes.send(request).await?;

    let degraded = answer.extensions().get::<Degraded>().is_some();
    let cents = price(answer).await?;
    if degraded {
        return Ok(([(DEGRADED, "stale quote")], valued(cents)).into_response());
    }
    service.last.keep(cents);
    Ok(valued(cents).into_response())
}

/// Neither market data nor the fallback had a quote.
struct NoQuote(BoxError);

impl<E: Into<BoxError>> From<E> for NoQuote {
    fn from(error: E) -> Self {
        Self(error.into())
    }
}

impl IntoResponse for NoQuote {
    fn into_response(self) -> Response {
        (StatusCode::BAD_GATEWAY, format!("no quote: {}\n", self.0)).into_response()
    }
}

/// The last price that came, for when none comes; zero before the first.
#[derive(Debug, Default)]
struct LastQuote(AtomicU64);

impl LastQuote {
    fn keep(&self, cents: u64) {
        self.0.store(cents, Ordering::Relaxed);
    }

    /// What market data would have answered a while ago.
    fn answer(&self) -> Option<Response<String>> {
        let cents = self.0.load(Ordering::Relaxed);
        (cents > 0).then(|| Response::new(cents.to_string()))
    }
}

/// The price in market data's answer, in cents.
pub(crate) async fn price<B>(answer: Response<B>) -> Result<u64, BoxError>
where
    B: HttpBody<Error: Into<BoxError>>,
{
    let status = answer.status();
    let body = answer.into_body().collect().await.map_err(Into::into)?.to_bytes();
    if !status.is_success() {
        return Err(format!("market data answered {status}").into());
    }
    Ok(std::str::from_utf8(&body)?.parse()?)
}

/// What the portfolio is worth at this price.
pub(crate) fn valued(cents: u64) -> String {
    let worth = SHARES * cents;
    format!("{}.{:02}\n", worth / 100, worth % 100)
}
