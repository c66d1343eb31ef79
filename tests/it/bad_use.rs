//! What bad use gets: a type that does not allow it, or one clear error at the line that asked for it.

use std::{
    cell::RefCell,
    panic::{self, AssertUnwindSafe, Location},
    sync::Once,
    time::Duration,
};

use moneta_resilience::{
    BoxError, Class, Deadline, InvalidName, Name, Ratio, Reason, Registry, Rejected, bulkhead::BulkheadLayer,
    circuit_breaker::CircuitBreakerLayer, event::Outcome, fault::Fault, golden, retry::RetryLayer,
    telemetry::TelemetryLayer, timeout::TimeoutLayer,
};
use tokio::time::{Instant, advance};

const ZERO: Duration = Duration::ZERO;
const SECOND: Duration = Duration::from_secs(1);

thread_local! {
    /// The file of the newest panic on this thread.
    static BLAMED: RefCell<Option<String>> = const { RefCell::new(None) };
}

/// Runs what has to panic and gives the message; it must blame this file, not one of the crate's.
fn refused<T>(what: &str, misuse: impl FnOnce() -> T) -> String {
    static HOOK: Once = Once::new();
    HOOK.call_once(|| {
        let before = panic::take_hook();
        panic::set_hook(Box::new(move |info| {
            BLAMED.set(info.location().map(Location::file).map(str::to_owned));
            before(info);
        }));
    });
    let Err(panic) = panic::catch_unwind(AssertUnwindSafe(|| drop(misuse()))) else {
        panic!("{what} is let pass");
    };
    assert_eq!(BLAMED.take().as_deref(), Some(file!()), "{what}: the line that asked for it is to blame");
    let text = panic.downcast_ref::<String>().cloned();
    text.or_else(|| panic.downcast_ref::<&str>().map(|text| (*text).to_owned())).unwrap()
}

macro_rules! refused {
    ($($misuse:expr => $why:literal,)*) => {$(
        let why = refused(stringify!($misuse), || $misuse);
        assert!(why.contains($why), "{}: {why}", stringify!($misuse));
    )*};
}

fn breaker() -> CircuitBreakerLayer {
    CircuitBreakerLayer::new()
}

#[tokio::test(start_paused = true)]
async fn a_limit_of_zero_is_refused() {
    refused! {
        golden::client("ledger").timeout(ZERO) => "a timeout of zero would cut every call",
        golden::client("ledger").attempt_timeout(ZERO) => "an attempt's timeout of zero would cut every call",
        golden::client("ledger").bulkhead(0) => "a bulkhead of zero would refuse every call",
        TimeoutLayer::new(ZERO) => "a timeout of zero would cut every call",
        BulkheadLayer::new(0) => "a bulkhead of zero would refuse every call",
        RetryLayer::new().attempts(0) => "the first attempt counts too",
        breaker().window(ZERO) => "a window below 100 ms",
        breaker().minimum_calls(0) => "a minimum of zero calls would judge a rate of nothing",
        breaker().failure_rate(Ratio::ZERO) => "a rate of zero is reached without a failure",
        breaker().outage(Ratio::ZERO, 20) => "a rate of zero is reached without a failure",
        breaker().outage(Ratio::ONE, 0) => "a minimum of zero calls would judge a rate of nothing",
        breaker().consecutive_failures(0) => "zero failures in a row would open at once",
        breaker().slow_calls(ZERO, Ratio::ONE) => "every call takes longer than zero",
        breaker().slow_calls(SECOND, Ratio::ZERO) => "a rate of zero is reached without a failure",
        breaker().open_time(ZERO, SECOND) => "an open time below 1 ms",
        breaker().open_time(SECOND * 2, SECOND) => "the first open time is over the longest",
        breaker().probes(0) => "without a probe the breaker could never close",
        breaker().probe_timeout(ZERO) => "a probe timeout of zero would fail every probe",
        Fault::error(Class::Success) => "an injected error cannot stand for success",
    }
}

#[cfg(feature = "http")]
#[test]
fn a_limit_of_zero_is_refused_for_a_server() {
    refused! {
        golden::server("payments").timeout(ZERO) => "a timeout of zero would cut every call",
        golden::server("payments").bulkhead(0) => "a bulkhead of zero would refuse every call",
        golden::server("") => "a pipeline needs a name",
    }
}

/// What would be without effect, and is believed to have one.
#[cfg(feature = "http")]
#[test]
fn what_stands_on_something_that_was_turned_off_is_refused() {
    refused! {
        golden::server("payments").timeout(SECOND).priorities().without_bulkhead().layer()
            => "there is no bulkhead that priorities could share",
    }
}

#[cfg(feature = "slo")]
#[test]
fn a_breaker_that_was_turned_off_is_opened_by_no_budget() {
    use moneta_resilience::slo::Objective;

    let builder = || golden::client("ledger").timeout(SECOND).no_fallback().without_circuit_breaker();
    let opening = || builder().slo_opening_breaker(Objective::new("ledger").target(99.9));
    refused! { opening().calls() => "there is no circuit breaker that a budget could open", }
    drop(builder().slo(Objective::new("ledger").target(99.9)).calls());
}

#[cfg(feature = "idempotency")]
#[test]
fn a_time_in_which_no_key_could_be_kept_is_refused() {
    use moneta_resilience::idempotency::{IdempotencyLayer, MemoryStore};

    let layer = || IdempotencyLayer::new(MemoryStore::new());
    refused! {
        layer().retention(ZERO) => "an answer that is kept for no time is made again by whoever comes again",
        layer().lease(Duration::from_millis(2)) => "is over before it can be renewed",
    }
}

#[test]
fn a_ratio_over_one_is_refused() {
    refused! { Ratio::percent(101) => "a ratio is at most 100 percent", }
    for wrong in [1.000_001, -0.000_001, f64::NAN, f64::INFINITY] {
        let why = Ratio::new(wrong).unwrap_err().to_string();
        assert!(why.starts_with("a ratio lies between 0 and 1"), "{why}");
    }
}

#[test]
fn an_empty_name_is_refused() {
    refused! {
        golden::client("") => "a pipeline needs a name",
        golden::client("two\nlines") => "no control characters",
        golden::client(&"x".repeat(65)) => "at most 64 bytes, not 65",
        TelemetryLayer::new("") => "a pipeline needs a name",
    }
    assert_eq!(Name::new(""), Err(InvalidName::Empty));
}

#[tokio::test(start_paused = true)]
async fn a_deadline_in_the_past_is_no_time_left() {
    let past = Deadline::at(Instant::now());
    advance(SECOND).await;
    assert_eq!(past.remaining(), ZERO);
    let client = golden::client("late").timeout(SECOND).no_fallback().registry(&Registry::new()).calls();
    let call = client.run(|| async { unreachable!("there is no time left") as Result<(), BoxError> });
    let error = past.scope(call).await.unwrap_err();
    assert_eq!(error.rejected().map(Rejected::reason), Some(Reason::DeadlineExceeded));
    let counts = client.handle().counts();
    assert_eq!(
        (counts.deadlines_expired(), counts.calls(Outcome::Timeout), counts.first_attempts()),
        (1, 1, 0)
    );
}
