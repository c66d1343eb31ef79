//! A gRPC service and its client on the golden path: a template for both.
//!
//! ```sh
//! cargo run --features grpc --example grpc
//! ```
//!
//! What is to be copied is `serve` and the beginning of `main`; the rest shows what they are good for. It exits with an error
//! when something does not happen as it says.

#![expect(clippy::print_stdout, reason = "a person reads along")]

mod quotes;

use std::{
    future::pending,
    net::SocketAddr,
    sync::atomic::{AtomicBool, Ordering},
    time::Duration,
};

use anyhow::ensure;
use futures::stream::{self, BoxStream, StreamExt as _};
use moneta_resilience::{
    event::{BreakerResult, Outcome},
    golden, grpc,
};
use quotes::{GET, Quotes, QuotesClient, QuotesServer, WATCH};
use tokio::net::TcpListener;
use tonic::{
    Status,
    transport::{Endpoint, Server, server::TcpIncoming},
};

/// Where the quotes come from. It has to be asked twice, at first.
#[derive(Debug, Default)]
struct Market {
    open: AtomicBool,
}

impl Quotes for Market {
    async fn get(&self, pair: String) -> Result<String, Status> {
        if !self.open.swap(true, Ordering::Relaxed) {
            return Err(Status::unavailable("the market opens"));
        }
        match pair.as_str() {
            "EUR/CHF" => Ok("0.9312".to_owned()),
            "XAU/CHF" => pending().await,
            _ => Err(Status::not_found("no such pair")),
        }
    }

    fn watch(&self, _pair: String) -> BoxStream<'static, Result<String, Status>> {
        stream::iter(["0.9312", "0.9313", "0.9311"].map(|quote| Ok(quote.to_owned()))).boxed()
    }
}

/// The service. Health checks and reflection go in front of the layer, into a server of their own.
async fn serve(market: Market) -> anyhow::Result<SocketAddr> {
    let listener = TcpListener::bind("127.0.0.1:0").await?;
    let address = listener.local_addr()?;
    let golden = golden::server("market").timeout(Duration::from_secs(2)).bulkhead(256).grpc_layer();
    let server = Server::builder().layer(golden).add_service(QuotesServer::new(market));
    tokio::spawn(server.serve_with_incoming(TcpIncoming::from(listener)));
    Ok(address)
}

#[tokio::main(flavor = "current_thread")]
async fn main() -> anyhow::Result<()> {
    // The client. Its channel connects when it is first used.
    let address = serve(Market::default()).await?;
    let channel = Endpoint::from_shared(format!("http://{address}"))?.connect_lazy();
    let quotes = golden::client("quotes")
        .timeout(Duration::from_millis(500))
        .fallback(|_why| Ok(grpc::reply("0.9300, as of yesterday")))
        .grpc(channel)
        .repeatable_methods([GET])
        .streaming_methods([WATCH]);
    let handle = quotes.handle().clone();
    let mut quotes = QuotesClient::new(quotes);

    let quote = quotes.get("EUR/CHF").await?;
    println!("EUR/CHF {quote}, at the second attempt: the market was about to open");
    ensure!(quote == "0.9312" && handle.counts().retry_attempts() == 1);

    let missing = quotes.get("CHF/CHF").await.expect_err("there is no such pair");
    println!("CHF/CHF {:?}: the caller's fault, so neither retry nor fallback", missing.code());
    ensure!(handle.counts().calls(Outcome::CallerFault) == 1);

    let quote = quotes.get("XAU/CHF").await?;
    println!("XAU/CHF {quote}: the market hangs, and the fallback answered within half a second");
    ensure!(quote.ends_with("yesterday") && handle.counts().breaker(BreakerResult::Failure) == 2);

    let prices: Vec<_> = quotes.watch("EUR/CHF").await?.collect().await;
    println!("EUR/CHF {prices:?}: a stream, which is no call that has to end by the timeout");
    ensure!(prices.len() == 3);

    handle.circuit_breaker().expect("it is on by default").force_open();
    let quote = quotes.get("EUR/CHF").await?;
    println!("EUR/CHF {quote}: the circuit was opened by hand, and nobody was asked");
    ensure!(quote.ends_with("yesterday") && handle.counts().breaker(BreakerResult::Rejected) == 1);
    Ok(())
}
