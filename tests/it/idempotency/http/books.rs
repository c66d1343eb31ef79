//! A handler that pays and completes its claim in one transaction of a real database, behind the layer.

use std::sync::Arc;

use axum::{Extension, Router, body::Body, response::IntoResponse};
use http::{Response, StatusCode};
use moneta_resilience::{
    Name, Registry,
    event::IdempotencyResult,
    idempotency::{
        Claim, LeaseOver, StoreError,
        http::{IdempotencyLayer, KeptAnswer, OnServerError},
    },
};
use tokio::sync::Notify;

use super::{Runs, app, pay, send};
use crate::idempotency::stores::Bench;

/// A database with the records of keys, and a table of payments beside them.
pub(crate) trait Books: Bench<Store: Clone> + Send + Sync + 'static {
    /// Writes a payment and then the record of its answer. Commits both; or rolls back, if it is to, or the claim is lost.
    fn pay(
        &self,
        store: &Self::Store,
        claim: &Claim,
        answer: KeptAnswer,
        commits: bool,
    ) -> impl Future<Output = Result<(), StoreError>> + Send;

    async fn payments(&self) -> i64;
}

/// A test for each law.
macro_rules! laws_of_books {
    ($bench:expr) => {
        laws_of_books!($bench, [
            what_is_committed_is_there_once_and_is_replayed
            what_is_rolled_back_leaves_no_payment_and_the_answer_that_says_so
            what_is_rolled_back_is_run_again_where_that_was_said
            who_panics_in_a_transaction_leaves_no_payment_and_a_doubt
            who_lost_its_claim_is_rolled_back_and_gives_the_answer_of_who_has_it
        ]);
    };
    ($bench:expr, [$($law:ident)*]) => {
        $(
            #[tokio::test]
            async fn $law() {
                super::http::books::$law(std::sync::Arc::new($bench)).await;
            }
        )*
    };
}
pub(crate) use laws_of_books;

/// What the handler does.
#[derive(Clone)]
enum Course {
    Commits,
    /// It rolls back in its first run.
    RollsBack,
    Panics,
    /// Its first run stands still, says so, and goes on when it is told.
    StandsStill {
        still: Arc<Notify>,
        go_on: Arc<Notify>,
    },
}

type Layer<B> = IdempotencyLayer<<B as Bench>::Store>;

async fn paying<B: Books>(
    books: &Arc<B>,
    course: Course,
    rules: impl FnOnce(Layer<B>) -> Layer<B>,
) -> Router {
    let (store, books, runs) = (books.store().await, Arc::clone(books), Runs::default());
    app(rules(IdempotencyLayer::new(store.clone())), move |Extension(claim): Extension<Claim>| {
        let (store, books, course, run) = (store.clone(), Arc::clone(&books), course.clone(), runs.run());
        async move {
            if let (1, Course::StandsStill { still, go_on }) = (run, &course) {
                still.notify_one();
                go_on.notified().await;
            }
            let body = format!("payment {run}");
            let answer = Response::builder().status(201).body(body.clone().into()).unwrap();
            let commits = run > 1 || matches!(course, Course::Commits | Course::StandsStill { .. });
            let paid = books.pay(&store, &claim, KeptAnswer::of(&answer), commits).await;
            assert!(!matches!(course, Course::Panics), "a bug in the handler");
            match paid {
                Ok(()) if commits => answer.map(|_| Body::from(body)),
                _ => (StatusCode::INTERNAL_SERVER_ERROR, "rolled back").into_response(),
            }
        }
    })
}

pub(crate) async fn what_is_committed_is_there_once_and_is_replayed<B: Books>(books: Arc<B>) {
    let app = paying(&books, Course::Commits, |layer| layer.max_wait(B::LEASE)).await;
    let together = (0..8).map(|_| send(&app, pay("k1")));
    let (replayed, ran): (Vec<_>, Vec<_>) =
        futures::future::join_all(together).await.into_iter().partition(super::Answer::is_replay);
    assert_eq!(ran.len(), 1);
    ran[0].is(201, "payment 1");
    for answer in replayed {
        answer.replays(201, "payment 1");
    }
    send(&app, pay("k1")).await.replays(201, "payment 1");
    assert_eq!(books.payments().await, 1);
}

pub(crate) async fn what_is_rolled_back_leaves_no_payment_and_the_answer_that_says_so<B: Books>(
    books: Arc<B>,
) {
    let app = paying(&books, Course::RollsBack, |layer| layer).await;
    send(&app, pay("k1")).await.is(500, "rolled back");
    send(&app, pay("k1")).await.replays(500, "rolled back");
    assert_eq!(books.payments().await, 0);
}

pub(crate) async fn what_is_rolled_back_is_run_again_where_that_was_said<B: Books>(books: Arc<B>) {
    let again = |layer: Layer<B>| layer.on_server_error(OnServerError::Reexecute);
    let app = paying(&books, Course::RollsBack, again).await;
    send(&app, pay("k1")).await.is(500, "rolled back");
    assert_eq!(books.payments().await, 0);
    send(&app, pay("k1")).await.is(201, "payment 2");
    send(&app, pay("k1")).await.replays(201, "payment 2");
    assert_eq!(books.payments().await, 1);
}

pub(crate) async fn who_panics_in_a_transaction_leaves_no_payment_and_a_doubt<B: Books>(books: Arc<B>) {
    let app = paying(&books, Course::Panics, |layer| layer).await;
    assert_eq!(send(&app, pay("k1")).await.status, StatusCode::INTERNAL_SERVER_ERROR);
    send(&app, pay("k1")).await.is_problem(409, "outcome-unknown");
    assert_eq!(books.payments().await, 0);
}

pub(crate) async fn who_lost_its_claim_is_rolled_back_and_gives_the_answer_of_who_has_it<B: Books>(
    books: Arc<B>,
) {
    let (registry, name) = (Registry::new(), Name::new("payments").unwrap());
    let (still, go_on) = (Arc::new(Notify::new()), Arc::new(Notify::new()));
    let course = Course::StandsStill { still: Arc::clone(&still), go_on: Arc::clone(&go_on) };
    let rules = |layer: Layer<B>| layer.lease_over(LeaseOver::Reexecute).observer(registry.observer(&name));
    let app = paying(&books, course, rules).await;
    let taken_over = async {
        still.notified().await;
        books.pass(B::LEASE).await;
        let second = send(&app, pay("k1")).await;
        go_on.notify_one();
        second
    };
    let (first, second) = tokio::join!(send(&app, pay("k1")), taken_over);
    second.is(201, "payment 2");
    first.replays(201, "payment 2");
    assert_eq!(books.payments().await, 1);
    let counts = &registry.cells_by_name()[0].1;
    assert_eq!(counts.idempotency(IdempotencyResult::Executed), 1);
    assert_eq!(counts.idempotency(IdempotencyResult::Fenced), 1);
}
