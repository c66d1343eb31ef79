//~ `ByStatus` cannot classify a response of type `u32`
//~ a classifier is `ByError`, `ByStatus` (for `http::Response`), or a closure `|result: Result<&Response, &BoxError>| -> Class`
use std::time::Duration;

use moneta_resilience::{BoxError, Repeatable, classify::ByStatus, golden};
use tower::service_fn;

async fn ask() -> Result<u32, Box<dyn std::error::Error>> {
    let echo = service_fn(async |Repeatable(n): Repeatable<u32>| Ok::<_, BoxError>(n));
    let ledger = golden::client("ledger").timeout(Duration::from_secs(1)).no_fallback();
    let answer = ledger.classify(ByStatus).service(echo).send(Repeatable(7)).await?;
    Ok(answer)
}

fn main() {
    drop(ask());
}
