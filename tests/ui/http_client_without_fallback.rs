//~ this golden client has no fallback
//~ add `.fallback(..)`, or say `.no_fallback()`, before this call
//~ what a caller gets when the dependency is down is a decision, not an accident
use std::{convert::Infallible, time::Duration};

use http::{Request, Response};
use moneta_resilience::golden;
use tower::service_fn;

async fn quote() -> Result<String, Box<dyn std::error::Error>> {
    let quotes = service_fn(async |_: Request<String>| Ok::<_, Infallible>(Response::new(String::new())));
    let client = golden::client("market-data").timeout(Duration::from_millis(800)).http(quotes);
    let answer = client.send(Request::new(String::new())).await?;
    Ok(answer.into_body())
}

fn main() {
    drop(quote());
}
