//~ this golden client has no fallback
//~ add `.fallback(..)`, or say `.no_fallback()`, before this call
use std::time::Duration;

use moneta_resilience::{Repeatable, golden};
use tower::service_fn;

fn main() {
    let quotes = service_fn(async |_: Repeatable<()>| Ok::<u32, std::io::Error>(7));
    let builder = golden::client("market-data").timeout(Duration::from_millis(800));
    let _ = builder.fallback_when(|end| end.response() == Some(&0)).fallback(|_why| Ok(1)).service(quotes);
}
