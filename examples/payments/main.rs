//! A payment service that pays once, however often it is asked, and a client that asks as it should: a template for both.
//!
//! ```sh
//! cargo run --features sqlite,postgres,redis --example payments
//! cargo run --features sqlite,postgres,redis --example payments -- --postgres postgres://localhost/payments
//! cargo run --features sqlite,postgres,redis --example payments -- --redis redis://localhost
//! ```
//!
//! What is to be copied is `service.rs`, the one of `books/` that is yours, and `client.rs`; `day.rs` shows what they are good for: a
//! double click, an answer that comes too late, a caller that went away, a key that is used for something else. At the end stands
//! what was paid. It takes some seconds, and exits with 1 when a payment was made twice, or not at all.
//!
//! With `SQLite` (a file of its own, which goes with it) and Postgres a payment and the record of its key are committed in one
//! transaction. With Redis the keys are there and the payments in `SQLite`: see `books/beside.rs` for what makes up for it.

#![expect(clippy::print_stdout, reason = "a person reads along")]

mod books;
mod client;
mod day;
mod payment;
mod service;
mod verdict;

use std::{
    env, fs,
    path::{Path, PathBuf},
    process::ExitCode,
};

use anyhow::{Result, bail};
use moneta_resilience::idempotency::Owner;
use tokio::{net::TcpListener, sync::oneshot};

use crate::books::{Books, beside::BesideBooks, postgres::PostgresBooks, sqlite::SqliteBooks};

#[tokio::main]
async fn main() -> Result<ExitCode> {
    let arguments: Vec<_> = env::args().skip(1).collect();
    let arguments: Vec<_> = arguments.iter().map(String::as_str).collect();
    let file = TemporaryFile::new();
    match arguments[..] {
        [] => {
            run("payments and keys in SQLite, in one transaction", SqliteBooks::open(file.path()).await?)
                .await
        }
        ["--postgres", url] => {
            run("payments and keys in Postgres, in one transaction", PostgresBooks::connect(url).await?).await
        }
        ["--redis", url] => {
            run("payments in SQLite, keys in Redis", BesideBooks::open(file.path(), url).await?).await
        }
        _ => bail!("usage: payments [--postgres URL | --redis URL]"),
    }
}

async fn run<B: Books>(title: &str, books: B) -> Result<ExitCode> {
    let listener = TcpListener::bind("127.0.0.1:0").await?;
    let address = listener.local_addr()?;
    println!("http://{address}: {title}");

    let (app, handle) = service::app(books.clone());
    let (stop, stopped) = oneshot::channel::<()>();
    let stopped = async { _ = stopped.await };
    let service = tokio::spawn(service::serve(listener, app, handle.clone(), books.clone(), stopped));
    let invoices = day::spend(address, &handle).await?;
    drop(stop);
    service.await??;

    let verdict = verdict::of(&invoices, books.paid().await?);
    println!("\n{verdict}");
    Ok(if verdict.is_good() { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

/// A name for a database that nobody else has, which is removed in the end.
struct TemporaryFile(PathBuf);

impl TemporaryFile {
    fn new() -> Self {
        Self(env::temp_dir().join(format!("payments-{:032x}.db", Owner::random().as_u128())))
    }

    fn path(&self) -> &Path {
        &self.0
    }
}

impl Drop for TemporaryFile {
    fn drop(&mut self) {
        for end in ["", "-wal", "-shm"] {
            _ = fs::remove_file(format!("{}{end}", self.0.display()));
        }
    }
}
