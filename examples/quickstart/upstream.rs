//! Market data: the dependency that has a bad day.

use std::{net::SocketAddr, time::Duration};

use anyhow::Result;
use axum::{Router, routing::get};
use moneta_resilience::{
    fault::{Fault, Faults},
    golden,
};
use tokio::{net::TcpSocket, time::sleep};

use crate::process::{Process, any_port, reserve};

/// How long a quote takes on a good day.
const WORK: Duration = Duration::from_millis(3);
/// How much longer it takes on a slow one: past every caller's patience, not past market data's own.
const SLOWNESS: Duration = Duration::from_millis(800);
const TIMEOUT: Duration = Duration::from_secs(2);

/// What market data is like at a time.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Weather {
    /// Quotes take a few milliseconds.
    Fair,
    /// Quotes come, but later than anybody waits for them.
    Slow,
    /// Nobody listens: connections are refused, those that were open are gone.
    Down,
}

/// The upstream and the means to trouble it.
#[derive(Debug)]
pub(crate) struct Upstream {
    address: SocketAddr,
    /// Its golden stack is the same in every life, and with it the faults.
    app: Router,
    faults: Faults,
    process: Option<Process>,
    /// While it is down: the port, so that it comes back where its callers look for it.
    reserved: Option<TcpSocket>,
}

impl Upstream {
    /// Starts market data, in fair weather, on a free port.
    pub(crate) fn start() -> Result<Self> {
        let golden = golden::server("quotes-upstream").timeout(TIMEOUT).layer();
        let faults = golden.handle().faults().clone();
        let app = Router::new().route("/quote", get(quote)).layer(golden);

        let port = reserve(any_port())?;
        let address = port.local_addr()?;
        let process = Some(Process::start("market-data", port, app.clone())?);
        Ok(Self { address, app, faults, process, reserved: None })
    }

    /// Where it listens, in all its lives.
    pub(crate) fn address(&self) -> SocketAddr {
        self.address
    }

    /// Changes the weather; whatever was before ends.
    pub(crate) fn turn(&mut self, weather: Weather) -> Result<()> {
        self.faults.disarm();
        if let Weather::Slow = weather {
            self.faults.arm(Fault::latency(SLOWNESS));
        }
        match weather {
            Weather::Fair | Weather::Slow => self.live(),
            Weather::Down => self.die(),
        }
    }

    fn die(&mut self) -> Result<()> {
        if let Some(process) = self.process.take() {
            process.kill();
            self.reserved = Some(reserve(self.address)?);
        }
        Ok(())
    }

    fn live(&mut self) -> Result<()> {
        if let Some(port) = self.reserved.take() {
            self.process = Some(Process::start("market-data", port, self.app.clone())?);
        }
        Ok(())
    }
}

/// The price of one share, in cents.
async fn quote() -> &'static str {
    sleep(WORK).await;
    "10125"
}
