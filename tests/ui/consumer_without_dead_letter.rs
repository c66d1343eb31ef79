//~ this golden consumer has no dead letter
//~ add `.dead_letter(..)` before this call
//~ a message that cannot be handled comes again for ever, or is lost; where it goes instead is a decision
use std::time::Duration;

use moneta_resilience::{BoxError, golden};
use tower::service_fn;

fn main() {
    let _ = golden::consumer::<String>("invoices")
        .timeout(Duration::from_secs(30))
        .service(service_fn(async |_: String| Ok::<_, BoxError>(())));
}
