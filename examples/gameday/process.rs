//! The processes of the day: this program again, in another role, on a port of its own.

use std::{
    io::{BufRead, BufReader, Read, stdin},
    net::{Ipv4Addr, SocketAddr},
    process::{Child, Command, Stdio, exit},
    thread,
};

use anyhow::{Context, Result};
use tokio::net::TcpListener;

/// A running process. Dropped, it dies.
#[derive(Debug)]
pub(crate) struct Process {
    child: Child,
    address: SocketAddr,
}

impl Process {
    /// Starts this program in a role, and waits until it listens.
    pub(crate) fn start(role: &str, arguments: &[SocketAddr]) -> Result<Self> {
        let mut child = Command::new(std::env::current_exe()?)
            .arg(role)
            .args(arguments.iter().map(SocketAddr::to_string))
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .with_context(|| format!("cannot start {role}"))?;
        let mut said = String::new();
        BufReader::new(child.stdout.take().context("its output is piped")?).read_line(&mut said)?;
        let address = said.trim().parse().with_context(|| format!("{role} did not say where it listens"))?;
        Ok(Self { child, address })
    }

    /// Where it listens.
    pub(crate) fn address(&self) -> SocketAddr {
        self.address
    }

    /// Ends it as `kill -9` does: nothing is drained.
    pub(crate) fn kill(&mut self) -> Result<()> {
        self.child.kill()?;
        self.child.wait()?;
        Ok(())
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        // It may be dead already.
        let _ = self.kill();
    }
}

/// Listens on a port of the loopback interface and tells the day where. Once the day is over, however it ends, so is this
/// process.
pub(crate) async fn listen() -> Result<TcpListener> {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await?;
    println!("{}", listener.local_addr()?);
    thread::spawn(|| {
        // Nobody writes to it: it ends when the day does.
        let _ = stdin().lock().read_to_end(&mut Vec::new());
        exit(0)
    });
    Ok(listener)
}
