//~ this golden path has no timeout
//~ add `.timeout(..)` before this call
//~ a caller that waits without a limit holds everything it has; no default is right for every dependency
use std::convert::Infallible;

use http::{Request, Response};
use moneta_resilience::golden;
use tower::service_fn;

async fn quote() -> Result<String, Box<dyn std::error::Error>> {
    let quotes = service_fn(async |_: Request<String>| Ok::<_, Infallible>(Response::new(String::new())));
    let client = golden::client("market-data").no_fallback().http(quotes);
    let answer = client.send(Request::new(String::new())).await?;
    Ok(answer.into_body())
}

fn main() {
    drop(quote());
}
