//! The service: one process of it is this binary once more.

use std::{
    io::{self, Read, Write},
    sync::Arc,
    thread,
    time::Duration,
};

use axum::{Extension, Router, body::Body, extract::State, response::IntoResponse, routing::post};
use bytes::Bytes;
use http::{Response, StatusCode, header::CONTENT_TYPE};
use moneta_resilience::{
    golden,
    idempotency::{
        Claim, LeaseOver, StoreError,
        http::{IdempotencyLayer, KeptAnswer, OnServerError},
    },
};
use tokio::{net::TcpListener, time::sleep};
use tower::BoxError;

use crate::{
    LEASE,
    books::{Books, File, Server},
    chance::Chance,
};

/// Where this stands first, the binary is a ledger.
pub(crate) const ARGUMENT: &str = "--ledger";
/// What a process says when it takes connections, before its port.
pub(crate) const LISTENS: &str = "listens on ";

/// What is noted of a run.
pub(crate) const BEGUN: &str = "begun";
pub(crate) const FENCED: &str = "fenced";

/// How a payment is made.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) enum Way {
    /// In one transaction with the record of its key.
    OneTransaction,
    /// And then the record, by the layer.
    TwoSteps,
}

impl Way {
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::OneTransaction => "one-transaction",
            Self::TwoSteps => "two-steps",
        }
    }

    fn of(name: &str) -> Self {
        [Self::OneTransaction, Self::TwoSteps].into_iter().find(|way| way.name() == name).unwrap()
    }
}

/// Runs until it is killed, or nobody holds its standard input any more.
pub(crate) async fn run(args: &[String]) {
    let [database, place, way] = args else { panic!("{args:?}") };
    thread::spawn(|| {
        _ = io::stdin().read_to_end(&mut Vec::new());
        std::process::exit(0);
    });
    match database.as_str() {
        Server::NAME => serve(Server::at(place).await, Way::of(way)).await,
        File::NAME => serve(File::at(place).await, Way::of(way)).await,
        other => panic!("{other}"),
    }
}

async fn serve<B: Books>(books: B, way: Way) {
    let keys = IdempotencyLayer::new(books.store())
        .lease(LEASE)
        // What is not committed has not happened, and is done again. So says the ledger that pays twice, too, and is wrong.
        .lease_over(LeaseOver::Reexecute)
        .on_server_error(OnServerError::Reexecute);
    let layer = golden::server("ledger").timeout(LEASE).idempotency_layer(keys).layer();
    let app =
        Router::new().route("/payments", post(pay::<B>)).layer(layer).with_state(Arc::new((books, way)));
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let mut out = io::stdout();
    writeln!(out, "{LISTENS}{}", listener.local_addr().unwrap().port()).unwrap();
    out.flush().unwrap();
    axum::serve(listener, app).await.unwrap();
}

async fn pay<B: Books>(
    State(ledger): State<Arc<(B, Way)>>,
    Extension(claim): Extension<Claim>,
    payment: String,
) -> Result<impl IntoResponse, StatusCode> {
    let (books, way) = &*ledger;
    let number = write(books, *way, &claim, &payment).await;
    // What went wrong is not committed, or was committed and not heard of.
    number.map(|number| receipt(number).map(Body::from)).map_err(|_| StatusCode::SERVICE_UNAVAILABLE)
}

/// The number under which the payment is in the books.
async fn write<B: Books>(books: &B, way: Way, claim: &Claim, payment: &str) -> Result<i64, BoxError> {
    // Not the same in a second run.
    let seed = claim.id().as_bytes().first_chunk().map(|chunk| u64::from_be_bytes(*chunk)).unwrap();
    let chance = Chance::new(seed ^ claim.fence().unsigned_abs());
    let work = async || sleep(chance.up_to(Duration::from_millis(40))).await;
    books.note(claim, BEGUN).await?;
    work().await;
    let mut tx = books.begin().await?;
    let number = books.insert(&mut tx, payment, claim).await?;
    match way {
        Way::OneTransaction => {
            if chance.percent(10) {
                work().await;
            }
            let completed = books.complete(&mut tx, claim, KeptAnswer::of(&receipt(number))).await;
            if let Err(error) = completed {
                drop(tx);
                if matches!(error, StoreError::Fenced) {
                    books.note(claim, FENCED).await?;
                }
                return Err(error.into());
            }
            if chance.percent(10) {
                work().await;
            }
            books.commit(tx).await?;
        }
        Way::TwoSteps => {
            books.commit(tx).await?;
            work().await;
        }
    }
    Ok(number)
}

/// No other payment has its number, nor has the same one when it is made again.
pub(crate) fn receipt(number: i64) -> Response<Bytes> {
    let receipt = Response::builder().status(StatusCode::CREATED).header(CONTENT_TYPE, "text/plain");
    receipt.body(Bytes::from(format!("payment {number}"))).unwrap()
}
