//! A bad day of a small system, in under a minute: `cargo run --release --example quickstart`.
//!
//! With `-- --serve` the services go on when the day is over, until Ctrl-C or SIGTERM; with `-- --serve-for 600`, for so
//! many seconds.
//!
//! A portfolio service asks market data for a quote, over loopback HTTP, under a steady load. Market data is
//! healthy, then slow, then healthy, then dead, then back. Beside it the same service without the golden path
//! gets the same load on the same day. At the end stands what the callers of both saw, and whether the golden
//! path kept its promises; if not, the exit code says so. What an SRE would have seen of it stands in the service's
//! `/metrics` all the time.
//!
//! To see how a service is written, read `service.rs`: everything else here is the day around it.

#![expect(clippy::print_stdout, reason = "a person reads along")]

mod afterwards;
mod bare;
mod circuit;
mod load;
mod measure;
mod metrics;
#[cfg(feature = "slo")]
mod objectives;
mod phases;
mod picture;
mod process;
mod progress;
mod promises;
mod report;
mod scrape;
mod service;
mod transport;
mod upstream;

use std::{net::SocketAddr, process::ExitCode, sync::Arc, time::Duration};

use anyhow::Result;
use axum::Router;
use http::Uri;
use tokio::time::{Instant, sleep_until};

use crate::{
    afterwards::Afterwards,
    circuit::Circuit,
    load::Load,
    metrics::Metrics,
    process::{Process, any_port, reserve},
    transport::Calls,
    upstream::Upstream,
};

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<ExitCode> {
    let afterwards = Afterwards::asked()?;
    let metrics = Metrics::install()?;
    let (golden_calls, bare_calls) = (Calls::default(), Calls::default());
    let circuit = Arc::new(Circuit::default());

    let mut upstream = Upstream::start()?;
    let market_data = upstream.address();
    let app = service::app(market_data, &golden_calls, circuit.clone(), metrics)?;
    let (_golden, golden) = serve("golden", app)?;
    let (_bare, bare) = serve("bare", bare::app(market_data, &bare_calls)?)?;
    println!("{}", progress::opening(market_data, golden, bare));

    let phases = phases::all();
    let start = Instant::now() + Duration::from_millis(200);
    let load = Load::start(uri(golden, "/portfolio")?, uri(bare, "/portfolio")?, start, phases::length())?;
    for phase in &phases {
        sleep_until(start + phase.span.start).await;
        upstream.turn(phase.weather)?;
        println!("\n{}", progress::heading(phase));
        let mut second = phase.span.start;
        while second < phase.span.end {
            second += Duration::from_secs(1);
            sleep_until(start + second).await;
            println!("{}", progress::line(second, &load.so_far(), circuit.state()));
        }
    }
    let seen = load.finish()?;

    let metrics = scrape::read(uri(golden, "/metrics")?).await?;
    let notice = afterwards.notice(market_data, golden, bare);
    let golden = report::Path { calls: &seen.golden, transport: &since(start, &golden_calls) };
    let bare = report::Path { calls: &seen.bare, transport: &since(start, &bare_calls) };
    let judge = |path: &report::Path<'_>| promises::judge(path.calls, path.transport, &seen.stalls, &phases);
    let verdicts = judge(&golden);

    println!("\n{}", picture::day(&seen, &circuit.transitions(), start, &phases));
    println!("\n{}", report::table(&golden, &bare, &seen.stalls, &phases));
    println!("\n{}", report::circuit(&circuit.transitions(), start, &phases));
    println!("\n{}", scrape::first_look(&metrics));
    println!("\n{}", report::generator(&seen));
    println!("\n{}", report::verdicts(&verdicts, &judge(&bare)));
    println!("\n{}", report::conclusion(&seen, &verdicts));

    if afterwards != Afterwards::End {
        println!("\n{notice}");
        afterwards.wait().await?;
    }
    let kept = verdicts.iter().all(|verdict| verdict.kept);
    Ok(if kept { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

/// Starts a service on a free port.
fn serve(name: &str, app: Router) -> Result<(Process, SocketAddr)> {
    let port = reserve(any_port())?;
    let address = port.local_addr()?;
    Ok((Process::start(name, port, app)?, address))
}

fn uri(service: SocketAddr, path: &str) -> Result<Uri> {
    Ok(format!("http://{service}{path}").parse()?)
}

/// When the calls were made, in time since the start.
fn since(start: Instant, calls: &Calls) -> Vec<Duration> {
    calls.list().into_iter().map(|at| at - start).collect()
}
