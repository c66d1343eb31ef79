//! The service that is experimented upon: it places orders through a balancer, and values a portfolio with balances from a
//! database and prices from an external API.

use std::{
    io,
    net::SocketAddr,
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use anyhow::Result;
use axum::{
    Router,
    extract::State,
    response::{IntoResponse, Response},
    routing::get,
};
use bytes::Bytes;
use http::{HeaderName, Request, StatusCode, Uri};
use http_body_util::{BodyExt, Empty};
use hyper::body::Incoming;
use moneta_resilience::{
    BoxError, Record,
    golden::{self, BoxedClient, Calls, ClientBody, ClientBodyOrStale, Handle},
    http::{Stale, StaleCache},
};
use tokio::{
    io::{AsyncBufReadExt, AsyncWriteExt, BufReader},
    net::{TcpListener, TcpStream},
};

use crate::transport::http_client;

/// Says in an answer why it is less than it should be.
pub(crate) const DEGRADED: HeaderName = HeaderName::from_static("x-degraded");

const ACCOUNT: &str = "alice";

/// The handles of what is experimented upon.
#[derive(Clone, Debug)]
pub(crate) struct Desk {
    pub(crate) exchange: Handle,
    pub(crate) ledger: Handle,
    pub(crate) prices: Handle,
    pub(crate) address: SocketAddr,
}

impl Desk {
    /// Opens the desk, inside this process.
    pub(crate) async fn open(balancer: SocketAddr, ledger: SocketAddr, market: SocketAddr) -> Result<Self> {
        let exchange =
            golden::client("balancer").timeout(Duration::from_secs(1)).no_fallback().http(http_client());
        let prices = golden::client("market-data")
            .timeout(Duration::from_millis(300))
            .attempt_timeout(Duration::from_millis(100))
            .stale_cache(StaleCache::new().max_age(Duration::from_secs(600)))
            .http(http_client());
        let accounts = golden::client("ledger").timeout(Duration::from_millis(300)).no_fallback().calls();
        let server = golden::server("desk").timeout(Duration::from_secs(1)).layer();

        let listener = TcpListener::bind((std::net::Ipv4Addr::LOCALHOST, 0)).await?;
        let desk = Self {
            exchange: exchange.handle().clone(),
            ledger: accounts.handle().clone(),
            prices: prices.handle().clone(),
            address: listener.local_addr()?,
        };
        let service = Service {
            exchange: exchange.boxed(),
            orders: format!("http://{balancer}/order").parse()?,
            prices: prices.boxed(),
            price: format!("http://{market}/price").parse()?,
            accounts,
            ledger: Arc::new(Ledger { address: ledger, idle: Mutex::default() }),
            last: Arc::default(),
        };
        let app = Router::new()
            .route("/order", get(order))
            .route("/portfolio", get(portfolio))
            .with_state(service)
            .layer(server);
        tokio::spawn(async move { axum::serve(listener, app).await });
        Ok(desk)
    }
}

#[derive(Clone)]
struct Service {
    exchange: BoxedClient<Request<Empty<Bytes>>, http::Response<ClientBody<Incoming>>>,
    orders: Uri,
    prices: BoxedClient<Request<Empty<Bytes>>, http::Response<ClientBodyOrStale<Incoming>>>,
    price: Uri,
    accounts: Calls,
    ledger: Arc<Ledger>,
    /// How many shares the account held when the ledger last said so.
    last: Arc<AtomicU64>,
}

async fn order(State(service): State<Service>) -> Response {
    let answer = async {
        let answer = service.exchange.send(get_of(&service.orders)?).await?;
        Ok::<_, BoxError>((answer.status(), answer.into_body().collect().await?.to_bytes()))
    };
    answer.await.map_or_else(|error| failed(&error), IntoResponse::into_response)
}

async fn portfolio(State(service): State<Service>) -> Response {
    match tokio::try_join!(service.shares(), service.price()) {
        Ok(((shares, old_shares), (cents, old_price))) => {
            let worth = format!("{}\n", shares * cents);
            match (old_shares, old_price) {
                (false, false) => worth.into_response(),
                (true, false) => ([(DEGRADED, "old balance")], worth).into_response(),
                (false, true) => ([(DEGRADED, "old price")], worth).into_response(),
                (true, true) => ([(DEGRADED, "old balance, old price")], worth).into_response(),
            }
        }
        Err(error) => failed(&error),
    }
}

impl Service {
    /// How many shares there are, and whether that is what was known before.
    async fn shares(&self) -> Result<(u64, bool), BoxError> {
        let ask = || self.ledger.shares(ACCOUNT);
        let last = |why: moneta_resilience::fallback::Why| match self.last.load(Ordering::Relaxed) {
            0 => Err(why.into_error()),
            shares => Ok(shares),
        };
        let record = Record::new();
        let shares = record.scope(self.accounts.run_repeatable_or(ask, last)).await?;
        self.last.store(shares, Ordering::Relaxed);
        Ok((shares, record.is_degraded()))
    }

    /// The price, and whether it is an old one.
    async fn price(&self) -> Result<(u64, bool), BoxError> {
        let answer = self.prices.send(get_of(&self.price)?).await?;
        let stale = answer.extensions().get::<Stale>().is_some();
        let body = answer.into_body().collect().await?.to_bytes();
        Ok((std::str::from_utf8(&body)?.parse()?, stale))
    }
}

fn get_of(uri: &Uri) -> Result<Request<Empty<Bytes>>, http::Error> {
    Request::get(uri).body(Empty::new())
}

fn failed(error: &BoxError) -> Response {
    (StatusCode::BAD_GATEWAY, format!("{error}\n")).into_response()
}

/// The client of the database: connections that are kept while they work.
struct Ledger {
    address: SocketAddr,
    idle: Mutex<Vec<BufReader<TcpStream>>>,
}

impl Ledger {
    async fn shares(&self, account: &str) -> io::Result<u64> {
        let idle = self.idle.lock().unwrap_or_else(PoisonError::into_inner).pop();
        let mut connection = match idle {
            Some(connection) => connection,
            None => BufReader::new(TcpStream::connect(self.address).await?),
        };
        connection.write_all(format!("{account}\n").as_bytes()).await?;
        let mut line = String::new();
        connection.read_line(&mut line).await?;
        let shares = line.trim().parse().map_err(io::Error::other)?;
        self.idle.lock().unwrap_or_else(PoisonError::into_inner).push(connection);
        Ok(shares)
    }
}
