//~ this golden path has no timeout
//~ add `.timeout(..)` before this call
//~ a caller that waits without a limit holds everything it has; no default is right for every dependency
use moneta_resilience::golden::{self, GrpcClient};
use tonic::transport::Channel;

fn quotes(channel: Channel) -> GrpcClient<moneta_resilience::fallback::NoFallback, Channel> {
    golden::client("quotes").no_fallback().grpc(channel).repeatable_methods(["/market.Quotes/Get"])
}

fn main() {
    drop(quotes(Channel::from_static("http://[::1]:50051").connect_lazy()));
}
