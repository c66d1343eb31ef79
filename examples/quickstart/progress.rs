//! What a person reads while it runs: a line a second, with a picture of how the callers fared.

use std::{net::SocketAddr, time::Duration};

use moneta_resilience::event::CircuitState;

use crate::{
    load::{SPACING, Seen},
    measure::{Call, Outcome},
    phases::{Phase, length},
};

/// How many marks a picture has, and which.
const WIDTH: usize = 16;
const FULL: &str = "=";
const DEGRADED: &str = "~";
const FAILED: &str = "x";

/// What is about to happen, and how to read it.
pub(crate) fn opening(market_data: SocketAddr, golden: SocketAddr, bare: SocketAddr) -> String {
    let a_second = Duration::from_secs(1).as_millis() / SPACING.as_millis();
    format!(
        "market-data is on {market_data}. A service that asks it for quotes runs twice:\n\
         on the golden path ({golden}) and with a bare client ({bare}).\n\
         What Prometheus would read of the first is on http://{golden}/metrics.\n\
         Each gets {a_second} calls a second, for {} s. Below, how those of each second ended:\n\
         \n  \
         {FULL} full  a full answer, from a fresh quote\n  \
         {DEGRADED} degr  a degraded one, from an old quote, that says so\n  \
         {FAILED} fail  an error, or no answer before the caller hung up",
        length().as_secs(),
    )
}

/// A new phase begins.
pub(crate) fn heading(phase: &Phase) -> String {
    format!(
        "{}: {}\n        {:WIDTH$} full degr fail breaker    | {:WIDTH$} full fail",
        phase.name, phase.story, "golden path", "bare client"
    )
}

/// The second that just ended.
pub(crate) fn line(second: Duration, seen: &Seen, circuit: CircuitState) -> String {
    let ended = second.saturating_sub(Duration::from_secs(1))..second;
    let count = |calls: &[Call]| {
        [Outcome::Full, Outcome::Degraded, Outcome::Failed].map(|outcome| {
            calls.iter().filter(|call| ended.contains(&call.ended) && call.outcome == outcome).count()
        })
    };
    let (golden, bare) = (count(&seen.golden), count(&seen.bare));
    let [full, degraded, failed] = golden;
    let [bare_full, _, bare_failed] = bare;
    format!(
        "{:4} s  {} {full:4} {degraded:4} {failed:4} {:10} | {} {bare_full:4} {bare_failed:4}",
        second.as_secs(),
        bar(golden),
        circuit.as_str(),
        bar(bare)
    )
}

/// Full, degraded and failed calls as a picture, rounded towards the worse.
fn bar([full, degraded, failed]: [usize; 3]) -> String {
    let all = (full + degraded + failed).max(1);
    let marks = |calls: usize| (calls * WIDTH).div_ceil(all);
    let failed = marks(failed);
    let degraded = marks(degraded).min(WIDTH - failed);
    let full = marks(full).min(WIDTH - failed - degraded);
    let picture = FULL.repeat(full) + &DEGRADED.repeat(degraded) + &FAILED.repeat(failed);
    format!("{picture:WIDTH$}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_single_failure_is_seen() {
        assert_eq!(bar([200, 0, 0]), "================");
        assert_eq!(bar([199, 0, 1]), "===============x");
        assert_eq!(bar([0, 199, 1]), "~~~~~~~~~~~~~~~x");
        assert_eq!(bar([100, 50, 50]), "========~~~~xxxx");
        assert_eq!(bar([1, 1, 198]), "xxxxxxxxxxxxxxxx");
        assert_eq!(bar([0, 0, 0]), " ".repeat(WIDTH));
    }
}
