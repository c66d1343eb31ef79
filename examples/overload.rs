//! A server at three times its capacity, bare and behind the golden path, side by side.
//!
//! ```sh
//! cargo run --release --example overload
//! ```
//!
//! A real axum server on the loopback has 16 workers, each busy with a call for 80 ms: it can serve 200 calls a second. For five
//! seconds 600 a second come in, over real connections, from callers who hang up after 500 ms. A tenth of the capacity are
//! transfers, which matter most; the rest are account views, synchronisation and reports. First the server stands alone and
//! lets everybody wait; then it has `golden::server(..).bulkhead(20).priorities()` in front. The example exits with an error
//! when a promise was broken: that under overload the golden server still serves what it can, soon, and every transfer.

#![expect(clippy::print_stdout, reason = "a person reads along")]

use std::{net::SocketAddr, process::ExitCode, sync::Arc, time::Duration};

use axum::{Router, routing::get};
use bytes::Bytes;
use http::{Request, StatusCode};
use http_body_util::{BodyExt, Empty};
use hyper_util::{
    client::legacy::{Client, connect::HttpConnector},
    rt::TokioExecutor,
};
use moneta_resilience::{Priority, golden};
use tokio::{
    net::TcpListener,
    sync::Semaphore,
    task::JoinSet,
    time::{Instant, sleep, sleep_until, timeout},
};

const WORKERS: usize = 16;
const BUSY: Duration = Duration::from_millis(80);
/// Nine tenths of it, what is left without the transfers' share, keep all workers busy.
const LIMIT: usize = 20;
/// What the workers can do in a second.
const CAPACITY: u32 = 200;
const SECONDS: u32 = 5;
/// Three calls come at a time: three times the capacity.
const SPACING: Duration = Duration::from_millis(5);
const PATIENCE: Duration = Duration::from_millis(500);
const PATHS: [&str; 4] = ["/transfers", "/accounts", "/sync", "/reports"];

type Http = Client<HttpConnector, Empty<Bytes>>;

#[tokio::main]
async fn main() -> Result<ExitCode, std::io::Error> {
    println!("{} calls a second for a server that can serve {CAPACITY}\n", 3 * CAPACITY);
    let bare = load(serve(routes()).await?).await;
    let golden = golden::server("accounts")
        .timeout(PATIENCE)
        .bulkhead(LIMIT)
        .priority_of(|head| match head.uri.path() {
            "/transfers" => Priority::CriticalPlus,
            "/accounts" => Priority::Critical,
            "/sync" => Priority::SheddablePlus,
            _ => Priority::Sheddable,
        })
        .priorities()
        .layer();
    let golden = load(serve(routes().layer(golden)).await?).await;
    draw(&bare, &golden);
    Ok(if promises_hold(&bare, &golden) { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

/// The service: every route takes a worker for a while.
fn routes() -> Router {
    let workers = Arc::new(Semaphore::new(WORKERS));
    let work = get(async move || {
        let _worker = workers.acquire().await;
        sleep(BUSY).await;
        "done"
    });
    PATHS.into_iter().fold(Router::new(), |routes, path| routes.route(path, work.clone()))
}

/// Serves the routes on a free port, until the program ends.
async fn serve(routes: Router) -> Result<SocketAddr, std::io::Error> {
    let listener = TcpListener::bind("127.0.0.1:0").await?;
    let address = listener.local_addr()?;
    tokio::spawn(async move { axum::serve(listener, routes).await });
    Ok(address)
}

/// What a caller saw.
struct Call {
    path: &'static str,
    served: bool,
    /// Until it had an answer or hung up.
    took: Duration,
}

/// Calls at fixed times, whether or not the answers have come.
async fn load(server: SocketAddr) -> Vec<Call> {
    let client: Http = Client::builder(TokioExecutor::new()).build_http();
    let (began, mut callers) = (Instant::now(), JoinSet::new());
    for tick in 0..SECONDS * CAPACITY {
        sleep_until(began + SPACING * tick).await;
        let important = if tick % 10 == 0 { "/transfers" } else { "/accounts" };
        for path in ["/reports", "/sync", important] {
            callers.spawn(call(client.clone(), server, path));
        }
    }
    callers.join_all().await
}

async fn call(client: Http, server: SocketAddr, path: &'static str) -> Call {
    let began = Instant::now();
    let request = Request::builder().uri(format!("http://{server}{path}")).body(Empty::new());
    let answer = async {
        let answer = client.request(request.ok()?).await.ok()?;
        let status = answer.status();
        answer.into_body().collect().await.ok()?;
        Some(status)
    };
    let answer = timeout(PATIENCE, answer).await;
    Call { path, served: answer == Ok(Some(StatusCode::OK)), took: began.elapsed() }
}

fn goodput(calls: &[Call]) -> usize {
    calls.iter().filter(|call| call.served).count() / SECONDS as usize
}

/// Which share of the calls of a path was served, in percent.
fn served(calls: &[Call], path: &str) -> usize {
    let of_path: Vec<_> = calls.iter().filter(|call| call.path == path).collect();
    100 * of_path.iter().filter(|call| call.served).count() / of_path.len().max(1)
}

/// How long 99 of 100 callers waited at most, in milliseconds, for whatever they got.
fn p99(calls: &[Call]) -> u128 {
    let mut took: Vec<_> = calls.iter().map(|call| call.took).collect();
    took.sort();
    took.get(took.len() * 99 / 100).map_or(0, Duration::as_millis)
}

fn draw(bare: &[Call], golden: &[Call]) {
    let bar = |value: usize, most: usize| format!("{:<40}", "█".repeat((40 * value / most).min(40)));
    let millis = |calls| usize::try_from(p99(calls)).unwrap_or(usize::MAX);
    println!("goodput, calls a second (of {CAPACITY})");
    println!("  bare    {} {}", bar(goodput(bare), CAPACITY as usize), goodput(bare));
    println!("  golden  {} {}", bar(goodput(golden), CAPACITY as usize), goodput(golden));
    println!("99 of 100 callers knew within, ms");
    println!("  bare    {} {}", bar(millis(bare), 500), millis(bare));
    println!("  golden  {} {}", bar(millis(golden), 500), millis(golden));
    println!("served, %        bare  golden");
    for path in PATHS {
        println!("  {path:<13} {:>5} {:>7}", served(bare, path), served(golden, path));
    }
}

fn promises_hold(bare: &[Call], golden: &[Call]) -> bool {
    let promises = [
        (
            "it serves four fifths of what it could without overload",
            goodput(golden) * 5 >= CAPACITY as usize * 4,
        ),
        ("twice as many as the bare one", goodput(golden) >= 2 * goodput(bare)),
        ("99 of 100 callers know within 250 ms", p99(golden) <= 250),
        ("99 of 100 transfers are served", served(golden, "/transfers") >= 99),
        ("reports are the first to be refused", served(golden, "/reports") <= served(golden, "/sync")),
    ];
    println!();
    for (promise, held) in promises {
        println!("{} {promise}", if held { "kept  " } else { "BROKEN" });
    }
    promises.iter().all(|(_, held)| *held)
}
