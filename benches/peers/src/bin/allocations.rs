//! What a call of each contestant allocates: a line each of name, number and bytes.
//!
//! A program of its own, because counting takes time, which would be added to that of whoever allocates.

use std::io::{self, Write};

use moneta_resilience_peers::{clock::runtime, contestants, telemetry};

const CALLS: u64 = 1_000;

fn main() -> io::Result<()> {
    let _telemetry = telemetry();
    let _inside = runtime().enter();
    for scenario in contestants::named("") {
        let mut calls = scenario.caller();
        // What is made once, by a first call, is no cost of a call.
        calls(CALLS);
        let counted = allocation_counter::measure(|| _ = calls(CALLS));
        #[expect(clippy::cast_precision_loss, reason = "thousands")]
        let of_a_call = |counted: u64| counted as f64 / CALLS as f64;
        let (count, bytes) = (of_a_call(counted.count_total), of_a_call(counted.bytes_total));
        writeln!(io::stdout(), "{}\t{count:.2}\t{bytes:.0}", scenario.name())?;
    }
    Ok(())
}
