//! What a call costs through moneta-resilience, and what the same work costs through its peers.
//!
//! `run.sh` beside this package prints the table; `docs/performance.md` of the crate says how to read it.

pub mod clock;
pub mod contestants;
mod floor;
pub mod pages;
pub mod scenario;
pub mod work;

use moneta_resilience::Telemetry;

/// Metrics as a service has them: the SDK records, and somebody may scrape. Comes before the contestants.
pub fn telemetry() -> Telemetry {
    Telemetry::init("peers").expect("nobody else set it up")
}
