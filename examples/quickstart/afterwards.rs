//! What happens when the day is over.

use std::{env, future::pending, net::SocketAddr, time::Duration};

use anyhow::{Context, Result, bail};
use tokio::{select, signal, time::sleep};

/// Whether the services go on after the day.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Afterwards {
    End,
    ServeOn,
    ServeFor(Duration),
}

impl Afterwards {
    /// What the command line asks for.
    pub(crate) fn asked() -> Result<Self> {
        Self::read(&env::args().skip(1).collect::<Vec<_>>())
    }

    fn read(arguments: &[impl AsRef<str>]) -> Result<Self> {
        let arguments: Vec<_> = arguments.iter().map(AsRef::as_ref).collect();
        match arguments[..] {
            [] => Ok(Self::End),
            ["--serve"] => Ok(Self::ServeOn),
            ["--serve-for", seconds] => {
                let seconds =
                    seconds.parse().with_context(|| format!("`{seconds}` is no number of seconds"))?;
                Ok(Self::ServeFor(Duration::from_secs(seconds)))
            }
            _ => bail!("usage: quickstart [--serve | --serve-for SECONDS]"),
        }
    }

    /// What a person can do while they go on.
    pub(crate) fn notice(self, market_data: SocketAddr, golden: SocketAddr, bare: SocketAddr) -> String {
        let until = match self {
            Self::End => "not at all".to_owned(),
            Self::ServeOn => "until Ctrl-C or SIGTERM".to_owned(),
            Self::ServeFor(time) => format!("for {} s, or until Ctrl-C or SIGTERM", time.as_secs()),
        };
        format!(
            "The services go on, {until}:\n  \
             http://{golden}/portfolio    on the golden path\n  \
             http://{golden}/metrics      what Prometheus would read of it\n  \
             http://{bare}/portfolio    with a bare client\n  \
             http://{market_data}/quote        market-data"
        )
    }

    /// Waits until it is time to stop, or somebody says so: with Ctrl-C or a SIGTERM.
    pub(crate) async fn wait(self) -> Result<()> {
        let over = async {
            match self {
                Self::End => {}
                Self::ServeOn => pending().await,
                Self::ServeFor(time) => sleep(time).await,
            }
        };
        select! {
            biased;
            () = over => Ok(()),
            pressed = signal::ctrl_c() => Ok(pressed?),
            told = terminated() => told,
        }
    }
}

#[cfg(unix)]
async fn terminated() -> Result<()> {
    signal::unix::signal(signal::unix::SignalKind::terminate())?.recv().await;
    Ok(())
}

#[cfg(not(unix))]
async fn terminated() -> Result<()> {
    pending().await
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(arguments: &[&str]) -> Option<Afterwards> {
        Afterwards::read(arguments).ok()
    }

    #[test]
    fn what_is_not_understood_is_not_ignored() {
        assert_eq!(read(&[]), Some(Afterwards::End));
        assert_eq!(read(&["--serve"]), Some(Afterwards::ServeOn));
        assert_eq!(read(&["--serve-for", "90"]), Some(Afterwards::ServeFor(Duration::from_secs(90))));
        let wrong: [&[&str]; 5] = [
            &["serve"],
            &["--serve", "90"],
            &["--serve-for"],
            &["--serve-for", "ever"],
            &["--serve-for", "-1"],
        ];
        assert_eq!(wrong.map(read), [None; 5]);
    }
}
