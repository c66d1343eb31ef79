//~ this golden client has no fallback
//~ add `.fallback(..)`, or say `.no_fallback()`, before this call
//~ what a caller gets when the dependency is down is a decision, not an accident
use std::time::Duration;

use moneta_resilience::golden;
use tonic::transport::Channel;

fn main() {
    let channel = Channel::from_static("http://[::1]:50051").connect_lazy();
    let quotes = golden::client("quotes").timeout(Duration::from_millis(800)).grpc(channel);
    drop(quotes.repeatable_methods(["/market.Quotes/Get"]));
}
