use std::{fmt, sync::Arc, time::Duration};

use tokio::time::Instant;

use super::{
    BurnRule, Day, ForeignSnapshot, Objective, Promise, Snapshot, Window,
    books::{Fleet, Published, Shared, pages},
    runs::Runs,
};
use crate::{
    clock,
    dial::Dial,
    event::Event,
    ratio::Ratio,
    registry::Registry,
    sync::{Ordering, lock},
    tally::{Count, Tallied},
};

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
/// | [`floor`](Self::floor) | 10 % |
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

/// Whether what is a risk may be done now: see [`ErrorBudget::gate`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Gate {
    /// It may.
    Open,
    /// Little of the budget is left.
    Spent,
    /// The budget burns right now.
    Burning,
}

impl Gate {
    const ALL: [Self; 3] = [Self::Open, Self::Spent, Self::Burning];

    /// Whether what is a risk may be done.
    pub fn is_open(self) -> bool {
        self == Self::Open
    }
}

impl ErrorBudget {
    /// The budget of an objective, none of which is spent.
    pub fn new(objective: Objective) -> Self {
        let min_events = if let Promise::By(_) = objective.promise() { 1 } else { 100 };
        Self::with(objective, min_events, Ratio::percent(10))
    }

    /// How many events the long window of an alert holds before it fires, so that nobody is woken for one failure of three.
    ///
    /// Default: 100; of an objective for daily runs 1.
    #[must_use = "this makes a new budget"]
    pub fn min_events(self, events: u64) -> Self {
        Self::with(self.shared.objective.clone(), events, self.shared.floor)
    }

    /// Which share of the budget is kept for what nobody chose: below it the [`dial`](Self::dial) is turned down and the
    /// [`gate`](Self::gate) is shut. Default: 10 %.
    #[must_use = "this makes a new budget"]
    pub fn floor(self, share: Ratio) -> Self {
        Self::with(self.shared.objective.clone(), self.shared.min_events, share)
    }

    fn with(objective: Objective, min_events: u64, floor: Ratio) -> Self {
        Self { shared: Arc::new(Shared::new(objective, min_events, floor)) }
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

    /// A dial that follows the budget: all the way up while more than its [`floor`](Self::floor) is left, below that
    /// as far down as the rest is below the floor; and at nothing while the last 5 minutes burn faster than 14.4.
    ///
    /// What is left says something once the budget of what was counted is ten events; until then the dial stays up. It
    /// is turned by whoever counts or asks.
    pub fn dial(&self) -> Dial {
        self.shared.dial.clone()
    }

    /// Whether what is a risk may be done now: a release, a new feature, an experiment. Not while the budget burns, nor when
    /// less than its [`floor`](Self::floor) is left.
    ///
    /// ```
    /// # #[tokio::main(flavor = "current_thread", start_paused = true)] async fn main() {
    /// use moneta_resilience::slo::{ErrorBudget, Gate, Objective};
    ///
    /// let budget = ErrorBudget::new(Objective::new("login").target(99.9));
    /// assert!(budget.gate().is_open());
    /// (0..100).for_each(|_| budget.record(false));
    /// tokio::time::advance(std::time::Duration::from_secs(1)).await;
    /// assert_eq!(budget.gate(), Gate::Burning);
    /// # }
    /// ```
    pub fn gate(&self) -> Gate {
        Gate::ALL[self.current().gate.load(Ordering::Relaxed) as usize]
    }

    /// Feeds in what the whole fleet knows, from the monitoring for example: which share of the budget is left, and how fast the
    /// last 5 minutes burn it. For so long the dial and the gate go by that, and not by what this process sees.
    ///
    /// What is not finite is no knowledge, and changes nothing.
    pub fn feed(&self, remaining: f64, burn: f64, valid_for: Duration) {
        let now = Instant::now();
        let until = now.checked_add(valid_for);
        if let Some(until) = until.filter(|_| remaining.is_finite() && burn.is_finite()) {
            let mut books = lock(&self.shared.books);
            books.fleet = Some(Fleet { remaining, burn, until });
            drop(self.shared.settle(books, now));
        }
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

    /// Whether an alert fires that wakes somebody.
    pub(super) fn is_paging(&self) -> bool {
        self.shared.published.firing.load(Ordering::Relaxed) & pages() != 0
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

impl From<Objective> for ErrorBudget {
    fn from(objective: Objective) -> Self {
        Self::new(objective)
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
