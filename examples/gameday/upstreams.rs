//! What the desk depends on: the prices of somebody else, and its own database.

use std::time::Duration;

use anyhow::Result;
use axum::{Router, routing::get};
use moneta_resilience::golden;
use tokio::{
    io::{AsyncBufReadExt, AsyncWriteExt, BufReader},
    net::TcpStream,
    time::sleep,
};

use crate::process::listen;

/// How long a price or a balance takes.
const WORK: Duration = Duration::from_millis(2);

/// Market data: `GET /price` is the price of a share in cents.
pub(crate) async fn market() -> Result<()> {
    let golden = golden::server("market-data").timeout(Duration::from_secs(2)).layer();
    let price = async || {
        sleep(WORK).await;
        "10125"
    };
    let app = Router::new().route("/price", get(price)).layer(golden);
    Ok(axum::serve(listen().await?, app).await?)
}

/// The database: a line with the name of an account is answered with a line that says how many shares it holds.
pub(crate) async fn ledger() -> Result<()> {
    let listener = listen().await?;
    loop {
        let (connection, _) = listener.accept().await?;
        // A connection that breaks is its client's affair.
        tokio::spawn(async move { answer(connection).await.ok() });
    }
}

async fn answer(connection: TcpStream) -> Result<()> {
    let mut connection = BufReader::new(connection);
    let mut account = String::new();
    while connection.read_line(&mut account).await? > 0 {
        sleep(WORK).await;
        connection.write_all(format!("{}\n", 10 + account.trim().len()).as_bytes()).await?;
        account.clear();
    }
    Ok(())
}
