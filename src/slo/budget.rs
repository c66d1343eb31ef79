use std::{
    fmt,
    sync::{Arc, TryLockError},
    time::Duration,
};

use tokio::time::Instant;

use super::{
    BurnRule, Day, ForeignSnapshot, Objective, Promise, Snapshot, Window,
    burn::{rate, remaining},
    rings::{Rings, TICK},
    runs::Runs,
};
use crate::{
    clock,
    event::Event,
    registry::Registry,
    sync::{AtomicU32, AtomicU64, Mutex, MutexGuard, Ordering, lock},
    tally::{Count, Tallied, Tally},
    window::nanos,
    words::Words,
};

/// As many objectives keep their names in alerts.
static NAMES: Words = Words::new(Registry::MAX_NAMES);

/// The error budget of an objective while the process runs: what was good, what was bad, and how fast that burns.
///
/// Every outcome counts the same, so an idle hour weighs nothing. An outcome is one relaxed add in memory that the thread
/// mostly has to itself. Once a second somebody who counts or asks *settles*: adds up what was counted since, and
/// publishes [`remaining`](Self::remaining), [`burn`](Self::burn) and the alerts. So what is asked for is a second old at
/// most.
///
/// A process knows what went through itself alone, and since it started or since its [`snapshot`](Self::snapshot).
///
/// A clone is the same budget.
///
/// # Defaults
///
/// | setting | default |
/// |---|---|
/// | [`min_events`](Self::min_events) | 100; of daily runs 1 |
///
/// # Example
///
/// ```
/// # #[tokio::main(flavor = "current_thread", start_paused = true)] async fn main() {
/// use std::time::Duration;
/// use moneta_resilience::slo::{ErrorBudget, Objective, Window};
///
/// let budget = ErrorBudget::new(Objective::new("imports").target(99.0));
/// (0..1_000).for_each(|row| budget.record(row % 200 != 0));
/// tokio::time::advance(Duration::from_secs(1)).await;
/// assert_eq!((budget.remaining(), budget.burn(Window::Hour)), (0.5, 0.5));
/// # }
/// ```
#[derive(Clone)]
pub struct ErrorBudget {
    shared: Arc<Shared>,
}

struct Shared {
    objective: Objective,
    /// Its name.
    slo: &'static str,
    min_events: u64,
    tally: Tally,
    /// The instant that time counts from.
    origin: Instant,
    /// From when on, in nanoseconds from there, it is to be settled again.
    due: AtomicU64,
    books: Mutex<Books>,
    published: Published,
    /// Which alerts somebody was told of.
    told: AtomicU32,
}

/// What was counted, when.
struct Books {
    rings: Rings,
    /// Of an objective for daily runs.
    runs: Option<Runs>,
    /// As far as the tally is in the rings.
    settled: Count,
}

/// What everybody may read. Each number stands for itself.
struct Published {
    remaining: Float,
    burns: [Float; Window::ALL.len()],
    /// A bit for each of [`BurnRule::ALL`] that fires.
    firing: AtomicU32,
}

/// The bits of an `f64`.
struct Float(AtomicU64);

impl ErrorBudget {
    /// How long what was counted may wait to be settled.
    const PACE: Duration = Duration::from_secs(1);

    /// The budget of an objective, none of which is spent.
    pub fn new(objective: Objective) -> Self {
        let min_events = if let Promise::By(_) = objective.promise() { 1 } else { 100 };
        Self::with(objective, min_events)
    }

    /// How many events the long window of an alert holds before it fires, so that nobody is woken for one failure of three.
    ///
    /// Default: 100; of an objective for daily runs 1.
    #[must_use = "this makes a new budget"]
    pub fn min_events(self, events: u64) -> Self {
        Self::with(self.shared.objective.clone(), events)
    }

    fn with(objective: Objective, min_events: u64) -> Self {
        let now = Instant::now();
        let runs = match objective.promise() {
            Promise::By(due) => Some(Runs::new(due.clone(), clock::wall(now))),
            _ => None,
        };
        let shared = Shared {
            slo: NAMES.get(objective.name().as_str()),
            objective,
            min_events,
            tally: Tally::default(),
            origin: now,
            due: AtomicU64::new(nanos(Self::PACE)),
            books: Mutex::new(Books { rings: Rings::new(), runs, settled: Count::default() }),
            published: Published::new(),
            told: AtomicU32::new(0),
        };
        Self { shared: Arc::new(shared) }
    }

    /// The objective that it is the budget of.
    pub fn objective(&self) -> &Objective {
        &self.shared.objective
    }

    /// Counts one outcome that no stack counts: a row of an import, a message. It takes no lock and no memory, but once a
    /// second.
    pub fn record(&self, good: bool) {
        self.record_at(good, Instant::now());
    }

    /// Says that the run of a day is complete, the day being today's in the time zone of the objective. Says whether that was in
    /// time.
    ///
    /// # Panics
    ///
    /// When the objective is not one of daily runs.
    pub fn complete(&self) -> bool {
        self.complete_on(|runs| runs.today(clock::wall(Instant::now())))
    }

    /// Says that the run of this day is complete, which may be a day to come: of a job that runs in the evening before. Says
    /// whether that was in time; a run that is more than a week ahead is none.
    ///
    /// # Panics
    ///
    /// When the objective is not one of daily runs.
    pub fn complete_for(&self, day: Day) -> bool {
        self.complete_on(|_| day)
    }

    fn complete_on(&self, day: impl FnOnce(&Runs) -> Day) -> bool {
        let mut books = self.shared.settle(lock(&self.shared.books), Instant::now());
        let runs =
            books.runs.as_mut().expect("only an objective with `by(..)` has runs that can be complete");
        let day = day(runs);
        runs.complete(day)
    }

    /// Exports the counts of this budget from the process: `slo.events`, both results from 0 on. A stack that it is given to does
    /// so by itself. Budgets of one name are summed.
    #[must_use = "this is the same budget"]
    pub fn export(self) -> Self {
        self.export_to(Registry::global());
        self
    }

    pub(crate) fn export_to(&self, registry: &Registry) {
        let counter: Arc<dyn Tallied> = self.shared.clone();
        registry.enlist_objective(self.objective().name(), counter);
    }

    /// One clear error where runs are to be counted as calls.
    #[track_caller]
    pub(crate) fn assert_counts_calls(&self) {
        assert!(
            !matches!(self.objective().promise(), Promise::By(_)),
            "the objective {:?} is one of daily runs, and a stack counts calls: have the job call `complete()`",
            self.objective().name(),
        );
    }

    /// Which share of the budget is left, over the last 30 days: 1 for all of it, 0 for nothing, less when more was spent
    /// than there was. Without events it is whole.
    pub fn remaining(&self) -> f64 {
        self.current().remaining.get()
    }

    /// How fast the budget burns over a window: 1 uses it up in exactly its 30 days.
    pub fn burn(&self, window: Window) -> f64 {
        self.current().burns[window as usize].get()
    }

    /// The alerts that fire.
    pub fn alerts(&self) -> impl Iterator<Item = BurnRule> + use<> {
        let firing = self.current().firing.load(Ordering::Relaxed);
        BurnRule::ALL
            .into_iter()
            .enumerate()
            .filter(move |(bit, _)| firing & (1 << bit) != 0)
            .map(|(_, rule)| rule)
    }

    /// What was counted over a window: good ones, and bad ones.
    pub fn counts(&self, window: Window) -> (u64, u64) {
        let Count { good, bad } =
            self.shared.settle(lock(&self.shared.books), Instant::now()).rings.sum(window);
        (good, bad)
    }

    /// What was counted, to be restored when the process starts again: see [`Snapshot`].
    pub fn snapshot(&self) -> Snapshot {
        let now = Instant::now();
        let books = self.shared.settle(lock(&self.shared.books), now);
        let judged = books.runs.as_ref().map(Runs::judged);
        Snapshot::of(self.objective().name(), clock::wall(now), judged, &books.rings)
    }

    /// Adds what was counted before the process started, as old as it is by now. To be done once.
    ///
    /// Totals that are exported begin at 0 nevertheless, as counters of a new process do.
    ///
    /// # Errors
    ///
    /// [`ForeignSnapshot`] when it is of an objective of another name: nothing is added then.
    pub fn restore(&self, snapshot: &Snapshot) -> Result<(), ForeignSnapshot> {
        snapshot.is_of(self.objective().name())?;
        let now = Instant::now();
        let mut books = self.shared.settle(lock(&self.shared.books), now);
        snapshot.add_to(&mut books.rings, clock::wall(now));
        if let (Some(runs), Some(judged)) = (&mut books.runs, snapshot.judged()) {
            runs.resume(judged);
        }
        drop(self.shared.settle(books, now));
        Ok(())
    }

    #[inline]
    pub(super) fn record_at(&self, good: bool, now: Instant) {
        // Before it is counted: what is in the tally is from before now.
        self.shared.settle_if_due(now);
        self.shared.tally.add(good);
    }

    /// The alerts that began or ended since the last time. Each is given to one who asks.
    pub(super) fn untold(&self) -> impl Iterator<Item = Event> + use<> {
        let Shared { slo, told, published, .. } = &*self.shared;
        let firing = published.firing.load(Ordering::Relaxed);
        // Relaxed: the bits are all there is. Whoever swaps in old ones is put right by the next.
        let changed = if told.load(Ordering::Relaxed) == firing {
            0
        } else {
            told.swap(firing, Ordering::Relaxed) ^ firing
        };
        let slo = *slo;
        (0..).zip(BurnRule::ALL).filter(move |&(bit, _)| changed & 1 << bit != 0).map(move |(bit, rule)| {
            let (severity, window) = (rule.severity, rule.long.duration());
            Event::BudgetAlert { slo, severity, window, firing: firing & 1 << bit != 0 }
        })
    }

    fn current(&self) -> &Published {
        self.shared.settle_if_due(Instant::now());
        &self.shared.published
    }
}

impl Shared {
    #[inline]
    fn settle_if_due(&self, now: Instant) {
        if self.elapsed(now) >= self.due.load(Ordering::Relaxed) {
            self.settle_unless_busy(now);
        }
    }

    /// Nobody waits for whoever is at it. What that one finds of an outcome that is counted meanwhile counts as of the second
    /// before.
    #[cold]
    fn settle_unless_busy(&self, now: Instant) {
        match self.books.try_lock() {
            Ok(books) => drop(self.settle(books, now)),
            Err(TryLockError::Poisoned(books)) => drop(self.settle(books.into_inner(), now)),
            Err(TryLockError::WouldBlock) => {}
        }
    }

    /// Enters what was counted since the last time in the books of that time, and moves them on.
    fn settle<'a>(&self, mut books: MutexGuard<'a, Books>, now: Instant) -> MutexGuard<'a, Books> {
        let elapsed = self.elapsed(now);
        let counted = self.tally.count();
        let mut new = counted;
        new -= books.settled;
        books.settled = counted;
        books.rings.add(new);
        books.rings.advance(elapsed / nanos(TICK));
        if let Some(runs) = &mut books.runs {
            let due = runs.judge(clock::wall(now));
            (0..due.good).for_each(|_| self.tally.add(true));
            (0..due.bad).for_each(|_| self.tally.add(false));
            books.settled += due;
            books.rings.add(due);
        }
        // Under the lock, so that it never goes back; a late `now` moves nothing.
        let due = self.due.load(Ordering::Relaxed).max(elapsed.saturating_add(nanos(ErrorBudget::PACE)));
        self.due.store(due, Ordering::Relaxed);
        self.publish(&books.rings);
        books
    }

    fn publish(&self, rings: &Rings) {
        let target = self.objective.target_value();
        self.published.remaining.set(remaining(target, rings.sum(Window::Days30)));
        for window in Window::ALL {
            self.published.burns[window as usize].set(rate(target, rings.sum(window)));
        }
        let fires = |rule: BurnRule| {
            let (long, short) = (rings.sum(rule.long), rings.sum(rule.short));
            long.total() >= self.min_events && rule.is_over(target, long) && rule.is_over(target, short)
        };
        let firing = (0..).zip(BurnRule::ALL).filter(|&(_, rule)| fires(rule));
        let firing = firing.fold(0, |bits, (bit, _)| bits | 1 << bit);
        self.published.firing.store(firing, Ordering::Relaxed);
    }

    fn elapsed(&self, now: Instant) -> u64 {
        nanos(now.saturating_duration_since(self.origin))
    }
}

impl Tallied for Shared {
    /// A run that is missing is found by whoever looks.
    fn tallied(&self) -> Count {
        self.settle_if_due(Instant::now());
        self.tally.count()
    }
}

impl From<Objective> for ErrorBudget {
    fn from(objective: Objective) -> Self {
        Self::new(objective)
    }
}

impl Published {
    fn new() -> Self {
        Self {
            remaining: Float::new(1.0),
            burns: std::array::from_fn(|_| Float::new(0.0)),
            firing: AtomicU32::new(0),
        }
    }
}

impl Float {
    fn new(value: f64) -> Self {
        Self(AtomicU64::new(value.to_bits()))
    }

    fn get(&self) -> f64 {
        f64::from_bits(self.0.load(Ordering::Relaxed))
    }

    fn set(&self, value: f64) {
        self.0.store(value.to_bits(), Ordering::Relaxed);
    }
}

impl fmt::Debug for ErrorBudget {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ErrorBudget")
            .field("objective", &self.shared.objective)
            .field("remaining", &self.shared.published.remaining.get())
            .finish_non_exhaustive()
    }
}
