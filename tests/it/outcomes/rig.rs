//! Drives a golden client into each outcome and tells what that did to it.

use std::{fmt, future::pending, ops::Sub, panic::AssertUnwindSafe, sync::Arc, time::Duration};

use futures::FutureExt;
use moneta_resilience::{
    BoxError, CallError, Class, Deadline, Ratio, Registry, Repeat, RetryBudget,
    bulkhead::BulkheadLayer,
    circuit_breaker::CircuitBreakerLayer,
    classify,
    event::{BreakerResult, CircuitState, FaultKind, Outcome},
    fault::Fault,
    golden::{self, BoxedClient},
    record::Tape,
    retry::RetryLayer,
};
use tokio::time::{Instant, advance, timeout};
use tower::service_fn;

/// A row of the table; what is injected is a row for each thing that it may stand for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Row {
    Success,
    CallerFault,
    Transient,
    Throttled,
    Fault,
    Panicked,
    AttemptTimeout,
    /// The same, at the end of the whole call.
    AttemptTimeoutAtTheEnd,
    Injected(Class),
    Open,
    Full,
    FullAfterAWait,
    /// The deadline of the whole call had passed when it came.
    DeadlineOnArrival,
    /// It passes while the call waits for a place.
    DeadlineInTheQueue,
    Cancelled,
}

impl Row {
    pub(crate) const ALL: [Self; 18] = [
        Self::Success,
        Self::CallerFault,
        Self::Transient,
        Self::Throttled,
        Self::Fault,
        Self::Panicked,
        Self::AttemptTimeout,
        Self::AttemptTimeoutAtTheEnd,
        Self::Injected(Class::CallerFault),
        Self::Injected(Class::TRANSIENT),
        Self::Injected(Class::THROTTLED),
        Self::Injected(Class::Fault),
        Self::Open,
        Self::Full,
        Self::FullAfterAWait,
        Self::DeadlineOnArrival,
        Self::DeadlineInTheQueue,
        Self::Cancelled,
    ];

    /// The row that an injected fault stands for; of any other row, itself.
    pub(crate) fn stands_for(self) -> Self {
        match self {
            Self::Injected(Class::CallerFault) => Self::CallerFault,
            Self::Injected(Class::Transient { .. }) => Self::Transient,
            Self::Injected(Class::Throttled { .. }) => Self::Throttled,
            Self::Injected(Class::Fault) => Self::Fault,
            row => row,
        }
    }
}

/// The whole call's limit.
pub(crate) const LIMIT: Duration = Duration::from_secs(8);
/// Shorter than every limit and wait of the rows that have one.
pub(crate) const SHORT: Duration = Duration::from_millis(50);
/// What the service answers, and the fallback in its place.
pub(crate) const OWN: u32 = 1;
pub(crate) const FALLBACK: u32 = 2;

/// What the service is asked to do.
#[derive(Clone, Copy, Debug)]
struct Ask {
    repeatable: bool,
    row: Row,
}

impl Repeat for Ask {
    fn again(&self) -> Option<Self> {
        self.repeatable.then_some(*self)
    }
}

/// An error that says what it means.
#[derive(Debug)]
struct Says(Class);

impl fmt::Display for Says {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(self, f)
    }
}

impl std::error::Error for Says {}

async fn serve(Ask { row, .. }: Ask) -> Result<u32, BoxError> {
    let says = |class| Err(Says(class).into());
    match row {
        Row::CallerFault => says(Class::CallerFault),
        Row::Transient => says(Class::TRANSIENT),
        Row::Throttled => says(Class::THROTTLED),
        Row::Fault => says(Class::Fault),
        Row::Panicked => panic!("on purpose"),
        Row::AttemptTimeout | Row::AttemptTimeoutAtTheEnd | Row::Cancelled => pending().await,
        _ => Ok(OWN),
    }
}

/// How the call ended for its caller.
#[derive(Debug)]
pub(crate) enum End {
    Answered(Result<u32, CallError>),
    Panicked,
    /// The caller did not stay to see.
    Left,
}

/// Everything that is counted.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Tally {
    pub(crate) attempts: i64,
    pub(crate) retries: i64,
    /// Repetitions that the budget would grant.
    pub(crate) budget: i64,
    pub(crate) breaker: [i64; BreakerResult::ALL.len()],
    /// What the breaker's window holds: calls, failures, abandoned.
    pub(crate) window: [i64; 3],
    pub(crate) bulkhead_refused: i64,
    pub(crate) fallbacks: i64,
    pub(crate) calls: [i64; Outcome::ALL.len()],
    pub(crate) injected: i64,
}

impl Sub for Tally {
    type Output = Self;

    fn sub(self, before: Self) -> Self {
        Self {
            attempts: self.attempts - before.attempts,
            retries: self.retries - before.retries,
            budget: self.budget - before.budget,
            breaker: std::array::from_fn(|n| self.breaker[n] - before.breaker[n]),
            window: std::array::from_fn(|n| self.window[n] - before.window[n]),
            bulkhead_refused: self.bulkhead_refused - before.bulkhead_refused,
            fallbacks: self.fallbacks - before.fallbacks,
            calls: std::array::from_fn(|n| self.calls[n] - before.calls[n]),
            injected: self.injected - before.injected,
        }
    }
}

/// A client to drive, and its neighbour, which shares its bulkhead and holds its places.
pub(crate) struct Rig {
    row: Row,
    client: BoxedClient<Ask, u32>,
    neighbour: BoxedClient<Ask, u32>,
    budget: RetryBudget,
    pub(crate) tape: Arc<Tape>,
}

impl Rig {
    pub(crate) fn new(row: Row) -> Self {
        Self::with(row, CircuitBreakerLayer::new(), false)
    }

    pub(crate) fn with_fallback(row: Row) -> Self {
        Self::with(row, CircuitBreakerLayer::new(), true)
    }

    pub(crate) fn with_breaker(row: Row, breaker: CircuitBreakerLayer) -> Self {
        Self::with(row, breaker, false)
    }

    fn with(row: Row, breaker: CircuitBreakerLayer, fallback: bool) -> Self {
        let registry = Registry::new();
        let places = match row {
            Row::Full => BulkheadLayer::new(1).max_queue(0),
            Row::FullAfterAWait => BulkheadLayer::new(1).max_wait(SHORT),
            Row::DeadlineInTheQueue => BulkheadLayer::new(1).max_wait(LIMIT),
            _ => BulkheadLayer::new(8),
        };
        let attempt = if row == Row::AttemptTimeout { SHORT } else { LIMIT };
        // One repetition for each first attempt, so that the budget tells deposits as well as charges.
        let budget = RetryBudget::new().ratio(Ratio::ONE).min_per_second(0);
        let tape = Arc::new(Tape::new());
        let builder = golden::client("driven")
            .timeout(LIMIT)
            .attempt_timeout(attempt)
            .retry(RetryLayer::new().seed(1).budget(budget.clone()))
            .circuit_breaker(breaker)
            .bulkhead_layer(places.clone())
            .classify(classify::errors(|error| error.downcast_ref::<Says>().map(|says| says.0)))
            .registry(&registry)
            .sink(tape.clone());
        let client = if fallback {
            builder.fallback(|_why| Ok(FALLBACK)).service(service_fn(serve)).boxed()
        } else {
            builder.no_fallback().service(service_fn(serve)).boxed()
        };
        let neighbour =
            golden::client("neighbour").timeout(Duration::MAX).no_fallback().without_circuit_breaker();
        let neighbour =
            neighbour.bulkhead_layer(places).registry(&registry).service(service_fn(serve)).boxed();
        Self { row, client, neighbour, budget, tape }
    }

    /// Lets a number of calls succeed: the budget has tokens then, and the breaker a window.
    pub(crate) async fn warm(self) -> Self {
        for _ in 0..50 {
            self.ask(Row::Success, false).await.unwrap();
        }
        self
    }

    /// Has the breaker opened by failures and waits until it will probe.
    pub(crate) async fn opened(self) -> Self {
        while self.state() != CircuitState::Open {
            self.ask(Row::Fault, false).await.unwrap_err();
        }
        advance(Duration::from_secs(1)).await;
        self
    }

    /// Makes the call of the row.
    pub(crate) async fn drive(&self, repeatable: bool) -> (End, Tally) {
        let holds = matches!(self.row, Row::Full | Row::FullAfterAWait | Row::DeadlineInTheQueue);
        let holder =
            holds.then(|| tokio::spawn(self.neighbour.send(Ask { repeatable, row: Row::Cancelled })));
        tokio::task::yield_now().await;
        match self.row {
            Row::Injected(class) => drop(self.client.handle().faults().arm(Fault::error(class))),
            Row::Open => self.client.handle().circuit_breaker().unwrap().force_open(),
            _ => {}
        }
        let before = self.tally();
        let call = AssertUnwindSafe(self.ask(self.row, repeatable)).catch_unwind();
        let end = match self.row {
            Row::DeadlineOnArrival => Ok(Deadline::at(Instant::now()).scope(call).await),
            Row::DeadlineInTheQueue => Ok(Deadline::after(SHORT).scope(call).await),
            Row::Cancelled => timeout(SHORT, call).await,
            _ => Ok(call.await),
        };
        let end = match end {
            Ok(Ok(result)) => End::Answered(result),
            Ok(Err(_panic)) => End::Panicked,
            Err(_elapsed) => End::Left,
        };
        let after = self.tally();
        if let Some(holder) = holder {
            holder.abort();
            holder.await.unwrap_err();
        }
        (end, after - before)
    }

    pub(crate) fn state(&self) -> CircuitState {
        self.client.handle().circuit_breaker().unwrap().state()
    }

    async fn ask(&self, row: Row, repeatable: bool) -> Result<u32, CallError> {
        self.client.send(Ask { repeatable, row }).await
    }

    fn tally(&self) -> Tally {
        let counts = self.client.handle().counts();
        let snapshot = self.client.handle().circuit_breaker().unwrap().snapshot();
        let number = |count: u64| i64::try_from(count).unwrap();
        Tally {
            attempts: number(counts.first_attempts() + counts.retry_attempts()),
            retries: number(counts.retry_attempts()),
            budget: number(self.budget.remaining(Instant::now()).unwrap()),
            breaker: BreakerResult::ALL.map(|result| number(counts.breaker(result))),
            window: [snapshot.calls, snapshot.failures, snapshot.abandoned].map(number),
            bulkhead_refused: number(counts.bulkhead_refused()),
            fallbacks: number(counts.fallbacks_served()),
            calls: Outcome::ALL.map(|outcome| number(counts.calls(outcome))),
            injected: number(counts.faults(FaultKind::Error)),
        }
    }
}
