//~ `Transfer` does not say whether it may be sent twice
//~ implement `Repeat` for your own request type; `again` returns `None` where sending twice would do harm
//~ or wrap the request: `Repeatable(request)` may be sent twice, `Once(request)` never
use std::time::Duration;

use moneta_resilience::{BoxError, golden};
use tower::service_fn;

struct Transfer;

async fn transfer() -> Result<(), Box<dyn std::error::Error>> {
    let bank = service_fn(async |_: Transfer| Ok::<_, BoxError>(()));
    let client = golden::client("bank").timeout(Duration::from_secs(1)).no_fallback().service(bank);
    client.send(Transfer).await?;
    Ok(())
}

fn main() {
    drop(transfer());
}
