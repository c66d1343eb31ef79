//! The books of an error budget: who settles them, when, and what is published and driven by them.

use std::{sync::TryLockError, time::Duration};

use tokio::time::Instant;

use super::{
    BurnRule, Gate, Injected, Objective, Promise, Window,
    alerts::{self, Firing, Told},
    burn::{rate, remaining},
    rings::Rings,
    runs::Runs,
};
use crate::{
    clock,
    dial::Dial,
    observer::Observer,
    ratio::Ratio,
    record,
    registry::Registry,
    sync::{AtomicBool, AtomicU32, AtomicU64, Mutex, MutexGuard, Ordering, lock},
    tally::{Count, Tallied, Tallies, Tally},
    window::nanos,
    words::Words,
};

/// As many objectives keep their names in alerts.
static NAMES: Words = Words::new(Registry::MAX_NAMES);

/// What is said of a budget before it counts.
#[derive(Clone)]
pub(super) struct Terms {
    pub(super) objective: Objective,
    pub(super) min_events: u64,
    /// Below which rest of the budget the dial is turned down.
    pub(super) floor: Ratio,
    /// Who is told of its alerts whoever counts for it.
    pub(super) observer: Option<Observer>,
}

/// What the clones of a budget share.
pub(super) struct Shared {
    pub(super) terms: Terms,
    /// The name of the objective.
    pub(super) slo: &'static str,
    pub(super) dial: Dial,
    pub(super) tally: Tally,
    /// Calls under a fault, where they are counted apart.
    pub(super) injected: Option<Tally>,
    /// The instant that time counts from.
    pub(super) origin: Instant,
    /// From when on, in nanoseconds from there, it is to be settled again.
    pub(super) due: AtomicU64,
    pub(super) books: Mutex<Books>,
    pub(super) published: Published,
    /// How many stacks count for it, and tell of its alerts.
    pub(super) stacks: AtomicU32,
    /// What it told itself, or would have told if no stack did.
    told: Told,
}

/// What was counted, when.
pub(super) struct Books {
    pub(super) rings: Rings,
    /// Of an objective for daily runs.
    pub(super) runs: Option<Runs>,
    /// As far as the tally is in the rings.
    pub(super) settled: Count,
    /// What was found with a snapshot, and nobody has read off the totals yet: runs that nobody made while there was no process.
    pub(super) found: Count,
    pub(super) fleet: Option<Fleet>,
}

/// What the whole fleet knows.
#[derive(Clone, Copy)]
pub(super) struct Fleet {
    pub(super) remaining: f64,
    pub(super) burn: f64,
    pub(super) until: Instant,
}

/// What everybody may read. Each number stands for itself.
pub(super) struct Published {
    pub(super) remaining: Float,
    pub(super) burns: [Float; Window::ALL.len()],
    pub(super) firing: Firing,
    /// Whether it burns so fast that it wakes somebody.
    pub(super) is_urgent: AtomicBool,
    /// Which of [`Gate::ALL`].
    pub(super) gate: AtomicU32,
}

/// The bits of an `f64`.
pub(super) struct Float(AtomicU64);

impl Shared {
    /// How long what was counted may wait to be settled.
    const PACE: Duration = Duration::from_secs(1);

    pub(super) fn new(terms: Terms) -> Self {
        let now = Instant::now();
        let runs = match terms.objective.promise() {
            Promise::By(due) => Some(Runs::new(due.clone(), now, clock::wall(now))),
            _ => None,
        };
        let injected = (terms.objective.injected_value() == Injected::Separate).then(Tally::default);
        Self {
            slo: NAMES.get(terms.objective.name().as_str()),
            terms,
            dial: Dial::new(Ratio::ONE),
            tally: Tally::default(),
            injected,
            origin: now,
            due: AtomicU64::new(nanos(Self::PACE)),
            books: Mutex::new(Books {
                rings: Rings::new(),
                runs,
                settled: Count::default(),
                found: Count::default(),
                fleet: None,
            }),
            published: Published::new(),
            stacks: AtomicU32::new(0),
            told: Told::default(),
        }
    }

    pub(super) fn objective(&self) -> &Objective {
        &self.terms.objective
    }

    #[inline]
    pub(super) fn settle_if_due(&self, now: Instant) {
        if self.elapsed(now) >= self.due.load(Ordering::Relaxed) {
            self.settle_unless_busy(now);
        }
    }

    /// Nobody waits for whoever is at it. What that one finds of an outcome that is counted meanwhile counts as of the second
    /// before.
    #[cold]
    fn settle_unless_busy(&self, now: Instant) {
        let books = match self.books.try_lock() {
            Ok(books) => books,
            Err(TryLockError::Poisoned(books)) => books.into_inner(),
            Err(TryLockError::WouldBlock) => return,
        };
        drop(self.settle(books, now));
        self.tell();
    }

    /// Does something with the books as they are now, and tells of the alerts that began or ended by it.
    pub(super) fn with_books<T>(&self, now: Instant, act: impl FnOnce(&mut Books) -> T) -> T {
        let mut books = self.settle(lock(&self.books), now);
        let done = act(&mut books);
        drop(self.settle(books, now));
        self.tell();
        done
    }

    /// Tells of the alerts that began or ended, unless stacks do. Never under the lock: who is told may ask.
    fn tell(&self) {
        let Self { terms, slo, stacks, published, told, .. } = self;
        for change in told.changes(&published.firing) {
            let event = alerts::event(slo, change);
            match &terms.observer {
                Some(observer) => observer.emit(event),
                // Only now, so that a budget that is made early does not choose the backend of the process.
                None if stacks.load(Ordering::Relaxed) == 0 => {
                    record::uncounted(terms.objective.name()).emit(event);
                }
                None => {}
            }
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
        books.rings.advance(Duration::from_nanos(elapsed).as_secs());
        self.judge_runs(&mut books, now);
        // Under the lock, so that it never goes back; a late `now` moves nothing.
        let due = self.due.load(Ordering::Relaxed).max(elapsed.saturating_add(nanos(Self::PACE)));
        self.due.store(due, Ordering::Relaxed);
        self.publish(&books, now);
        books
    }

    /// Enters the runs that were due since the last time.
    pub(super) fn judge_runs(&self, books: &mut Books, now: Instant) -> Count {
        let Some(runs) = &mut books.runs else { return Count::default() };
        let due = runs.judge(now, clock::wall(now));
        (0..due.good).for_each(|_| self.tally.add(true));
        (0..due.bad).for_each(|_| self.tally.add(false));
        books.settled += due;
        books.rings.add(due);
        due
    }

    fn publish(&self, books: &Books, now: Instant) {
        let rings = &books.rings;
        let target = self.objective().target_value();
        self.published.remaining.set(remaining(target, rings.sum(Window::Days30)));
        for window in Window::ALL {
            self.published.burns[window as usize].set(rate(target, rings.sum(window)));
        }
        let fires = |rule: BurnRule| {
            let (long, short) = (rings.sum(rule.long), rings.sum(rule.short));
            long.total() >= self.terms.min_events && rule.is_over(target, long) && rule.is_over(target, short)
        };
        self.published.firing.set(fires);
        self.drive(books, now);
    }

    /// Turns the dial, moves the gate, and says whether a circuit breaker has to open.
    fn drive(&self, books: &Books, now: Instant) {
        let [fastest, ..] = BurnRule::ALL;
        let fleet = books.fleet.filter(|fleet| now < fleet.until);
        let (remaining, is_burning, is_urgent) = if let Some(Fleet { remaining, burn, .. }) = fleet {
            let is_burning = burn > fastest.factor();
            (remaining, is_burning, is_burning)
        } else {
            let target = self.objective().target_value();
            let (all, short) = (books.rings.sum(Window::Days30), books.rings.sum(fastest.short));
            // Less than ten events of budget, and a single failure would be most of it.
            let is_known = u128::from(all.total()) * u128::from(target.budget().count()) >= 10_000_000;
            let remaining = if is_known { remaining(target, all) } else { 1.0 };
            let is_burning = short.total() >= self.terms.min_events && fastest.is_over(target, short);
            (remaining, is_burning, self.published.firing.is_page())
        };
        let floor = self.terms.floor.value();
        let rest = if remaining >= floor { 1.0 } else { (remaining / floor).max(0.0) };
        let share = if is_burning { Ratio::ZERO } else { Ratio::new(rest).unwrap_or(Ratio::ZERO) };
        self.dial.set(share);
        let gate = match () {
            () if is_burning || is_urgent => Gate::Burning,
            () if remaining < floor => Gate::Spent,
            () => Gate::Open,
        };
        self.published.is_urgent.store(is_urgent, Ordering::Relaxed);
        self.published.gate.store(gate as u32, Ordering::Relaxed);
    }

    fn elapsed(&self, now: Instant) -> u64 {
        nanos(now.saturating_duration_since(self.origin))
    }
}

impl Tallied for Shared {
    /// A run that is missing is found by whoever looks. One that was found with a snapshot is there from the second reading on: a
    /// counter that begins at 1 hides that from whoever computes a rate.
    fn tallied(&self) -> Tallies {
        self.settle_if_due(Instant::now());
        // Both under the lock, under which both are changed.
        let mut books = lock(&self.books);
        let mut events = self.tally.count();
        events -= std::mem::take(&mut books.found);
        drop(books);
        Tallies { events, injected: self.injected.as_ref().map(Tally::count) }
    }
}

impl Published {
    fn new() -> Self {
        Self {
            remaining: Float::new(1.0),
            burns: std::array::from_fn(|_| Float::new(0.0)),
            firing: Firing::default(),
            is_urgent: AtomicBool::new(false),
            gate: AtomicU32::new(Gate::Open as u32),
        }
    }
}

impl Float {
    fn new(value: f64) -> Self {
        Self(AtomicU64::new(value.to_bits()))
    }

    pub(super) fn get(&self) -> f64 {
        f64::from_bits(self.0.load(Ordering::Relaxed))
    }

    fn set(&self, value: f64) {
        self.0.store(value.to_bits(), Ordering::Relaxed);
    }
}
