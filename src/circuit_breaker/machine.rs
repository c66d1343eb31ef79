//! The breaker as a pure machine: it is told the time, and tells its transitions to who called it.

use std::time::Duration;

use tokio::time::Instant;

use super::{
    config::{AbandonedPolicy, CircuitBreakerConfig},
    probation::{Probation, Verdict},
    snapshot::CircuitBreakerSnapshot,
    streak::Streaks,
    word::Word,
};
use crate::{
    class::{Class, Ending},
    event::{BreakerResult, CircuitState},
    random::Random,
    sync::{AtomicU64, Mutex, Ordering, lock},
    window::{Kind, Window, nanos},
};

/// A circuit breaker without clock, request or observer.
///
/// A closed breaker admits with one load and counts with one compare-and-swap in a striped window. Everything that
/// is rare, transitions and probes, happens under one small lock.
#[derive(Debug)]
#[expect(unnameable_types, reason = "it stands in a trait that nobody else can implement")]
pub struct Machine {
    config: CircuitBreakerConfig,
    random: Random,
    origin: Instant,
    /// The [`Word`]. Stored under the lock, with `Release`, after everything that belongs to the new state; loaded
    /// with `Acquire`, so that who sees a state sees its cleared window and its open time.
    word: AtomicU64,
    /// When an open breaker probes, in nanoseconds since the origin. Of use in state Open only.
    probe_at: AtomicU64,
    /// The newest slice of the window after whose beginning the closed breaker was judged.
    judged: AtomicU64,
    window: Window,
    streaks: Streaks,
    rare: Mutex<Rare>,
}

/// What only transitions and probes touch.
#[derive(Debug)]
struct Rare {
    since: Instant,
    /// How often the breaker opened since it was last closed.
    openings: u32,
    probation: Probation,
}

/// Leave to call the dependency once, to be given back with [`Machine::record`] or [`Machine::abandon`]. One that is
/// lost holds a probe until the watchdog comes.
#[derive(Debug)]
#[must_use = "a probe that is not given back blocks others"]
pub(crate) struct Admission {
    word: Word,
    /// When a probe began.
    probe: Option<Instant>,
}

/// The breaker refuses a call.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Denied {
    /// How long it will go on refusing, at most; unknown when it was opened by hand.
    pub(crate) retry_after: Option<Duration>,
}

/// A change of state, for its one teller.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Transition {
    pub(crate) from: CircuitState,
    pub(crate) to: CircuitState,
}

/// What became of a call that was given back.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Counted {
    /// As what the call counts; `None` when it was nothing to count.
    pub(crate) result: Option<BreakerResult>,
    pub(crate) transition: Option<Transition>,
}

/// What a call that was given back says about the dependency.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Mark {
    Success,
    Slow,
    Failure,
    /// A failure in the rates, not in a row.
    Throttled,
    Abandoned,
    /// The dependency was not asked.
    Nothing,
}

impl Machine {
    pub(crate) fn new(config: CircuitBreakerConfig, random: Random, now: Instant) -> Self {
        let window = Window::striped(config.window, now);
        Self::with(config, random, window, now)
    }

    /// The same in a fourth of the memory; see [`Window::unstriped`].
    pub(crate) fn unstriped(config: CircuitBreakerConfig, random: Random, now: Instant) -> Self {
        let window = Window::unstriped(config.window, now);
        Self::with(config, random, window, now)
    }

    fn with(config: CircuitBreakerConfig, random: Random, window: Window, now: Instant) -> Self {
        Self {
            random,
            origin: now,
            word: AtomicU64::new(Word::FIRST.0),
            probe_at: AtomicU64::new(0),
            judged: AtomicU64::new(0),
            window,
            streaks: Streaks::default(),
            rare: Mutex::new(Rare { since: now, openings: 0, probation: Probation::new(&config) }),
            config,
        }
    }

    /// Asks for leave to call. A closed breaker reads no clock.
    ///
    /// An open breaker whose time is over turns half-open here, and a half-open one whose probe hangs opens again, so
    /// either answer may come with a transition.
    #[inline]
    pub(crate) fn admit(
        &self,
        now: impl FnOnce() -> Instant,
    ) -> (Result<Admission, Denied>, Option<Transition>) {
        let word = self.word();
        if word.admits_all() {
            return (Ok(Admission { word, probe: None }), None);
        }
        self.admit_guarded(now())
    }

    #[cold]
    fn admit_guarded(&self, now: Instant) -> (Result<Admission, Denied>, Option<Transition>) {
        // An outage means many refusals: those do not queue for the lock.
        if let Some(denied) = self.denied_until_probing(self.word(), now) {
            return (Err(denied), None);
        }
        let rare = &mut *lock(&self.rare);
        let word = self.word();
        if word.admits_all() {
            return (Ok(Admission { word, probe: None }), None);
        }
        if let Some(denied) = self.denied_until_probing(word, now) {
            return (Err(denied), None);
        }
        if word.state() == CircuitState::HalfOpen && rare.probation.is_overdue(now) {
            let transition = self.enter(rare, CircuitState::Open, now);
            let denied = Denied { retry_after: Some(self.until_probe(now)) };
            return (Err(denied), Some(transition));
        }
        let transition =
            (word.state() == CircuitState::Open).then(|| self.enter(rare, CircuitState::HalfOpen, now));
        let admission = match rare.probation.begin(now) {
            Ok(()) => Ok(Admission { word: self.word(), probe: Some(now) }),
            Err(wait) => Err(Denied { retry_after: Some(wait) }),
        };
        (admission, transition)
    }

    /// Gives an admission back with the outcome of the call. How long it took is asked only if it makes a difference.
    pub(crate) fn record(
        &self,
        admission: Admission,
        class: Class,
        elapsed: impl FnOnce() -> Duration,
        now: Instant,
    ) -> Counted {
        let (mark, result) = match class {
            Class::Success | Class::CallerFault => {
                if self.is_slow(elapsed) {
                    (Mark::Slow, Some(BreakerResult::Slow))
                } else {
                    (Mark::Success, Some(BreakerResult::Success))
                }
            }
            Class::Transient { .. } | Class::Fault => (Mark::Failure, Some(BreakerResult::Failure)),
            Class::Throttled { .. } => (Mark::Throttled, Some(BreakerResult::Failure)),
            Class::Neutral => (Mark::Nothing, None),
        };
        self.give_back(admission, mark, result, now)
    }

    /// Gives an admission back without an outcome.
    pub(crate) fn abandon(&self, admission: Admission, ending: Ending, now: Instant) -> Counted {
        let (mark, result) = match (ending, self.config.abandoned) {
            (Ending::Panicked, _) => (Mark::Failure, BreakerResult::Failure),
            (Ending::Cancelled, AbandonedPolicy::AsFailure) => (Mark::Failure, BreakerResult::Cancelled),
            (Ending::Cancelled, _) => (Mark::Abandoned, BreakerResult::Cancelled),
        };
        self.give_back(admission, mark, Some(result), now)
    }

    /// Whether a call would be refused now, without asking for leave.
    #[inline]
    pub(crate) fn is_open_now(&self, now: impl FnOnce() -> Instant) -> bool {
        let word = self.word();
        !word.admits_all() && self.refuses(word, now())
    }

    #[cold]
    fn refuses(&self, word: Word, now: Instant) -> bool {
        if word.state() == CircuitState::HalfOpen {
            let probation = &lock(&self.rare).probation;
            return probation.is_overdue(now) || probation.is_full();
        }
        self.denied_until_probing(word, now).is_some()
    }

    /// Refuses every call until [`reset`](Self::reset) or [`disable`](Self::disable).
    pub(crate) fn force_open(&self, now: Instant) -> Option<Transition> {
        self.force(CircuitState::ForcedOpen, now)
    }

    /// Admits every call and counts none until [`reset`](Self::reset) or [`force_open`](Self::force_open).
    pub(crate) fn disable(&self, now: Instant) -> Option<Transition> {
        self.force(CircuitState::Disabled, now)
    }

    /// Closes the breaker and forgets everything that it counted and everything that is on its way.
    pub(crate) fn reset(&self, now: Instant) -> Option<Transition> {
        let rare = &mut *lock(&self.rare);
        let transition = self.enter(rare, CircuitState::Closed, now);
        (transition.from != transition.to).then_some(transition)
    }

    fn force(&self, state: CircuitState, now: Instant) -> Option<Transition> {
        let rare = &mut *lock(&self.rare);
        (self.word().state() != state).then(|| self.enter(rare, state, now))
    }

    pub(crate) fn config(&self) -> &CircuitBreakerConfig {
        &self.config
    }

    /// The state as the last call left it: an open breaker whose time is over stays open until somebody calls.
    pub(crate) fn state(&self) -> CircuitState {
        self.word().state()
    }

    pub(crate) fn snapshot(&self, now: Instant) -> CircuitBreakerSnapshot {
        let rare = lock(&self.rare);
        let word = self.word();
        let counts = self.window.sums(word.epoch(), self.window.slice_at(now)).whole;
        CircuitBreakerSnapshot {
            state: word.state(),
            calls: counts.calls,
            failures: counts.failures,
            slow: counts.slow,
            abandoned: counts.abandoned,
            time_in_state: now.saturating_duration_since(rare.since),
            next_probe: (word.state() == CircuitState::Open).then(|| self.until_probe(now)),
        }
    }

    /// Whether nothing is lost when the breaker is thrown away: it is closed, or time has long closed it, because nobody
    /// has asked it for `patience` after it would have let a call through.
    pub(crate) fn may_be_forgotten(&self, patience: Duration, now: Instant) -> bool {
        match self.state() {
            CircuitState::Closed => true,
            CircuitState::Open | CircuitState::HalfOpen => {
                let since = lock(&self.rare).since;
                now.saturating_duration_since(since) >= patience.saturating_add(self.config.open_time.1)
            }
            CircuitState::ForcedOpen | CircuitState::Disabled => false,
        }
    }

    fn word(&self) -> Word {
        Word(self.word.load(Ordering::Acquire))
    }

    fn is_slow(&self, elapsed: impl FnOnce() -> Duration) -> bool {
        self.config.slow.is_some_and(|slow| elapsed() >= slow.duration)
    }

    /// The refusal of a breaker that is open and not yet to be probed.
    fn denied_until_probing(&self, word: Word, now: Instant) -> Option<Denied> {
        match word.state() {
            CircuitState::ForcedOpen => Some(Denied { retry_after: None }),
            CircuitState::Open => {
                let wait = self.until_probe(now);
                (!wait.is_zero()).then_some(Denied { retry_after: Some(wait) })
            }
            _ => None,
        }
    }

    fn until_probe(&self, now: Instant) -> Duration {
        // Relaxed: the load of the word came before, with `Acquire`.
        let probe_at = self.probe_at.load(Ordering::Relaxed);
        Duration::from_nanos(probe_at.saturating_sub(self.since_origin(now)))
    }

    fn since_origin(&self, now: Instant) -> u64 {
        nanos(now.saturating_duration_since(self.origin))
    }

    #[expect(clippy::needless_pass_by_value, reason = "an admission is used up")]
    fn give_back(
        &self,
        admission: Admission,
        mark: Mark,
        result: Option<BreakerResult>,
        now: Instant,
    ) -> Counted {
        let Admission { word, probe } = admission;
        if word.state() == CircuitState::Disabled {
            return Counted { result: None, transition: None };
        }
        let transition = match probe {
            _ if word != self.word() => None,
            Some(begun) => self.give_back_probe(word, begun, mark, now),
            None => self.count(word, mark, now),
        };
        Counted { result, transition }
    }

    /// Counts a call of the closed breaker. A success leaves at once, unless time has changed the window since the
    /// last judgement.
    #[inline]
    fn count(&self, word: Word, mark: Mark, now: Instant) -> Option<Transition> {
        let kinds: &[Kind] = match mark {
            Mark::Success => &[Kind::Call],
            Mark::Slow => &[Kind::Call, Kind::Slow],
            Mark::Failure | Mark::Throttled => &[Kind::Call, Kind::Failure],
            Mark::Abandoned => &[Kind::Abandoned],
            Mark::Nothing => return None,
        };
        let slice = self.window.slice_at(now);
        self.window.count(word.epoch(), slice, kinds);
        self.streaks.note(word.generation(), mark);
        let settled = mark == Mark::Success && slice <= self.judged.load(Ordering::Relaxed);
        if settled { None } else { self.judge(word, slice, now) }
    }

    #[cold]
    fn judge(&self, word: Word, slice: u64, now: Instant) -> Option<Transition> {
        // Of two threads that count at once each may miss the other's call; the next judgement sees both.
        self.judged.fetch_max(slice, Ordering::Relaxed);
        let sums = self.window.sums(word.epoch(), slice);
        if !self.config.trips(&sums, self.streaks.of(word.generation())) {
            return None;
        }
        let rare = &mut *lock(&self.rare);
        (self.word() == word).then(|| self.enter(rare, CircuitState::Open, now))
    }

    fn give_back_probe(&self, word: Word, begun: Instant, mark: Mark, now: Instant) -> Option<Transition> {
        let rare = &mut *lock(&self.rare);
        if self.word() != word {
            return None;
        }
        match rare.probation.end(begun, mark)? {
            Verdict::Recovered => Some(self.enter(rare, CircuitState::Closed, now)),
            Verdict::Failing => Some(self.enter(rare, CircuitState::Open, now)),
        }
    }

    /// The one place where the state changes; the caller holds the lock.
    fn enter(&self, rare: &mut Rare, to: CircuitState, now: Instant) -> Transition {
        let word = self.word();
        match to {
            CircuitState::Open => {
                // Half of the time is fixed and half is drawn, so that many breakers of one dependency do not probe
                // it together ("equal jitter": Brooker, "Exponential Backoff And Jitter", AWS 2015).
                let most = self.config.open_time_after(rare.openings);
                let wait = self.random.duration(most / 2, most);
                let probe_at = self.since_origin(now).saturating_add(nanos(wait));
                self.probe_at.store(probe_at, Ordering::Relaxed);
                rare.openings = rare.openings.saturating_add(1);
            }
            CircuitState::Closed => rare.openings = 0,
            CircuitState::HalfOpen | CircuitState::ForcedOpen | CircuitState::Disabled => {}
        }
        rare.since = now;
        rare.probation.clear();
        self.window.clear();
        self.word.store(word.next(to).0, Ordering::Release);
        Transition { from: word.state(), to }
    }
}
