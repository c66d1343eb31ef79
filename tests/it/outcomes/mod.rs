//! The table of outcomes in `docs/contract.md`, cell by cell: a test for each column, which goes through all rows.
//!
//! Every row is an outcome that a real golden stack is driven into (`rig`); every test names the row that disagrees.
#![expect(clippy::match_same_arms, reason = "a row of the table is an arm of its own")]

mod rig;
#[cfg(feature = "http")]
mod server;

use std::{
    future::pending,
    io,
    sync::atomic::{AtomicU32, Ordering},
    time::Duration,
};

use moneta_resilience::{
    BoxError, Deadline, Ratio, Reason, Registry, Rejected,
    circuit_breaker::{AbandonedPolicy, CircuitBreakerLayer},
    event::{BreakerResult, CircuitState, Event, Outcome},
    golden,
};
use rig::{End, FALLBACK, LIMIT, OWN, Rig, Row, SHORT};
use tokio::time::sleep;

/// How many attempts are made of a call that may be repeated.
fn attempts(row: Row) -> i64 {
    match row.stands_for() {
        Row::Transient | Row::Throttled | Row::AttemptTimeout => 3,
        // What is left of the whole call is too little for another.
        Row::AttemptTimeoutAtTheEnd => 1,
        Row::Success | Row::CallerFault | Row::Fault | Row::Panicked | Row::Cancelled => 1,
        Row::Open | Row::Full | Row::FullAfterAWait | Row::DeadlineOnArrival | Row::DeadlineInTheQueue => 0,
        Row::Injected(_) => unreachable!("it stands for another row"),
    }
}

#[tokio::test(start_paused = true)]
async fn the_column_of_retry() {
    for row in Row::ALL {
        let (_, repeatable) = Rig::new(row).warm().await.drive(true).await;
        assert_eq!(repeatable.attempts, attempts(row), "{row:?}");
        let (_, once) = Rig::new(row).warm().await.drive(false).await;
        assert_eq!(once.attempts, attempts(row).min(1), "{row:?}, not repeatable");
    }
}

#[tokio::test(start_paused = true)]
async fn the_column_of_retry_a_throttled_call_is_repeated_slower() {
    let mut delays = Vec::new();
    for row in [Row::Transient, Row::Throttled] {
        let rig = Rig::new(row).warm().await;
        rig.drive(true).await;
        let scheduled = rig.tape.events().into_iter().filter_map(|event| match event {
            Event::RetryScheduled { delay, .. } => Some(delay),
            _ => None,
        });
        delays.push(scheduled.collect::<Vec<_>>());
    }
    assert_eq!(delays[0].len(), 2);
    assert!(delays[0].iter().zip(&delays[1]).all(|(transient, throttled)| *throttled > 10 * *transient));
}

#[tokio::test(start_paused = true)]
async fn the_column_of_the_budget() {
    for row in Row::ALL {
        // A first attempt deposits when it begins, each repetition is charged.
        let expected = match row {
            // It unwinds out of the poll that it began in.
            Row::Panicked => 0,
            _ if attempts(row) == 0 => 0,
            _ => 1 - (attempts(row) - 1),
        };
        let (_, tally) = Rig::new(row).warm().await.drive(true).await;
        assert_eq!(tally.budget, expected, "{row:?}");
    }
}

/// As what the breaker counts the call; `None` when not at all.
fn counted(row: Row) -> Option<BreakerResult> {
    match row.stands_for() {
        Row::Success | Row::CallerFault => Some(BreakerResult::Success),
        Row::Transient
        | Row::Throttled
        | Row::Fault
        | Row::Panicked
        | Row::AttemptTimeout
        | Row::AttemptTimeoutAtTheEnd => Some(BreakerResult::Failure),
        Row::Open => Some(BreakerResult::Rejected),
        Row::Full | Row::FullAfterAWait | Row::DeadlineOnArrival | Row::DeadlineInTheQueue => None,
        Row::Cancelled => Some(BreakerResult::Cancelled),
        Row::Injected(_) => unreachable!("it stands for another row"),
    }
}

#[tokio::test(start_paused = true)]
async fn the_column_of_the_breaker() {
    for row in Row::ALL {
        let (_, tally) = Rig::new(row).warm().await.drive(false).await;
        let expected = BreakerResult::ALL.map(|result| i64::from(counted(row) == Some(result)));
        assert_eq!(tally.breaker, expected, "{row:?}");
        let [calls, failures, abandoned] = match counted(row) {
            Some(BreakerResult::Success | BreakerResult::Slow) => [1, 0, 0],
            Some(BreakerResult::Failure) => [1, 1, 0],
            Some(BreakerResult::Cancelled) => [0, 0, 1],
            _ => [0, 0, 0],
        };
        assert_eq!(tally.window, [calls, failures, abandoned], "{row:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn the_column_of_the_breaker_in_a_row_of_failures() {
    for row in Row::ALL.into_iter().filter(|row| *row != Row::Open) {
        let opens_at = match row.stands_for() {
            Row::Transient | Row::Fault | Row::Panicked => Some(5),
            Row::AttemptTimeout | Row::AttemptTimeoutAtTheEnd => Some(5),
            // By the rates alone.
            Row::Throttled => Some(20),
            // As failures where nothing but abandoned calls is known.
            Row::Cancelled => Some(5),
            _ => None,
        };
        let rig = Rig::with_breaker(row, CircuitBreakerLayer::new().window(Duration::from_secs(600)));
        for call in 1..=25 {
            rig.drive(false).await;
            let expected =
                if opens_at.is_some_and(|at| call >= at) { CircuitState::Open } else { CircuitState::Closed };
            assert_eq!(rig.state(), expected, "{row:?} after {call} calls");
            if expected == CircuitState::Open {
                break;
            }
        }
    }
}

#[tokio::test(start_paused = true)]
async fn the_column_of_the_breaker_as_a_probe() {
    for row in Row::ALL.into_iter().filter(|row| *row != Row::Open) {
        let rig = Rig::with_breaker(row, CircuitBreakerLayer::new().probes(1)).opened().await;
        rig.drive(false).await;
        let expected = match counted(row) {
            Some(BreakerResult::Success) => CircuitState::Recovering,
            // As many abandoned probes as there are in all count as one that failed.
            Some(BreakerResult::Failure | BreakerResult::Cancelled) => CircuitState::Open,
            // It never asked.
            None if row == Row::DeadlineOnArrival => CircuitState::Open,
            // It gave its place back.
            _ => CircuitState::HalfOpen,
        };
        assert_eq!(rig.state(), expected, "{row:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn the_column_of_the_breaker_for_the_abandoned_as_they_are_told_to_count() {
    for (policy, opens) in
        [(AbandonedPolicy::Ignore, false), (AbandonedPolicy::AsFailure, true), (AbandonedPolicy::IfAll, true)]
    {
        let rig = Rig::with_breaker(Row::Cancelled, CircuitBreakerLayer::new().abandoned(policy));
        for _ in 0..5 {
            rig.drive(false).await;
        }
        assert_eq!(rig.state() == CircuitState::Open, opens, "{policy:?}");
    }
    // Those who leave open nothing as long as others are answered.
    let rig = Rig::new(Row::Cancelled).warm().await;
    for _ in 0..60 {
        rig.drive(false).await;
    }
    assert_eq!(rig.state(), CircuitState::Closed);
}

#[tokio::test(start_paused = true)]
async fn the_column_of_fallback() {
    for row in Row::ALL {
        let (end, tally) = Rig::with_fallback(row).warm().await.drive(false).await;
        let served = match row.stands_for() {
            Row::Success => matches!(end, End::Answered(Ok(OWN))),
            Row::CallerFault => matches!(end, End::Answered(Err(_))),
            // Without a result there is nothing to put an answer in the place of.
            Row::Panicked => matches!(end, End::Panicked),
            Row::Cancelled => matches!(end, End::Left),
            _ => matches!(end, End::Answered(Ok(FALLBACK))),
        };
        assert!(served, "{row:?}: {end:?}");
        let expected = matches!(end, End::Answered(Ok(FALLBACK)));
        assert_eq!(tally.fallbacks, i64::from(expected), "{row:?}");
        let degraded = tally.calls[Outcome::Degraded as usize];
        assert_eq!(degraded, i64::from(expected), "{row:?}: an answer of a fallback is degraded");
    }
}

#[tokio::test(start_paused = true)]
async fn the_column_of_the_slo() {
    for row in Row::ALL {
        let (outcome, good) = match row.stands_for() {
            Row::Success => (Outcome::Success, true),
            Row::CallerFault => (Outcome::CallerFault, true),
            Row::Transient => (Outcome::Transient, false),
            Row::Throttled => (Outcome::Throttled, false),
            Row::Fault => (Outcome::Fault, false),
            Row::Panicked => (Outcome::Panicked, false),
            Row::AttemptTimeout | Row::AttemptTimeoutAtTheEnd => (Outcome::Timeout, false),
            Row::DeadlineOnArrival | Row::DeadlineInTheQueue => (Outcome::Timeout, false),
            Row::Open | Row::Full | Row::FullAfterAWait => (Outcome::Rejected, false),
            Row::Cancelled => (Outcome::Cancelled, false),
            Row::Injected(_) => unreachable!("it stands for another row"),
        };
        let (_, tally) = Rig::new(row).warm().await.drive(false).await;
        assert_eq!(tally.calls, Outcome::ALL.map(|any| i64::from(any == outcome)), "{row:?}");
        assert_eq!(outcome.is_good(), good, "{row:?}");
        assert_eq!(
            tally.injected,
            i64::from(matches!(row, Row::Injected(_))),
            "{row:?}: what is injected is tagged"
        );
    }
    assert!(!Outcome::Degraded.is_good(), "an answer of a fallback is none of the dependency's");
}

/// What the caller gets is the dependency's own error, or the refusal.
#[tokio::test(start_paused = true)]
async fn what_the_caller_gets_says_why() {
    for row in Row::ALL {
        let (end, tally) = Rig::new(row).warm().await.drive(true).await;
        let End::Answered(Err(error)) = end else { continue };
        let refused = matches!(
            row,
            Row::AttemptTimeout
                | Row::AttemptTimeoutAtTheEnd
                | Row::Open
                | Row::Full
                | Row::FullAfterAWait
                | Row::DeadlineOnArrival
                | Row::DeadlineInTheQueue
        );
        assert_eq!(error.rejected().is_some(), refused, "{row:?}: {error}");
        assert_eq!(
            error.rejected().map(Rejected::by).is_some_and(|by| by.as_str() == "driven"),
            refused,
            "{row:?}"
        );
        let full = matches!(row, Row::Full | Row::FullAfterAWait | Row::DeadlineInTheQueue);
        assert_eq!(tally.bulkhead_refused, i64::from(full), "{row:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn the_column_of_the_breaker_a_success_that_is_slow_is_slow() {
    let breaker = CircuitBreakerLayer::new().slow_calls(SHORT, Ratio::percent(50));
    let client = golden::client("slow").timeout(LIMIT).no_fallback().circuit_breaker(breaker);
    let client = client.registry(&Registry::new()).calls();
    for (time, result) in [(SHORT / 2, BreakerResult::Success), (SHORT, BreakerResult::Slow)] {
        let before = client.handle().counts().breaker(result);
        let answer = async || {
            sleep(time).await;
            Ok::<_, BoxError>(OWN)
        };
        client.run(answer).await.unwrap();
        assert_eq!(client.handle().counts().breaker(result), before + 1);
    }
    let snapshot = client.handle().circuit_breaker().unwrap().snapshot();
    assert_eq!((snapshot.calls, snapshot.failures, snapshot.slow), (2, 0, 1));
}

/// Whichever limit it meets, the whole call's or that of the work in hand.
#[tokio::test(start_paused = true)]
async fn a_dependency_that_only_hangs_is_a_failure_and_never_a_cancellation() {
    let client = golden::client("hang").timeout(LIMIT).no_fallback().registry(&Registry::new()).calls();
    for limit in [LIMIT / 2, LIMIT, LIMIT * 2] {
        let call = client.run(pending::<Result<(), BoxError>>);
        let error = Deadline::after(limit).scope(call).await.unwrap_err();
        assert_eq!(error.rejected().map(Rejected::reason), Some(Reason::Timeout), "{limit:?}");
    }
    let counts = client.handle().counts();
    assert_eq!((counts.breaker(BreakerResult::Failure), counts.breaker(BreakerResult::Cancelled)), (3, 0));
}

#[tokio::test(start_paused = true)]
async fn a_last_attempt_that_is_refused_hides_no_error_of_the_dependency() {
    for repeats in [1, 2] {
        let client = golden::client("last").timeout(LIMIT).no_fallback().registry(&Registry::new()).calls();
        let breaker = client.handle().circuit_breaker().unwrap();
        let tries = AtomicU32::new(0);
        let failing = async || {
            if tries.fetch_add(1, Ordering::Relaxed) + 1 == repeats {
                breaker.force_open();
            }
            Err::<(), _>(io::Error::from(io::ErrorKind::ConnectionReset))
        };
        let error = client.run_repeatable(failing).await.unwrap_err();
        assert!(error.inner().is::<io::Error>(), "{error}");
        assert_eq!(tries.into_inner(), repeats);
        assert_eq!(client.handle().counts().breaker(BreakerResult::Rejected), 1);
    }
}
