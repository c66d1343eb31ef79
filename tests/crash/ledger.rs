//! The service: one process of it is this binary once more.

use std::{
    io::{self, Read, Write},
    panic::resume_unwind,
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
        Claim, LeaseOver, Store, StoreError,
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

/// The longest that a step takes besides what the database takes.
const STEP: Duration = Duration::from_millis(40);
/// What is noted of a run.
pub(crate) const BEGUN: &str = "begun";
pub(crate) const FENCED: &str = "fenced";

/// How a payment is made, and what is promised of it.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) enum Way {
    /// In one transaction with the record of its key, and again until that is committed. It is made exactly once.
    OneTransaction,
    /// And then the record, by the rules that a layer has by default. It is made at most once; where nobody knows whether it was,
    /// somebody has to find out.
    OneStart,
    /// As before, but again when its process died. It is made at least once, so some are made twice.
    ManyStarts,
}

impl Way {
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::OneTransaction => "one-transaction",
            Self::OneStart => "one-start",
            Self::ManyStarts => "many-starts",
        }
    }

    fn of(name: &str) -> Self {
        let all = [Self::OneTransaction, Self::OneStart, Self::ManyStarts];
        all.into_iter().find(|way| way.name() == name).unwrap()
    }

    fn keys<St: Store>(self, store: St) -> IdempotencyLayer<St> {
        let keys = IdempotencyLayer::new(store).lease(LEASE);
        match self {
            Self::OneStart => keys,
            Self::OneTransaction | Self::ManyStarts => {
                keys.lease_over(LeaseOver::Reexecute).on_server_error(OnServerError::Reexecute)
            }
        }
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
    let layer = golden::server("ledger").timeout(LEASE).idempotency_layer(way.keys(books.store())).layer();
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
    match (write(books, *way, &claim, &payment).await, way) {
        (Ok(number), _) => Ok(receipt(number).map(Body::from)),
        // What went wrong was not committed, or was and is found.
        (Err(_), Way::OneTransaction | Way::ManyStarts) => Err(StatusCode::SERVICE_UNAVAILABLE),
        // Nobody knows. Without the words of a panic: none of this is a mistake.
        (Err(_), Way::OneStart) => resume_unwind(Box::new("in doubt")),
    }
}

/// The number under which the payment is in the books.
async fn write<B: Books>(books: &B, way: Way, claim: &Claim, payment: &str) -> Result<i64, BoxError> {
    // Not the same in a second run.
    let seed = claim.id().as_bytes().first_chunk().map(|chunk| u64::from_be_bytes(*chunk)).unwrap();
    let chance = Chance::new(seed ^ claim.fence().unsigned_abs());
    let work = async |longest| sleep(chance.up_to(longest)).await;
    books.note(claim, BEGUN).await?;
    work(STEP).await;
    let mut tx = books.begin().await?;
    let number = books.insert(&mut tx, payment, claim).await?;
    match way {
        Way::OneTransaction => {
            if chance.percent(10) {
                work(STEP).await;
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
                work(STEP).await;
            }
            books.commit(tx).await?;
        }
        Way::OneStart | Way::ManyStarts => {
            books.commit(tx).await?;
            // So that most of those that are hit have paid.
            work(STEP * 5).await;
        }
    }
    Ok(number)
}

/// No other payment has its number, nor has the same one when it is made again.
pub(crate) fn receipt(number: i64) -> Response<Bytes> {
    let receipt = Response::builder().status(StatusCode::CREATED).header(CONTENT_TYPE, "text/plain");
    receipt.body(Bytes::from(format!("payment {number}"))).unwrap()
}
