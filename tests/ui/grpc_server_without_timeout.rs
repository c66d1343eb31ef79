//~ this golden path has no timeout
//~ add `.timeout(..)` before this call
use moneta_resilience::golden;

fn main() {
    drop(golden::server("quotes").grpc_layer());
}
