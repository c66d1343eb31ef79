//~ this golden path has no timeout
//~ add `.timeout(..)` before this call
use moneta_resilience::{BoxError, golden};
use tower::service_fn;

fn main() {
    let _ = golden::consumer("invoices")
        .dead_letter(async |_: String, _| Ok::<_, BoxError>(()))
        .service(service_fn(async |_: String| Ok::<_, BoxError>(())));
}
