//! The callers: a process that asks the desk at fixed times, whether or not the last answers have come, and says what it
//! saw.

use std::{
    net::SocketAddr,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use anyhow::{Context, Result};
use axum::{
    Router,
    extract::State,
    routing::{get, post},
};
use http::{Request, Uri};
use http_body_util::{BodyExt, Empty};
use tokio::time::{MissedTickBehavior, interval, timeout};

use crate::{
    desk::DEGRADED,
    process::listen,
    transport::{HttpClient, http_client},
};

/// Each path is asked so often: 100 times a second, at peak 300 times.
const SPACING: Duration = Duration::from_millis(10);
const AT_PEAK: u64 = 3;
/// When a caller hangs up.
const PATIENCE: Duration = Duration::from_millis(1_500);

/// How answers were, on one path.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Seen {
    pub(crate) full: u64,
    /// Less than they should be, and flagged.
    pub(crate) degraded: u64,
    /// An error, or none in time.
    pub(crate) failed: u64,
}

impl Seen {
    /// What was seen since.
    pub(crate) fn since(self, before: Self) -> Self {
        Self {
            full: self.full - before.full,
            degraded: self.degraded - before.degraded,
            failed: self.failed - before.failed,
        }
    }

    fn parse(line: &str) -> Option<Self> {
        let mut numbers = line.split(' ').map(str::parse);
        let mut next = || numbers.next()?.ok();
        Some(Self { full: next()?, degraded: next()?, failed: next()? })
    }
}

/// The callers as the day sees them.
#[derive(Clone, Debug)]
pub(crate) struct Callers {
    http: HttpClient,
    address: SocketAddr,
}

impl Callers {
    pub(crate) fn at(address: SocketAddr) -> Self {
        Self { http: http_client(), address }
    }

    /// What they saw so far of a path.
    pub(crate) async fn seen(&self, path: &str) -> Result<Seen> {
        let said = self.ask(Request::get(self.uri(&format!("/seen{path}"))?)).await?;
        Seen::parse(said.trim()).with_context(|| format!("the callers said {said:?}"))
    }

    /// Has them call three times as often, or as often as before.
    pub(crate) async fn peak(&self, peak: bool) -> Result<()> {
        self.ask(Request::post(self.uri(if peak { "/peak" } else { "/calm" })?)).await.map(drop)
    }

    fn uri(&self, path: &str) -> Result<Uri> {
        Ok(format!("http://{}{path}", self.address).parse()?)
    }

    async fn ask(&self, request: http::request::Builder) -> Result<String> {
        let answer = self.http.request(request.body(Empty::new())?).await?;
        Ok(String::from_utf8(answer.into_body().collect().await?.to_bytes().into())?)
    }
}

/// The process.
pub(crate) async fn serve(desk: SocketAddr) -> Result<()> {
    let load =
        Load { at_once: Arc::new(AtomicU64::new(1)), order: Arc::default(), portfolio: Arc::default() };
    tokio::spawn(call(format!("http://{desk}/order").parse()?, load.at_once.clone(), load.order.clone()));
    tokio::spawn(call(
        format!("http://{desk}/portfolio").parse()?,
        load.at_once.clone(),
        load.portfolio.clone(),
    ));
    let app = Router::new()
        .route("/seen/order", get(async |State(load): State<Load>| load.order.said()))
        .route("/seen/portfolio", get(async |State(load): State<Load>| load.portfolio.said()))
        .route("/peak", post(async |State(load): State<Load>| load.at_once.store(AT_PEAK, Ordering::Relaxed)))
        .route("/calm", post(async |State(load): State<Load>| load.at_once.store(1, Ordering::Relaxed)))
        .with_state(load);
    Ok(axum::serve(listen().await?, app).await?)
}

#[derive(Clone)]
struct Load {
    /// How many calls are made at each tick.
    at_once: Arc<AtomicU64>,
    order: Arc<Tally>,
    portfolio: Arc<Tally>,
}

#[derive(Default)]
struct Tally {
    full: AtomicU64,
    degraded: AtomicU64,
    failed: AtomicU64,
}

impl Tally {
    fn said(&self) -> String {
        let [full, degraded, failed] =
            [&self.full, &self.degraded, &self.failed].map(|count| count.load(Ordering::Relaxed));
        format!("{full} {degraded} {failed}\n")
    }
}

async fn call(uri: Uri, at_once: Arc<AtomicU64>, tally: Arc<Tally>) {
    let client = http_client();
    let mut ticks = interval(SPACING);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Burst);
    loop {
        ticks.tick().await;
        for _ in 0..at_once.load(Ordering::Relaxed) {
            let (client, uri, tally) = (client.clone(), uri.clone(), tally.clone());
            tokio::spawn(async move {
                let answer = timeout(PATIENCE, ask(&client, uri)).await;
                let count = match answer {
                    Ok(Ok(true)) => &tally.full,
                    Ok(Ok(false)) => &tally.degraded,
                    _ => &tally.failed,
                };
                count.fetch_add(1, Ordering::Relaxed);
            });
        }
    }
}

/// Whether the answer is a full one.
async fn ask(client: &HttpClient, uri: Uri) -> Result<bool> {
    let mut request = Request::new(Empty::new());
    *request.uri_mut() = uri;
    let (head, body) = client.request(request).await?.into_parts();
    body.collect().await?;
    anyhow::ensure!(head.status.is_success(), "it failed");
    Ok(!head.headers.contains_key(DEGRADED))
}
