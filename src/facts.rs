use std::{
    cell::{Cell, RefCell},
    fmt,
    future::{Future, poll_fn},
    pin::pin,
    sync::Arc,
};

use crate::{
    error::Reason,
    event::{BreakerResult, Event, RateLimitResult},
    local,
    sync::{Mutex, lock},
};

thread_local! {
    /// Whether there is a record: all that a call which nobody asks about pays for.
    static LISTENS: Cell<bool> = const { Cell::new(false) };
    /// The record of the work that this thread polls.
    static HERE: RefCell<Option<Record>> = const { RefCell::new(None) };
}

/// What became of the calls that a piece of work makes, beside their answers: how many attempts they took, whether a
/// fallback answered, what was refused on the way.
///
/// It is told by every layer of this crate that the work goes through, until another record is put round a part of it.
/// Clones are the same record. Who makes no record pays nothing for it.
///
/// ```
/// # #[tokio::main(flavor = "current_thread")] async fn main() -> anyhow::Result<()> {
/// use std::{io, time::Duration};
/// use moneta_resilience::{Record, golden};
/// # async fn ask() -> io::Result<u32> { Err(io::ErrorKind::PermissionDenied.into()) }
///
/// let quotes = golden::client("market-data").timeout(Duration::from_millis(800)).no_fallback().calls();
/// let record = Record::new();
/// let quote = record.scope(quotes.run_or(ask, |_why| Ok(9312))).await?;
/// if record.is_degraded() {
///     println!("{quote}, as of yesterday");
/// }
/// # assert_eq!((quote, record.is_degraded(), record.attempts()), (9312, true, 1));
/// # Ok(()) }
/// ```
///
/// # Cancellation
///
/// What work tells while it is dropped is not recorded.
#[derive(Clone, Default)]
pub struct Record {
    /// A lock, for only the calls that are asked about pay for it.
    facts: Arc<Mutex<Facts>>,
}

#[derive(Clone, Copy, Debug, Default)]
struct Facts {
    attempts: u32,
    degraded: bool,
    refused: Option<Reason>,
}

impl Record {
    /// An empty record.
    pub fn new() -> Self {
        Self::default()
    }

    /// Runs `work` and records what its calls tell. A task that it spawns tells nothing.
    pub async fn scope<F: Future>(&self, work: F) -> F::Output {
        let mut work = pin!(work);
        poll_fn(|cx| self.enter(|| work.as_mut().poll(cx))).await
    }

    /// How many attempts reached a dependency and ended, hedges among them.
    pub fn attempts(&self) -> u32 {
        self.facts().attempts
    }

    /// Whether a fallback answered in the place of a dependency.
    pub fn is_degraded(&self) -> bool {
        self.facts().degraded
    }

    /// Why this side last refused an attempt or cut it short, also when a later one, or a fallback, went well.
    pub fn refused(&self) -> Option<Reason> {
        self.facts().refused
    }

    fn facts(&self) -> Facts {
        *lock(&self.facts)
    }

    fn enter<T>(&self, work: impl FnOnce() -> T) -> T {
        /// Also when the work panics.
        struct Back(Option<Record>);
        impl Drop for Back {
            fn drop(&mut self) {
                LISTENS.set(self.0.is_some());
                HERE.set(self.0.take());
            }
        }

        let _back = Back(HERE.replace(Some(self.clone())));
        LISTENS.set(true);
        work()
    }

    fn add(&self, event: &Event) {
        let mut facts = lock(&self.facts);
        match *event {
            Event::AttemptFinished { .. } => facts.attempts = facts.attempts.saturating_add(1),
            Event::Fallback { served: true } => facts.degraded = true,
            Event::BulkheadRefused { reason } | Event::LoadShed { reason } | Event::TimedOut { reason } => {
                facts.refused = Some(reason);
            }
            Event::BreakerCall { result: BreakerResult::Rejected } => {
                facts.refused = Some(Reason::CircuitOpen);
            }
            Event::RateLimiterCall { result: RateLimitResult::Rejected } => {
                facts.refused = Some(Reason::RateLimited);
            }
            Event::DeadlineExpired => facts.refused = Some(Reason::DeadlineExceeded),
            _ => {}
        }
    }
}

impl fmt::Debug for Record {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Record").field(&self.facts()).finish()
    }
}

/// Whether the work in hand has a record.
#[inline]
pub(crate) fn are_noted() -> bool {
    local::get(&LISTENS)
}

/// Tells the record of the work in hand.
#[cold]
pub(crate) fn note(event: Event) {
    HERE.with_borrow(|here| here.iter().for_each(|record| record.add(&event)));
}

#[cfg(test)]
mod tests {
    use std::{io, time::Duration};

    use super::*;
    use crate::{BoxError, Registry, circuit_breaker::CircuitBreakerLayer, golden, golden::Calls};

    const LIMIT: Duration = Duration::from_secs(1);

    fn ledger() -> Calls {
        let breaker = CircuitBreakerLayer::new().consecutive_failures(4);
        let builder = golden::client("ledger").timeout(LIMIT).no_fallback().circuit_breaker(breaker);
        builder.registry(&Registry::new()).calls()
    }

    async fn refused() -> io::Result<u32> {
        Err(io::ErrorKind::ConnectionRefused.into())
    }

    fn told(record: &Record) -> (u32, bool, Option<Reason>) {
        (record.attempts(), record.is_degraded(), record.refused())
    }

    #[tokio::test(start_paused = true)]
    async fn a_record_tells_the_attempts_the_fallback_and_the_refusal() {
        let ledger = ledger();
        let well = Record::new();
        well.scope(ledger.run(async || Ok::<_, BoxError>(7))).await.expect("it is well");
        assert_eq!(told(&well), (1, false, None));

        let failed = Record::new();
        failed.scope(ledger.run_repeatable(refused)).await.expect_err("nobody listens");
        assert_eq!(told(&failed), (3, false, None));

        let degraded = Record::new();
        for _ in 0..2 {
            degraded.scope(ledger.run_or(refused, |_why| Ok(7))).await.expect("the fallback answers");
        }
        assert_eq!(told(&degraded), (1, true, Some(Reason::CircuitOpen)));
        assert_eq!(told(&well), (1, false, None), "a record hears of its own work alone");
    }

    #[tokio::test(start_paused = true)]
    async fn a_record_hears_of_what_is_cut_and_not_of_what_an_inner_one_hears() {
        let (outer, inner) = (Record::new(), Record::new());
        let ledger = ledger();
        outer
            .scope(async {
                inner.scope(ledger.run(std::future::pending::<io::Result<()>>)).await.expect_err("it hangs");
                ledger.run(async || Ok::<_, BoxError>(7)).await.expect("it is well");
            })
            .await;
        assert_eq!(told(&inner), (1, false, Some(Reason::Timeout)));
        assert_eq!(told(&outer), (1, false, None));
    }

    #[tokio::test(start_paused = true)]
    async fn a_panic_ends_the_record_of_its_poll() {
        let record = Record::new();
        let mut work = tokio_test::task::spawn(record.scope(async { panic!("a bug") }));
        let panicked = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| work.poll()));
        assert!(panicked.is_err() && !LISTENS.get() && HERE.take().is_none());
    }
}
