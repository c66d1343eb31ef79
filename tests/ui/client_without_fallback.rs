//~ this golden client has no fallback
//~ add `.fallback(..)`, or say `.no_fallback()`, before this call
//~ what a caller gets when the dependency is down is a decision, not an accident
use std::time::Duration;

use moneta_resilience::{BoxError, Repeatable, golden};
use tower::service_fn;

async fn ask() -> Result<u32, Box<dyn std::error::Error>> {
    let echo = service_fn(async |Repeatable(n): Repeatable<u32>| Ok::<_, BoxError>(n));
    let client = golden::client("ledger").timeout(Duration::from_secs(1)).service(echo);
    let answer = client.send(Repeatable(7)).await?;
    Ok(answer)
}

fn main() {
    drop(ask());
}
