//~ this golden path has no timeout
//~ add `.timeout(..)` before this call
//~ the calls of this golden client need a word on fallback
//~ say `.no_fallback()` before this call
use std::io;

use moneta_resilience::golden;

async fn balance() -> Result<i64, Box<dyn std::error::Error>> {
    let ledger = golden::client("ledger").calls();
    let balance = ledger.run(|| async { Ok::<_, io::Error>(42) }).await?;
    Ok(balance)
}

fn main() {
    drop(balance());
}
