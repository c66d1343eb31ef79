//~ this golden path has no timeout
//~ add `.timeout(..)` before this call
//~ a caller that waits without a limit holds everything it has; no default is right for every dependency
use moneta_resilience::{BoxError, Repeatable, golden};
use tower::service_fn;

fn main() {
    let echo = service_fn(async |Repeatable(n): Repeatable<u32>| Ok::<_, BoxError>(n));
    let _ = golden::client("ledger").no_fallback().service(echo);
}
