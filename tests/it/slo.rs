//! What counts for an objective, and as what, on servers and clients of the golden path.

use std::{
    convert::Infallible,
    future::pending,
    io,
    sync::Arc,
    time::{Duration, SystemTime},
};

use futures::FutureExt;
use http::{Request, Response, StatusCode};
use http_body_util::BodyExt;
use moneta_resilience::{
    BoxError, CallError, Class, Name, Registry, Repeatable,
    circuit_breaker::CircuitBreakerLayer,
    classify,
    event::Event,
    fault::{Fault, Faults},
    golden,
    record::Tape,
    slo::{Due, ErrorBudget, Objective, Severity, Window},
    synthetic,
};
use tokio::time::{advance, sleep, timeout};
use tower::{Layer, Service, service_fn};

const SECOND: Duration = Duration::from_secs(1);
const GOOD: (u64, u64) = (1, 0);
const BAD: (u64, u64) = (0, 1);
const NOTHING: (u64, u64) = (0, 0);

fn login() -> ErrorBudget {
    ErrorBudget::new(Objective::new("login").target(99.9).within(2 * SECOND))
}

/// Answers by the path: `/200/1500` is a 200 after 1500 ms; `/panic` panics.
async fn handler(request: Request<String>) -> Result<Response<String>, Infallible> {
    let mut parts = request.uri().path().trim_start_matches('/').split('/');
    let status = parts.next().unwrap();
    assert_ne!(status, "panic", "as asked");
    sleep(Duration::from_millis(parts.next().map_or(0, |millis| millis.parse().unwrap()))).await;
    Ok(Response::builder().status(status).body("text".to_owned()).unwrap())
}

fn to(path: &str) -> Request<String> {
    Request::builder().uri(path).body(String::new()).unwrap()
}

/// A call ends with the body of its answer, which is read to its end.
async fn read<B>(answer: Result<Response<B>, Infallible>) -> StatusCode
where
    B: http_body::Body<Error: std::fmt::Debug>,
{
    let (head, body) = answer.unwrap().into_parts();
    body.collect().await.unwrap();
    head.status
}

/// What a request to a server counts as, whose limit is 5 s and whose objective 2 s.
async fn served(path: &str) -> (u64, u64) {
    let budget = login();
    let builder = golden::server("slo").timeout(5 * SECOND).registry(&Registry::new()).slo(budget.clone());
    let mut server = builder.layer().layer(service_fn(handler));
    let call = async { read(server.call(to(path)).await).await };
    _ = std::panic::AssertUnwindSafe(call).catch_unwind().await;
    budget.counts(Window::Hour)
}

#[tokio::test(start_paused = true)]
async fn a_server_counts_by_the_table() {
    for path in ["/200", "/200/2000", "/301", "/400", "/404", "/408", "/425", "/499/1999"] {
        assert_eq!(served(path).await, GOOD, "{path}");
    }
    for path in ["/500", "/501", "/503", "/429", "/200/2001", "/404/2001", "/200/60000", "/panic"] {
        assert_eq!(served(path).await, BAD, "{path}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_caller_that_goes_away_counts_once_it_has_waited_for_as_long_as_the_objective_grants() {
    for (patience, counts) in [(SECOND, NOTHING), (2 * SECOND, BAD), (3 * SECOND, BAD)] {
        let budget = login();
        let builder =
            golden::server("slo").timeout(5 * SECOND).registry(&Registry::new()).slo(budget.clone());
        let mut server = builder.layer().layer(service_fn(handler));
        timeout(patience, server.call(to("/200/4000"))).await.unwrap_err();
        assert_eq!(budget.counts(Window::Hour), counts, "{patience:?}");
    }
    // Without a limit there is none that it could have waited for.
    let budget = ErrorBudget::new(Objective::new("login"));
    let builder = golden::server("slo").timeout(5 * SECOND).registry(&Registry::new()).slo(budget.clone());
    timeout(4 * SECOND, builder.layer().layer(service_fn(handler)).call(to("/200/4500"))).await.unwrap_err();
    assert_eq!(budget.counts(Window::Hour), NOTHING);
}

#[tokio::test(start_paused = true)]
async fn refusals_are_bad_and_so_are_injected_faults() {
    let (budget, faults) = (login(), Faults::new());
    let builder = golden::server("slo").timeout(5 * SECOND).bulkhead(1).faults(faults.clone());
    let layer = builder.registry(&Registry::new()).slo(budget.clone()).layer();
    let mut server = layer.layer(service_fn(handler));
    let running = tokio::spawn(server.call(to("/200/1000")));
    tokio::task::yield_now().await;
    assert_eq!(read(server.call(to("/200")).await).await, StatusCode::SERVICE_UNAVAILABLE);
    assert_eq!(budget.counts(Window::Hour), BAD);
    read(running.await.unwrap()).await;
    assert_eq!(budget.counts(Window::Hour), (1, 1));
    faults.arm(Fault::error(Class::TRANSIENT));
    read(server.call(to("/200")).await).await;
    assert_eq!(budget.counts(Window::Hour), (1, 2));
}

#[tokio::test(start_paused = true)]
async fn an_objective_of_a_route_counts_that_route_and_nothing_synthetic() {
    let (all, login) = (ErrorBudget::new(Objective::new("all")), login());
    let layer = golden::server("slo")
        .timeout(5 * SECOND)
        .registry(&Registry::new())
        .route_of(|head| (head.uri.path() == "/200").then_some("/login"))
        .synthetic(|head| head.headers.contains_key("x-probe"))
        .slo(all.clone())
        .route_slo("/login", login.clone())
        .layer();
    let mut server = layer.layer(service_fn(handler));
    for path in ["/200", "/404", "/500"] {
        read(server.call(to(path)).await).await;
    }
    let mut probe = to("/500");
    probe.headers_mut().insert("x-probe", "1".parse().unwrap());
    read(server.call(probe).await).await;
    assert_eq!((all.counts(Window::Hour), login.counts(Window::Hour)), ((2, 1), GOOD));
}

#[tokio::test(start_paused = true)]
async fn a_synthetic_request_counts_nowhere_on_its_way_through_the_process_even_when_it_panics() {
    let (inbound, outbound) = (login(), login());
    let ledger = golden::client("ledger").timeout(SECOND).no_fallback().registry(&Registry::new());
    let ledger = ledger.slo(outbound.clone()).calls();
    let layer = golden::server("slo")
        .timeout(5 * SECOND)
        .registry(&Registry::new())
        .synthetic(|head| head.headers.contains_key("x-probe"))
        .slo(inbound.clone())
        .layer();
    let mut server = layer.layer(service_fn(|request: Request<String>| {
        let ledger = ledger.clone();
        async move {
            let ask = async || Ok::<_, BoxError>(7);
            _ = moneta_resilience::spawn(async move { ledger.run(ask).await }).await;
            handler(request).await
        }
    }));
    let mut calls = async |probe: bool| {
        for path in ["/200", "/500", "/panic"] {
            let mut request = to(path);
            if probe {
                request.headers_mut().insert("x-probe", "1".parse().unwrap());
            }
            let call = async { read(server.call(request).await).await };
            _ = std::panic::AssertUnwindSafe(call).catch_unwind().await;
        }
        (inbound.counts(Window::Hour), outbound.counts(Window::Hour))
    };
    assert_eq!(calls(true).await, (NOTHING, NOTHING));
    assert_eq!(calls(false).await, ((1, 2), (3, 0)));
}

#[tokio::test(start_paused = true)]
async fn a_call_of_a_client_that_is_said_to_be_synthetic_counts_nothing_however_it_ends() {
    let budget = login();
    let builder = golden::client("slo").timeout(3 * SECOND).no_fallback().without_retry();
    let calls = builder.registry(&Registry::new()).slo(budget.clone()).calls();
    synthetic(calls.run(async || Ok::<_, BoxError>(7))).await.unwrap();
    synthetic(calls.run(pending::<io::Result<u32>>)).await.unwrap_err();
    // Dropped outside of the scope that it was polled in.
    let mut left = tokio_test::task::spawn(synthetic(calls.run(pending::<io::Result<u32>>)));
    assert!(left.poll().is_pending());
    advance(2 * SECOND + SECOND / 2).await;
    drop(left);
    assert_eq!(budget.counts(Window::Hour), NOTHING);
    calls.run(async || Ok::<_, BoxError>(7)).await.unwrap();
    assert_eq!(budget.counts(Window::Hour), GOOD);
}

/// What one call of a client counts as, whose limit is 3 s and whose objective 2 s.
async fn called<F>(call: F) -> (u64, u64)
where
    F: AsyncFnOnce(golden::Calls) -> Result<u32, CallError>,
{
    let budget = login();
    let builder = golden::client("slo").timeout(3 * SECOND).no_fallback().without_retry();
    let calls = builder.registry(&Registry::new()).slo(budget.clone()).calls();
    drop(std::panic::AssertUnwindSafe(call(calls)).catch_unwind().await);
    budget.counts(Window::Hour)
}

#[tokio::test(start_paused = true)]
async fn a_client_counts_by_the_table() {
    async fn refused() -> io::Result<u32> {
        Err(io::ErrorKind::ConnectionRefused.into())
    }
    assert_eq!(called(async |calls| calls.run(async || Ok::<_, BoxError>(7)).await).await, GOOD);
    let fault_of_caller =
        async |calls: golden::Calls| calls.run(async || Err::<u32, BoxError>("no row".into())).await;
    assert_eq!(called(fault_of_caller).await, GOOD);
    assert_eq!(called(async |calls| calls.run(refused).await).await, BAD);
    assert_eq!(called(async |calls| calls.run(pending::<io::Result<u32>>).await).await, BAD, "a timeout");
    assert_eq!(called(async |calls| calls.run_or(refused, |_why| Ok(7)).await).await, BAD, "a fallback");
    assert_eq!(
        called(async |calls| calls.run::<_, _, u32, BoxError>(async || panic!("a bug")).await).await,
        BAD
    );
    let slow = async || {
        sleep(2 * SECOND + Duration::from_millis(1)).await;
        Ok::<_, BoxError>(7)
    };
    assert_eq!(called(async |calls| calls.run(slow).await).await, BAD);
}

#[tokio::test(start_paused = true)]
async fn a_call_counts_once_however_many_attempts_it_takes() {
    let budget = login();
    let tries = std::sync::atomic::AtomicU32::new(0);
    let builder = golden::client("slo").timeout(2 * SECOND).no_fallback().registry(&Registry::new());
    let builder = builder.classify(classify::errors(|_| Some(Class::TRANSIENT)));
    let calls = builder.slo(budget.clone()).calls();
    let flaky = async || match tries.fetch_add(1, std::sync::atomic::Ordering::Relaxed) {
        0 | 1 => Err(BoxError::from("not yet")),
        _ => Ok(7),
    };
    assert_eq!(calls.run_repeatable(flaky).await.unwrap(), 7);
    assert_eq!(budget.counts(Window::Hour), GOOD);
}

#[tokio::test(start_paused = true)]
async fn an_alert_is_told_once_when_it_begins_and_once_when_it_ends() {
    let tape = Arc::new(Tape::new());
    let breaker = CircuitBreakerLayer::new().consecutive_failures(10_000);
    let builder =
        golden::client("slo").timeout(3 * SECOND).no_fallback().without_retry().circuit_breaker(breaker);
    let client = builder.registry(&Registry::new()).sink(tape.clone()).slo(login()).service(service_fn(
        |Repeatable(good): Repeatable<bool>| async move {
            if good { Ok(()) } else { Err(BoxError::from(io::Error::from(io::ErrorKind::ConnectionRefused))) }
        },
    ));
    for n in 0..600 {
        _ = client.send(Repeatable(n < 300)).await;
        advance(SECOND).await;
    }
    let hours = |hours: u64| Duration::from_secs(hours * 3_600);
    // The lower a threshold, the sooner it is passed.
    let all = [(Severity::Ticket, 24), (Severity::Ticket, 72), (Severity::Page, 6), (Severity::Page, 1)];
    assert_eq!(alerts(&tape), all.map(|(severity, window)| (severity, hours(window), true)));
    for _ in 0..600 {
        _ = client.send(Repeatable(true)).await;
        advance(SECOND).await;
    }
    assert_eq!(alerts(&tape)[4..], [(Severity::Page, hours(1), false)]);
}

fn alerts(tape: &Tape) -> Vec<(Severity, Duration, bool)> {
    let alerts = tape.events().into_iter().filter_map(|event| match event {
        Event::BudgetAlert { slo: "login", severity, window, firing } => Some((severity, window, firing)),
        _ => None,
    });
    alerts.collect()
}

#[tokio::test(start_paused = true)]
async fn each_stack_that_counts_tells_of_an_alert_and_so_does_the_observer_of_the_budget() {
    let tapes: [_; 3] = std::array::from_fn(|_| Arc::new(Tape::new()));
    let [own, first, second] = &tapes;
    let observer = Registry::new().observer(&Name::new("own").unwrap()).sink(own.clone());
    let budget = login().observer(observer);
    let stacks = [first, second].map(|tape| {
        let builder = golden::client("slo").timeout(3 * SECOND).no_fallback().sink(tape.clone());
        builder.registry(&Registry::new()).slo(budget.clone()).calls()
    });
    (0..100).for_each(|_| budget.record(false));
    advance(SECOND).await;
    assert_eq!(budget.alerts().count(), 4);
    assert_eq!(tapes.each_ref().map(|tape| alerts(tape).len()), [4, 0, 0], "a stack tells when it is called");
    for stack in &stacks {
        stack.run(async || Ok::<_, BoxError>(7)).await.unwrap();
        stack.run(async || Ok::<_, BoxError>(7)).await.unwrap();
    }
    assert_eq!(tapes.each_ref().map(|tape| alerts(tape).len()), [4, 4, 4]);
}

#[cfg(feature = "logs")]
#[tokio::test(start_paused = true)]
async fn an_alert_is_in_the_log_of_the_process_also_where_no_stack_counts() {
    let burn = async |budget: &ErrorBudget| {
        (0..100).for_each(|_| budget.record(false));
        advance(SECOND).await;
        let log = super::correlation::Log::new();
        budget.record(false);
        log.lines()
    };
    let rows = ErrorBudget::new(Objective::new("rows"));
    let lines = burn(&rows).await;
    assert_eq!(lines.len(), 4, "{lines:?}");
    assert_eq!(lines[0]["body"], "rows burns its error budget: the page over 1h begins");
    assert_eq!((&lines[0]["pipeline"], &lines[0]["severity_text"]), (&"rows".into(), &"ERROR".into()));
    assert!(
        Registry::global().cells_by_name().iter().all(|(name, _)| name.as_str() != "rows"),
        "no pipeline"
    );

    // Where a stack counts, that one tells, under its own name.
    let login = login();
    let builder = golden::client("counts-for-login").timeout(SECOND).no_fallback().slo(login.clone());
    let calls = builder.calls();
    assert_eq!(burn(&login).await, Vec::<serde_json::Value>::new());
    let log = super::correlation::Log::new();
    calls.run(async || Ok::<_, BoxError>(7)).await.unwrap();
    let names: Vec<_> = log.lines().into_iter().map(|line| line["pipeline"].clone()).collect();
    assert_eq!(names, ["counts-for-login"; 4]);
    // And when it is gone, the budget does again.
    drop((calls, log));
    advance(7 * 3_600 * SECOND).await;
    let log = super::correlation::Log::new();
    login.record(true);
    let lines = log.lines();
    assert!(
        lines.len() == 4 && lines.iter().all(|line| line["pipeline"] == "login" && line["firing"] == false),
        "{lines:?}"
    );
}

#[test]
#[should_panic(expected = "the objective \"report\" is one of daily runs, and a stack counts calls")]
fn an_objective_of_runs_is_refused_by_a_stack() {
    let report = Objective::new("report").by("06:00", "UTC");
    let _ = golden::client("slo").timeout(SECOND).no_fallback().slo(report);
}

/// As in "daily portfolio report generation completes by 06:00 on 99 % of days".
#[tokio::test(start_paused = true)]
async fn runs_that_are_complete_by_their_time_are_good_and_missing_ones_are_bad() {
    const DAY: Duration = Duration::from_secs(24 * 3_600);
    let objective = Objective::new("report").target(99.0).by("06:00", "UTC");
    let report = ErrorBudget::new(objective);
    #[expect(clippy::disallowed_methods, reason = "where paused time begins")]
    let mut day = Due::new("06:00", "UTC").unwrap().day_of(SystemTime::now());
    for _ in 0..5 {
        day = day.next();
        report.complete_for(day);
    }
    advance(DAY).await;
    // Today's is due within a day, or was: it may be missing.
    let (_, missing) = report.counts(Window::Days30);
    advance(4 * DAY).await;
    let (good, bad) = report.counts(Window::Days30);
    assert!(missing <= 1 && bad == missing && good == 5 - missing, "{missing} {good} {bad}");
    assert_eq!(report.alerts().count(), 0, "{report:?}");
    advance(2 * DAY).await;
    let (_, bad) = report.counts(Window::Days30);
    assert!(bad >= 1 && report.remaining() < 0.0, "{bad}");
    assert!(report.alerts().any(|rule| rule.severity == Severity::Page), "somebody is woken");
}
