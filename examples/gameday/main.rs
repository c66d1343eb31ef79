//! A game day with a small system of real processes, in less than a minute:
//!
//! ```text
//! cargo run --release --example gameday --features chaos,idempotency
//! cargo run --release --example gameday --features chaos,idempotency -- report.md
//! ```
//!
//! A desk places orders at an exchange, three instances behind a balancer, and values portfolios with balances from a database and
//! prices from an external API; a worker makes payments off a queue. Callers in a process of their own ask all the time.
//!
//! Four experiments find that the desk bears what was done to it. A fifth finds a hypothesis that is false, and a sixth is called off
//! by its guard. At the end a thousand calls that are held for thirty seconds go on at once. If anything ends otherwise, the exit code
//! says so. The reports go to a file, or are printed.
//!
//! To see experiments, read `experiments.rs`: everything else here is the system that they are made with.

#![expect(clippy::print_stdout, reason = "a person reads along")]

mod callers;
mod desk;
mod exchange;
mod experiments;
mod process;
mod queue;
mod rollback;
mod transport;
mod upstreams;
mod worker;

use std::{
    env, fs,
    net::SocketAddr,
    sync::{Arc, Mutex},
    time::Duration,
};

use anyhow::{Context, Result, ensure};
use moneta_resilience::{
    chaos::{Entry, Report},
    event::IdempotencyResult,
};
use tokio::time::sleep;

use crate::{callers::Callers, desk::Desk, experiments::System, process::Process, queue::Queue};

#[tokio::main]
async fn main() -> Result<()> {
    let mut arguments = env::args().skip(1);
    let first = arguments.next();
    let Some(role) = first.as_deref().and_then(|first| first.strip_prefix("--")) else {
        return day(first.as_deref()).await;
    };
    let addresses = arguments.map(|at| at.parse()).collect::<Result<Vec<SocketAddr>, _>>()?;
    match role {
        "instance" => exchange::instance().await,
        "balancer" => exchange::balancer(&addresses).await,
        "market" => upstreams::market().await,
        "ledger" => upstreams::ledger().await,
        "queue" => queue::serve().await,
        _ => callers::serve(*addresses.first().context("there is no role like that")?).await,
    }
}

async fn day(to: Option<&str>) -> Result<()> {
    let instances = (0..3).map(|_| Process::start("--instance", &[])).collect::<Result<Vec<_>>>()?;
    let addresses: Vec<_> = instances.iter().map(Process::address).collect();
    let balancer = Process::start("--balancer", &addresses)?;
    let (ledger, market) = (Process::start("--ledger", &[])?, Process::start("--market", &[])?);
    let queue = Process::start("--queue", &[])?;
    let desk = Desk::open(balancer.address(), ledger.address(), market.address()).await?;
    let callers = Process::start("--callers", &[desk.address])?;

    let queue = Queue::at(queue.address());
    let worker = worker::start(&queue);
    let instances = Arc::new(Mutex::new(instances));
    let system = System { instances, callers: Callers::at(callers.address()), desk, queue, worker };
    system.callers.peak(true).await?;
    sleep(Duration::from_secs(1)).await;

    let lab = experiments::lab(&system).audit(read_along);
    let report = lab.hold(experiments::day()).await?;
    let verdicts: Vec<_> = report.reports().iter().map(Report::verdict).collect();
    ensure!(verdicts == experiments::EXPECTED, "{:?} were expected:\n{report}", experiments::EXPECTED);
    let books = system.worker.books.read();
    let doubles = system.worker.handle.counts().idempotency(IdempotencyResult::Replayed);
    ensure!(books.aside.len() == 1, "what cannot be read is set aside: {:?}", books.aside);
    ensure!(doubles == 1, "what comes again is not done again: {doubles}");

    let took = rollback::instant().await?;
    println!("\n{} calls in a delay of 30 s went on {took:.1?} after the kill switch", rollback::HELD);
    ensure!(took < Duration::from_secs(1), "the kill switch is slow");

    match to {
        Some(file) => fs::write(file, report.to_string())?,
        None => println!("\n{report}"),
    }
    Ok(())
}

fn read_along(entry: &Entry) {
    if entry.number == 1 {
        println!("\n{}", entry.experiment);
    }
    println!("{:>4}  {}", entry.number, entry.what);
}
