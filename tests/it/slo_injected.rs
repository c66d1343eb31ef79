//! Calls that a fault hook did something to, counted apart from the others.

use std::{convert::Infallible, io, time::Duration};

use http::{Request, Response, StatusCode};
use http_body_util::BodyExt;
use moneta_resilience::{
    BoxError, Class, Registry,
    fault::{Fault, Faults, Target},
    golden,
    hedge::HedgeLayer,
    retry::{Backoff, RetryLayer},
    slo::{ErrorBudget, Injected, Objective, Window},
};
use tokio::time::{advance, sleep};
use tower::{Layer, Service, service_fn};

const SECOND: Duration = Duration::from_secs(1);
const GOOD: (u64, u64) = (1, 0);
const BAD: (u64, u64) = (0, 1);
const NOTHING: (u64, u64) = (0, 0);

fn objective() -> Objective {
    Objective::new("login").target(99.9).within(2 * SECOND)
}

fn apart() -> ErrorBudget {
    ErrorBudget::new(objective().injected(Injected::Separate))
}

/// What counted, and what counted apart.
fn counts(budget: &ErrorBudget) -> [(u64, u64); 2] {
    [budget.counts(Window::Hour), budget.injected()]
}

fn client(budget: &ErrorBudget, faults: &Faults) -> golden::Calls {
    let retry = RetryLayer::new().attempts(2).backoff(Backoff::none());
    let builder =
        golden::client("slo").timeout(3 * SECOND).no_fallback().retry(retry).without_circuit_breaker();
    builder.faults(faults.clone()).registry(&Registry::new()).slo(budget.clone()).calls()
}

async fn fine() -> io::Result<u32> {
    Ok(7)
}

#[tokio::test(start_paused = true)]
async fn a_call_under_a_fault_counts_apart_by_what_became_of_it_and_the_others_do_not() {
    for (fault, expected) in [
        (Fault::error(Class::Fault), BAD),
        (Fault::refused(), BAD),
        (Fault::hang(), BAD),
        (Fault::lost_answer(), BAD),
        (Fault::latency(SECOND), GOOD),
        (Fault::latency(2 * SECOND + SECOND / 2), BAD),
        (Fault::error(Class::TRANSIENT).target(Target::Attempt(1)), GOOD),
    ] {
        let (budget, faults) = (apart(), Faults::new());
        let calls = client(&budget, &faults);
        faults.arm(fault.clone());
        _ = calls.run_repeatable(fine).await;
        assert_eq!(counts(&budget), [NOTHING, expected], "{fault:?}");
        // It is armed, and means others.
        faults.disarm();
        faults.arm(fault.target(Target::pipeline("another")));
        _ = calls.run_repeatable(fine).await;
        assert_eq!(counts(&budget), [GOOD, expected]);
    }
}

#[tokio::test(start_paused = true)]
async fn unless_it_is_said_a_call_under_a_fault_counts_like_any_other() {
    let (budget, faults) = (ErrorBudget::new(objective()), Faults::new());
    let calls = client(&budget, &faults);
    faults.arm(Fault::error(Class::Fault));
    calls.run(fine).await.unwrap_err();
    assert_eq!(counts(&budget), [BAD, NOTHING]);
}

#[tokio::test(start_paused = true)]
async fn what_counts_apart_burns_no_budget_and_raises_no_alert() {
    let (budget, faults) = (apart(), Faults::new());
    let calls = client(&budget, &faults);
    faults.arm(Fault::error(Class::Fault));
    for _ in 0..200 {
        calls.run(fine).await.unwrap_err();
    }
    advance(SECOND).await;
    assert_eq!((budget.remaining(), budget.alerts().count(), budget.injected()), (1.0, 0, (0, 200)));
}

#[tokio::test(start_paused = true)]
async fn a_caller_that_leaves_a_call_under_a_fault_counts_as_it_would_without() {
    let (budget, faults) = (apart(), Faults::new());
    let calls = client(&budget, &faults);
    faults.arm(Fault::hang());
    for (patience, expected) in [(SECOND, NOTHING), (2 * SECOND, BAD)] {
        tokio::time::timeout(patience, calls.run(fine)).await.unwrap_err();
        assert_eq!(counts(&budget), [NOTHING, expected]);
    }
}

#[tokio::test(start_paused = true)]
async fn a_fault_that_hits_a_hedge_alone_hits_its_call() {
    let (budget, faults) = (apart(), Faults::new());
    let builder = golden::client("slo").timeout(3 * SECOND).no_fallback().without_retry();
    let builder = builder.hedge(HedgeLayer::new().delay(SECOND)).faults(faults.clone());
    let client = builder.registry(&Registry::new()).slo(budget.clone()).service(service_fn(
        |request: moneta_resilience::Repeatable<()>| async move {
            sleep(SECOND * 3 / 2).await;
            Ok::<_, BoxError>(request)
        },
    ));
    faults.arm(Fault::error(Class::TRANSIENT).target(Target::Attempt(2)));
    client.send(moneta_resilience::Repeatable(())).await.unwrap();
    assert_eq!(counts(&budget), [NOTHING, GOOD]);
}

async fn handler<B>(_: Request<B>) -> Result<Response<String>, Infallible> {
    Ok(Response::new("text".to_owned()))
}

/// One request to a server, whose answer is read as far as it goes.
async fn ask<S, B>(server: &mut S) -> StatusCode
where
    S: Service<Request<String>, Response = Response<B>, Error = Infallible>,
    B: http_body::Body,
{
    let (head, body) =
        server.call(Request::get("/login").body(String::new()).unwrap()).await.unwrap().into_parts();
    drop(body.collect().await);
    head.status
}

#[tokio::test(start_paused = true)]
async fn a_server_counts_apart_whichever_hook_and_whatever_part_of_the_answer_it_was() {
    for at_ingress in [false, true] {
        for (fault, expected) in [
            (Fault::error(Class::TRANSIENT), BAD),
            (Fault::status(StatusCode::SERVICE_UNAVAILABLE), BAD),
            (Fault::status(StatusCode::NOT_FOUND), GOOD),
            (Fault::broken_body(1), BAD),
            (Fault::latency(SECOND), GOOD),
            (Fault::body_rate(1, SECOND), BAD),
        ] {
            let (all, login) = (apart(), apart());
            let builder = golden::server("slo").timeout(5 * SECOND).registry(&Registry::new());
            let layer = builder
                .route_of(|_| Some("/login"))
                .slo(all.clone())
                .route_slo("/login", login.clone())
                .layer();
            let handle = layer.handle().clone();
            let hook = if at_ingress { handle.ingress_faults().unwrap() } else { handle.faults() };
            hook.arm(fault.clone());
            let mut server = layer.layer(service_fn(handler::<_>));
            ask(&mut server).await;
            hook.disarm();
            ask(&mut server).await;
            let told = format!("{fault:?} at ingress: {at_ingress}");
            assert_eq!([counts(&all), counts(&login)], [[GOOD, expected]; 2], "{told}");
        }
    }
}

#[tokio::test(start_paused = true)]
async fn a_delivery_counts_apart_whichever_hook_it_was() {
    let budget = apart();
    let builder = golden::consumer("slo").timeout(5 * SECOND).registry(&Registry::new()).slo(budget.clone());
    let builder = builder.dead_letter(|_: &'static str, _| async { Ok::<_, BoxError>(()) });
    let worker = builder.service(service_fn(async |_| Ok::<_, BoxError>(())));
    for hook in [worker.handle().faults(), worker.handle().ingress_faults().unwrap()] {
        hook.arm(Fault::error(Class::TRANSIENT));
        _ = worker.deliver("a message").await;
        hook.disarm();
    }
    _ = worker.deliver("a message").await;
    assert_eq!(counts(&budget), [GOOD, (0, 2)]);
    worker.handle().ingress_faults().unwrap().arm(Fault::duplicate());
    _ = worker.deliver("a message").await;
    assert_eq!(counts(&budget), [GOOD, (1, 2)], "it came twice");
}

/// Whose fault it is that a server fails is another question than whether a fault was injected into it.
#[tokio::test(start_paused = true)]
async fn a_fault_in_a_client_of_its_handler_is_none_of_the_server() {
    let (inbound, outbound, faults) = (apart(), apart(), Faults::new());
    let calls = client(&outbound, &faults);
    faults.arm(Fault::error(Class::Fault));
    let builder = golden::server("slo").timeout(5 * SECOND).registry(&Registry::new()).slo(inbound.clone());
    let mut server = builder.layer().layer(service_fn(|_: Request<String>| {
        let calls = calls.clone();
        async move {
            let failed = calls.run(fine).await.is_err();
            Ok::<_, Infallible>(
                Response::builder().status(if failed { 500 } else { 200 }).body("text".to_owned()).unwrap(),
            )
        }
    }));
    assert_eq!(ask(&mut server).await, 500);
    assert_eq!([counts(&inbound), counts(&outbound)], [[BAD, NOTHING], [NOTHING, BAD]]);
}

#[cfg(feature = "idempotency")]
mod keyed {
    use moneta_resilience::idempotency::MemoryStore;

    use super::*;

    async fn broken<B>(_: Request<B>) -> Result<Response<String>, Infallible> {
        panic!("a bug")
    }

    /// The handler of a request with a key runs in a task of its own.
    #[tokio::test(start_paused = true)]
    async fn a_fault_in_the_task_of_a_keyed_handler_is_one_of_the_call_also_before_it_has_ended() {
        for (fault, expected) in [
            (Fault::latency(SECOND), GOOD),
            (Fault::status(StatusCode::NOT_FOUND), GOOD),
            (Fault::error(Class::TRANSIENT), BAD),
            (Fault::hang(), BAD),
        ] {
            let budget = apart();
            let builder = golden::server("slo").timeout(5 * SECOND).idempotency(MemoryStore::default());
            let layer = builder.registry(&Registry::new()).slo(budget.clone()).layer();
            layer.handle().faults().arm(fault.clone().on_delicate_calls());
            let mut server = layer.layer(service_fn(handler::<_>));
            let mut pay = async |key: &str| {
                let request = Request::post("/pay").header("idempotency-key", key).body(String::new());
                let answer = server.call(request.unwrap()).await.unwrap();
                drop(answer.into_body().collect().await);
            };
            pay("first").await;
            assert_eq!(counts(&budget), [NOTHING, expected], "{fault:?}");
            layer.handle().faults().disarm();
            pay("second").await;
            assert_eq!(counts(&budget), [GOOD, expected]);
            pay("second").await;
            assert_eq!(counts(&budget), [(2, 0), expected], "a replay is as good");
            layer.handle().ingress_faults().unwrap().arm(Fault::duplicate().on_delicate_calls());
            pay("third").await;
            assert_eq!(counts(&budget), [(2, 0), (expected.0 + 1, expected.1)], "it came twice");
        }
    }

    #[tokio::test(start_paused = true)]
    async fn a_caller_that_leaves_learns_of_the_fault_that_keeps_its_keyed_call() {
        let budget = apart();
        let builder = golden::server("slo").timeout(5 * SECOND).idempotency(MemoryStore::default());
        let layer = builder.registry(&Registry::new()).slo(budget.clone()).layer();
        layer.handle().faults().arm(Fault::hang().on_delicate_calls());
        let mut server = layer.layer(service_fn(handler::<_>));
        let request = Request::post("/pay").header("idempotency-key", "k").body(String::new()).unwrap();
        tokio::time::timeout(2 * SECOND, std::pin::pin!(server.call(request))).await.unwrap_err();
        assert_eq!(counts(&budget), [NOTHING, BAD]);
    }

    #[tokio::test(start_paused = true)]
    async fn a_keyed_handler_that_panics_after_a_fault_counts_apart() {
        let budget = apart();
        let builder = golden::server("slo").timeout(5 * SECOND).idempotency(MemoryStore::default());
        let layer = builder.registry(&Registry::new()).slo(budget.clone()).layer();
        layer.handle().faults().arm(Fault::latency(SECOND).on_delicate_calls());
        let mut server = layer.layer(service_fn(broken::<_>));
        let request = Request::post("/pay").header("idempotency-key", "k").body(String::new()).unwrap();
        let answer = server.call(request).await.unwrap();
        assert_eq!(answer.status(), StatusCode::INTERNAL_SERVER_ERROR);
        drop(answer.into_body().collect().await);
        assert_eq!(counts(&budget), [NOTHING, BAD]);
    }

    #[tokio::test(start_paused = true)]
    async fn a_fault_in_the_task_of_a_keyed_message_is_one_of_its_delivery() {
        let budget = apart();
        let builder = golden::consumer("slo").timeout(5 * SECOND).registry(&Registry::new());
        let builder = builder.dead_letter(|_: &'static str, _| async { Ok::<_, BoxError>(()) });
        let builder = builder.idempotency(MemoryStore::default(), |message: &&'static str| *message);
        let worker = builder.slo(budget.clone()).service(service_fn(async |_| Ok::<_, BoxError>(())));
        worker.handle().faults().arm(Fault::error(Class::TRANSIENT));
        _ = worker.deliver("a message").await;
        assert_eq!(counts(&budget), [NOTHING, BAD]);
        worker.handle().faults().disarm();
        _ = worker.deliver("another").await;
        assert_eq!(counts(&budget), [GOOD, BAD]);
        worker.handle().faults().arm(Fault::hang());
        let waited = tokio::time::timeout(2 * SECOND, worker.deliver("a third")).await;
        assert!(waited.is_err());
        assert_eq!(counts(&budget), [GOOD, (0, 2)]);
    }
}
