//~ the calls of this golden client need a word on fallback
//~ say `.no_fallback()` before this call
//~ calls answer with values of many types, so a fallback belongs to the single call: `run_or(call, fallback)`
use std::time::Duration;

use moneta_resilience::golden;

fn main() {
    let _ = golden::client("ledger").timeout(Duration::from_secs(1)).fallback(|_why| Ok(0)).calls();
}
