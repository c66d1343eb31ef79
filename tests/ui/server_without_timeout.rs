//~ this golden path has no timeout
//~ add `.timeout(..)` before this call
//~ a caller that waits without a limit holds everything it has; no default is right for every dependency
use moneta_resilience::golden;

fn main() {
    let _ = golden::server("payments").bulkhead(256).layer();
}
