//! The portfolio service as it is written first: the same question to market data, and nothing around it.

use std::net::SocketAddr;

use anyhow::Result;
use axum::{
    Router,
    extract::State,
    response::{IntoResponse, Response},
    routing::get,
};
use http::{Request, StatusCode, Uri};
use http_body_util::Empty;
use moneta_resilience::BoxError;
use tower::ServiceExt;

use crate::{
    service::{price, valued},
    transport::{Calls, Counted, HttpClient, http_client},
};

/// The service, asking market data at this address.
pub(crate) fn app(market_data: SocketAddr, calls: &Calls) -> Result<Router> {
    let quote = format!("http://{market_data}/quote").parse()?;
    let bare = Bare { quote, client: calls.of(http_client()) };
    Ok(Router::new().route("/portfolio", get(portfolio)).with_state(bare))
}

#[derive(Clone)]
struct Bare {
    quote: Uri,
    client: Counted<HttpClient>,
}

async fn portfolio(State(bare): State<Bare>) -> Response {
    match bare.price().await {
        Ok(cents) => valued(cents).into_response(),
        Err(_) => StatusCode::BAD_GATEWAY.into_response(),
    }
}

impl Bare {
    async fn price(&self) -> Result<u64, BoxError> {
        let request = Request::get(&self.quote).body(Empty::new())?;
        price(self.client.clone().oneshot(request).await?).await
    }
}
