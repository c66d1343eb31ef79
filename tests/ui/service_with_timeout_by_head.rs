//~ this golden client takes its timeout from the head of an HTTP request
//~ add `.timeout(..)` before this call, or finish with `.http(..)` or `.grpc(..)`
use std::time::Duration;

use moneta_resilience::{BoxError, Repeatable, golden};
use tower::service_fn;

fn main() {
    let service = service_fn(async |_: Repeatable<()>| Ok::<_, BoxError>(()));
    let _ = golden::client("ledger").timeout_by(|_| Duration::from_secs(1)).no_fallback().service(service);
}
