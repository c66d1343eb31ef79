//! One trace across three services, each a process of its own: a gateway asks portfolio, which asks the ledger.
//!
//! ```sh
//! cargo run --features axum,logs,otlp --example one_trace
//! ```
//!
//! starts all three, asks the gateway once and stops them. Their spans, metrics and logs go to the collector on this machine,
//! or wherever `OTEL_EXPORTER_OTLP_ENDPOINT` says; without one they are lost, and nothing else is. A line of each call is
//! printed as well. The ledger has to be asked twice, so the trace has an attempt that failed:
//!
//! ```text
//! gateway    GET /accounts/{id}
//! gateway      portfolio, GET
//! portfolio      GET /portfolios/{id}
//! portfolio        ledger, GET, 503
//! ledger             GET /balances/{id}, 503
//! portfolio        ledger, GET again
//! ledger             GET /balances/{id}
//! ```
//!
//! What is to be copied is `watch`, and what `relay` and `ledger` say to the golden path.

#![expect(clippy::print_stdout, reason = "a person reads along")]

use std::{
    env,
    io::{self, BufRead, BufReader},
    process::{Child, Command, Stdio},
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use anyhow::{Context, Result, bail, ensure};
use axum::{
    Router,
    extract::{Path, RawQuery},
    response::{IntoResponse, Response},
    routing::get,
};
use bytes::Bytes;
use http::{Request, StatusCode};
use http_body_util::{BodyExt, Empty};
use hyper_util::{
    client::legacy::{Client, connect::HttpConnector},
    rt::TokioExecutor,
};
use moneta_resilience::{
    BoxError, Telemetry, golden,
    record::log::{JsonLines, LogGuard},
};
use tokio::{net::TcpListener, task::spawn_blocking};
use tracing_subscriber::{filter::LevelFilter, layer::SubscriberExt, util::SubscriberInitExt};

const PATIENCE: Duration = Duration::from_secs(2);

#[tokio::main]
async fn main() -> Result<()> {
    let arguments: Vec<_> = env::args().skip(1).collect();
    let arguments: Vec<_> = arguments.iter().map(String::as_str).collect();
    match arguments[..] {
        [] => ask_all().await,
        ["gateway", portfolio] => {
            let _watched = watch("gateway")?;
            serve(relay("gateway", "/accounts", "portfolio", format!("{portfolio}/portfolios"))).await
        }
        ["portfolio", address] => {
            let _watched = watch("portfolio")?;
            serve(relay("portfolio", "/portfolios", "ledger", format!("{address}/balances"))).await
        }
        ["ledger"] => {
            let _watched = watch("ledger")?;
            serve(ledger()).await
        }
        _ => bail!("usage: one_trace [gateway PORTFOLIO | portfolio LEDGER | ledger]"),
    }
}

/// Tells the collector what the service does, and writes its log to the standard error as well; until it is dropped.
fn watch(service: &str) -> Result<(Telemetry, LogGuard)> {
    let telemetry = Telemetry::init(service)?;
    let (lines, guard) = JsonLines::new(service).write_to(io::stderr())?;
    tracing_subscriber::registry().with(LevelFilter::INFO).with(lines).with(telemetry.log_records()).init();
    for ignored in telemetry.ignored() {
        tracing::warn!("{ignored}");
    }
    Ok((telemetry, guard))
}

/// A service that asks another one.
fn relay(name: &str, path: &str, other: &str, address: String) -> Router {
    let other = golden::client(other).timeout(PATIENCE).no_fallback().http(http_client());
    let ask = async move |Path(id): Path<String>, RawQuery(query): RawQuery| {
        let query = query.map_or_else(String::new, |query| format!("?{query}"));
        let request = Request::get(format!("{address}/{id}{query}")).body(Empty::new())?;
        let answer = other.send(request).await?;
        let status = answer.status();
        let text = answer.into_body().collect().await?.to_bytes();
        if status.is_success() { Ok(text) } else { Err(Failed(format!("{status}: {text:?}").into())) }
    };
    let server = golden::server(name).timeout(PATIENCE).layer();
    Router::new().route(&format!("{path}/{{id}}"), get(ask)).layer(server)
}

/// The service that knows, but not at once.
fn ledger() -> Router {
    let awake = Arc::new(AtomicBool::new(false));
    let balance = async move |Path(id): Path<String>| {
        if awake.swap(true, Ordering::Relaxed) {
            (StatusCode::OK, "4210.00\n".to_owned())
        } else {
            tracing::warn!("the balance of {id} is not there yet");
            (StatusCode::SERVICE_UNAVAILABLE, format!("the balance of {id} is not there yet\n"))
        }
    };
    let server = golden::server("ledger").timeout(PATIENCE).layer();
    Router::new().route("/balances/{id}", get(balance)).layer(server)
}

/// The other service did not say.
struct Failed(BoxError);

impl<E: Into<BoxError>> From<E> for Failed {
    fn from(error: E) -> Self {
        Self(error.into())
    }
}

impl IntoResponse for Failed {
    fn into_response(self) -> Response {
        (StatusCode::BAD_GATEWAY, self.0.to_string()).into_response()
    }
}

/// A client that leaves retries to the golden path.
fn http_client() -> Client<HttpConnector, Empty<Bytes>> {
    Client::builder(TokioExecutor::new()).retry_canceled_requests(false).build_http()
}

/// Serves on a free port, which it prints, until its input ends.
async fn serve(service: Router) -> Result<()> {
    let listener = TcpListener::bind("127.0.0.1:0").await?;
    println!("http://{}", listener.local_addr()?);
    let end = async {
        // Whoever started this process has closed its input, or is gone.
        let _ = spawn_blocking(|| io::copy(&mut io::stdin(), &mut io::sink())).await;
    };
    axum::serve(listener, service).with_graceful_shutdown(end).await?;
    Ok(())
}

/// Starts all three services, asks the first one, and stops them.
async fn ask_all() -> Result<()> {
    let ledger = Running::start(&["ledger"])?;
    let portfolio = Running::start(&["portfolio", &ledger.address])?;
    let gateway = Running::start(&["gateway", &portfolio.address])?;

    let account = Request::get(format!("{}/accounts/7", gateway.address)).body(Empty::new())?;
    let answer = http_client().request(account).await?;
    let status = answer.status();
    let balance = answer.into_body().collect().await?.to_bytes();
    println!("the balance is {}", String::from_utf8_lossy(&balance).trim_end());
    ensure!(status.is_success(), "the gateway answered {status}");

    // From the first to the last: each exports what it has before it ends.
    [gateway, portfolio, ledger].into_iter().try_for_each(Running::stop)
}

/// One of the services, in a process of its own.
struct Running {
    process: Child,
    address: String,
}

impl Running {
    fn start(arguments: &[&str]) -> Result<Self> {
        let mut command = Command::new(env::current_exe()?);
        let mut process = command.args(arguments).stdin(Stdio::piped()).stdout(Stdio::piped()).spawn()?;
        let output = process.stdout.take().context("its output is a pipe")?;
        let mut address = String::new();
        BufReader::new(output).read_line(&mut address)?;
        Ok(Self { process, address: address.trim_end().to_owned() })
    }

    fn stop(mut self) -> Result<()> {
        drop(self.process.stdin.take());
        let status = self.process.wait()?;
        ensure!(status.success(), "a service ended with {status}");
        Ok(())
    }
}
