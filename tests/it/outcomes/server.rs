//! The column of the server's answer.

use std::{future::pending, time::Duration};

use bytes::Bytes;
use http::{Request, Response, StatusCode};
use http_body_util::Full;
use moneta_resilience::{
    BoxError, Class, Registry,
    bulkhead::BulkheadLayer,
    event::Outcome,
    fault::Fault,
    golden::{self, Handle},
};
use tokio::time::timeout;
use tower::{Layer, Service, ServiceExt, service_fn};

use super::rig::Row;

const LIMIT: Duration = Duration::from_secs(2);
const SHORT: Duration = Duration::from_millis(50);

/// A handler with something to say: a status, or that it needs a dependency which is not there.
async fn handle(row: Row) -> Result<Response<Full<Bytes>>, BoxError> {
    let own =
        |status| Ok(Response::builder().status(status).header("x-own", "yes").body(Full::default()).unwrap());
    let ledger = || {
        let ledger = golden::client("ledger").timeout(LIMIT).attempt_timeout(SHORT).no_fallback();
        ledger.without_retry().registry(&Registry::new()).calls()
    };
    match row {
        Row::CallerFault => own(404),
        Row::Transient => own(503),
        Row::Throttled => own(429),
        Row::Fault => own(501),
        Row::Panicked => panic!("on purpose"),
        Row::AttemptTimeout => Ok(ledger().run(pending::<Result<_, BoxError>>).await?),
        Row::Open => {
            let ledger = ledger();
            ledger.handle().circuit_breaker().unwrap().force_open();
            Ok(ledger.run(pending::<Result<_, BoxError>>).await?)
        }
        Row::AttemptTimeoutAtTheEnd | Row::Cancelled => pending().await,
        _ => own(200),
    }
}

/// The answer to the row's call; `None` when its caller left. And the handle of the server.
async fn answer(row: Row) -> (Option<Response<String>>, Handle) {
    let places = match row {
        Row::Full => BulkheadLayer::new(1).max_queue(0),
        Row::FullAfterAWait => BulkheadLayer::new(1).max_wait(SHORT),
        Row::DeadlineInTheQueue => BulkheadLayer::new(1).max_wait(LIMIT),
        _ => BulkheadLayer::new(8),
    };
    let server = |name| {
        let server = golden::server(name).timeout(LIMIT).registry(&Registry::new());
        server.bulkhead_layer(places.clone()).layer()
    };
    let (driven, neighbour) = (server("driven"), server("neighbour"));
    let holds = matches!(row, Row::Full | Row::FullAfterAWait | Row::DeadlineInTheQueue);
    let holder = neighbour.layer(service_fn(|_: Request<()>| handle(Row::Cancelled)));
    let holder = holds.then(|| tokio::spawn(holder.oneshot(Request::new(()))));
    tokio::task::yield_now().await;
    if let Row::Injected(class) = row {
        driven.handle().faults().arm(Fault::error(class));
    }
    let request = match row {
        Row::DeadlineOnArrival => Request::builder().header("x-request-timeout-ms", "0"),
        Row::DeadlineInTheQueue => Request::builder().header("x-request-timeout-ms", "50"),
        _ => Request::builder(),
    };
    let mut service = driven.layer(service_fn(move |_: Request<()>| handle(row)));
    let call = service.ready().await.unwrap().call(request.body(()).unwrap());
    let answer = match row {
        Row::Cancelled => timeout(SHORT, call).await.ok(),
        _ => Some(call.await),
    };
    if let Some(holder) = holder {
        holder.abort();
    }
    (answer.map(|answer| answer.unwrap().map(|_| String::new())), driven.handle().clone())
}

#[tokio::test(start_paused = true)]
async fn the_column_of_the_servers_answer() {
    for row in Row::ALL {
        // The handler's own answers pass unchanged; ours are problems, and say when to come back where that helps.
        let (own, status, comes_back) = match row {
            Row::Success => (true, 200, false),
            Row::CallerFault => (true, 404, false),
            Row::Transient => (true, 503, false),
            Row::Throttled => (true, 429, false),
            Row::Fault => (true, 501, false),
            Row::Panicked => (false, 500, false),
            Row::AttemptTimeout | Row::AttemptTimeoutAtTheEnd => (false, 504, false),
            Row::Injected(Class::CallerFault) => (false, 400, false),
            Row::Injected(Class::Throttled { .. }) => (false, 429, false),
            Row::Injected(Class::Transient { .. }) => (false, 503, false),
            Row::Injected(_) => (false, 500, false),
            Row::Open | Row::Full | Row::FullAfterAWait => (false, 503, true),
            Row::DeadlineOnArrival | Row::DeadlineInTheQueue => (false, 504, false),
            Row::Cancelled => {
                assert!(answer(row).await.0.is_none());
                continue;
            }
        };
        let answer = answer(row).await.0.unwrap();
        assert_eq!(answer.status(), StatusCode::from_u16(status).unwrap(), "{row:?}");
        assert_eq!(answer.headers().contains_key("x-own"), own, "{row:?}");
        let problem =
            answer.headers().get("content-type").is_some_and(|kind| kind == "application/problem+json");
        assert_eq!(problem, !own, "{row:?}");
        assert_eq!(answer.headers().contains_key("retry-after"), comes_back, "{row:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn the_column_of_the_slo_on_a_server() {
    for row in Row::ALL {
        let outcome = match row.stands_for() {
            Row::Success => Outcome::Success,
            Row::CallerFault => Outcome::CallerFault,
            Row::Transient => Outcome::Transient,
            Row::Throttled => Outcome::Throttled,
            Row::Fault => Outcome::Fault,
            Row::Panicked => Outcome::Panicked,
            Row::AttemptTimeout
            | Row::AttemptTimeoutAtTheEnd
            | Row::DeadlineOnArrival
            | Row::DeadlineInTheQueue => Outcome::Timeout,
            Row::Open | Row::Full | Row::FullAfterAWait => Outcome::Rejected,
            Row::Cancelled => Outcome::Cancelled,
            Row::Injected(_) => unreachable!("it stands for another row"),
        };
        let (_, handle) = answer(row).await;
        for any in Outcome::ALL {
            assert_eq!(handle.counts().calls(any), u64::from(any == outcome), "{row:?}, {any:?}");
        }
        assert_eq!(outcome.is_good(), matches!(row.stands_for(), Row::Success | Row::CallerFault), "{row:?}");
    }
}
