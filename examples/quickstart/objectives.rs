//! What the services promise: feature `slo`. `examples/slo.rs` writes what watches it.

use std::time::Duration;

use moneta_resilience::slo::{Injected, Objective};

/// Whoever wants a portfolio waits for half a second.
pub(crate) fn portfolio() -> Objective {
    Objective::new("portfolio").target(99.9).within(Duration::from_millis(500))
}

/// A quote that is not fresh is second best. What an experiment does to our side of it says nothing of the data.
pub(crate) fn market_data() -> Objective {
    let quotes = Objective::new("market-data").target(99.0).within(Duration::from_millis(250));
    quotes.injected(Injected::Separate)
}
