use std::{fmt, sync::Arc, time::Duration};

use tokio::time::Instant;

use super::{
    BurnRule, Day, ForeignSnapshot, Objective, Promise, Snapshot, Window,
    alerts::{self, Told},
    books::{Fleet, Published, Shared, Terms},
    runs::Runs,
};
use crate::{
    call::later,
    clock,
    dial::Dial,
    event::Event,
    observer::Observer,
    ratio::Ratio,
    registry::Registry,
    sync::Ordering,
    tally::{Count, Tallied, Tally},
};

/// The error budget of an objective while the process runs: what was good, what was bad, and how fast that burns.
///
/// Every outcome counts the same, so an idle hour weighs nothing. An outcome is one relaxed add in memory that the thread
/// mostly has to itself. Once a second somebody who counts or asks *settles*: adds up what was counted since, and
/// publishes [`remaining`](Self::remaining), [`burn`](Self::burn) and the alerts. So what is asked for is a second old at
/// most.
///
/// A process knows what went through itself alone, and since it started or since its [`snapshot`](Self::snapshot). It goes by a
/// clock that nobody puts; time for which the machine sleeps is no time.
///
/// A clone is the same budget.
///
/// # Defaults
///
/// | setting | default |
/// |---|---|
/// | [`min_events`](Self::min_events) | 100; of daily runs 1 |
/// | [`floor`](Self::floor) | 10 % |
/// | [`observer`](Self::observer) | those of the stacks that count for it; where there are none, the log of the process |
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
        Self::with(Terms { objective, min_events, floor: Ratio::percent(10), observer: None })
    }

    /// How many events the long window of an alert holds before it fires, so that nobody is woken for one failure of three.
    ///
    /// Default: 100; of an objective for daily runs 1.
    #[must_use = "this makes a new budget"]
    pub fn min_events(self, events: u64) -> Self {
        Self::with(Terms { min_events: events, ..self.shared.terms.clone() })
    }

    /// Which share of the budget is kept for what nobody chose: below it the [`dial`](Self::dial) is turned down and the
    /// [`gate`](Self::gate) is shut. Default: 10 %.
    #[must_use = "this makes a new budget"]
    pub fn floor(self, share: Ratio) -> Self {
        Self::with(Terms { floor: share, ..self.shared.terms.clone() })
    }

    /// Tells this observer of its alerts, whoever counts.
    ///
    /// Default: each stack that counts for the budget tells its own; while there is none, the log of the process is told, under
    /// the name of the objective.
    ///
    /// An alert begins and ends for whoever counts or asks next, so what is fed by hand and idle by now is told of when the
    /// metrics are read.
    ///
    /// ```
    /// # #[tokio::main(flavor = "current_thread", start_paused = true)] async fn main() {
    /// use std::{sync::Arc, time::Duration};
    /// use moneta_resilience::{Name, Registry, event::Event, record::Tape, slo::{ErrorBudget, Objective}};
    ///
    /// let tape = Arc::new(Tape::new());
    /// let imports = Registry::new().observer(&Name::new("imports").expect("a good name")).sink(tape.clone());
    /// let budget = ErrorBudget::new(Objective::new("rows").target(99.9)).observer(imports);
    /// (0..100).for_each(|_| budget.record(false));
    /// tokio::time::advance(Duration::from_secs(1)).await;
    /// assert_eq!(budget.alerts().count(), 4);
    /// assert!(matches!(tape.events()[0], Event::BudgetAlert { slo: "rows", firing: true, .. }));
    /// # }
    /// ```
    #[must_use = "this makes a new budget"]
    pub fn observer(self, observer: Observer) -> Self {
        Self::with(Terms { observer: Some(observer), ..self.shared.terms.clone() })
    }

    fn with(terms: Terms) -> Self {
        Self { shared: Arc::new(Shared::new(terms)) }
    }

    /// The objective that it is the budget of.
    pub fn objective(&self) -> &Objective {
        self.shared.objective()
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
        self.shared.with_books(Instant::now(), |books| {
            let runs =
                books.runs.as_mut().expect("only an objective with `by(..)` has runs that can be complete");
            let day = day(runs);
            runs.complete(day)
        })
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
        self.current().firing.rules()
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
    /// last 5 minutes burn it. For so long the dial, the gate and a circuit breaker go by that, and not by what this process
    /// sees. Alerts stay those of this process: the monitoring has its own.
    ///
    /// What is not finite is no knowledge, and changes nothing.
    pub fn feed(&self, remaining: f64, burn: f64, valid_for: Duration) {
        if remaining.is_finite() && burn.is_finite() {
            let now = Instant::now();
            let until = later(now, valid_for);
            self.shared.with_books(now, |books| books.fleet = Some(Fleet { remaining, burn, until }));
        }
    }

    /// What was counted over a window: good ones, and bad ones.
    pub fn counts(&self, window: Window) -> (u64, u64) {
        let Count { good, bad } = self.shared.with_books(Instant::now(), |books| books.rings.sum(window));
        (good, bad)
    }

    /// What was counted apart since the process started: calls under a fault, good ones and bad ones. Nothing, unless the
    /// objective says [`Injected::Separate`](super::Injected::Separate).
    pub fn injected(&self) -> (u64, u64) {
        let Count { good, bad } = self.shared.injected.as_ref().map(Tally::count).unwrap_or_default();
        (good, bad)
    }

    /// What was counted, to be restored when the process starts again: see [`Snapshot`].
    pub fn snapshot(&self) -> Snapshot {
        let now = Instant::now();
        self.shared.with_books(now, |books| {
            let judged = books.runs.as_ref().map(Runs::judged);
            Snapshot::of(self.objective().name(), clock::wall(now), judged, &books.rings)
        })
    }

    /// Adds what was counted before the process started, as old as it is by now. To be done once.
    ///
    /// Totals that are exported begin at 0 nevertheless, as counters of a new process do.
    ///
    /// # Errors
    ///
    /// [`ForeignSnapshot`] when it is of an objective of another name, or of one that counted calls where this one counts daily
    /// runs, or the other way round: nothing is added then.
    pub fn restore(&self, snapshot: &Snapshot) -> Result<(), ForeignSnapshot> {
        snapshot.is_of(self.objective())?;
        let now = Instant::now();
        self.shared.with_books(now, |books| {
            snapshot.add_to(&mut books.rings, clock::wall(now));
            if let (Some(runs), Some(judged)) = (&mut books.runs, snapshot.judged()) {
                runs.resume(judged);
                let found = self.shared.judge_runs(books, now);
                books.found += found;
            }
        });
        Ok(())
    }

    #[inline]
    pub(super) fn record_at(&self, good: bool, now: Instant) {
        // Before it is counted: what is in the tally is from before now.
        self.shared.settle_if_due(now);
        self.shared.tally.add(good);
    }

    /// Where calls under a fault are counted apart, if they are.
    pub(super) fn counts_apart(&self) -> Option<&Tally> {
        self.shared.injected.as_ref()
    }

    /// Whether the budget burns so fast that it wakes somebody.
    pub(super) fn is_urgent(&self) -> bool {
        self.shared.published.is_urgent.load(Ordering::Relaxed)
    }

    /// The alerts that began or ended since the last time that this was told of any.
    pub(super) fn untold(&self, told: &Told) -> impl Iterator<Item = Event> + use<> {
        let slo = self.shared.slo;
        told.changes(&self.shared.published.firing).map(move |change| alerts::event(slo, change))
    }

    /// One stack more counts for it, and tells of its alerts.
    pub(super) fn join(&self) {
        self.shared.stacks.fetch_add(1, Ordering::Relaxed);
    }

    /// One that [joined](Self::join) is gone.
    pub(super) fn leave(&self) {
        self.shared.stacks.fetch_sub(1, Ordering::Relaxed);
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
            .field("objective", self.objective())
            .field("remaining", &self.shared.published.remaining.get())
            .finish_non_exhaustive()
    }
}
