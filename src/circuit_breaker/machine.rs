//! The breaker as a pure machine: it is told the time, and tells its transitions to who called it.

use std::time::Duration;

use tokio::time::Instant;

use super::{
    config::{AbandonedPolicy, CircuitBreakerConfig},
    counting::Counting,
    mark::Mark,
    probation::{Probation, Verdict},
    ramp::Ramp,
    transitions::{CircuitTransition, History},
    word::Word,
};
use crate::{
    call::later,
    class::{Class, Ending},
    event::{BreakerResult, CircuitState},
    random::Random,
    sync::{AtomicU64, Mutex, Ordering, lock},
    window::{Window, nanos},
};

mod grip;

/// A circuit breaker without clock, request or observer.
///
/// A closed breaker admits with one load and counts with one compare-and-swap in a striped window. Everything that
/// is rare, transitions and probes, happens under one small lock.
///
/// It begins where a line of the cache does, whatever its size and what lies before it: among ten thousand stacks a call finds
/// nothing in a cache that is near, and every line more that it touches is one more to wait for.
#[derive(Debug)]
#[repr(align(64))]
#[expect(unnameable_types, reason = "it stands in a trait that nobody else can implement")]
pub struct Machine {
    config: CircuitBreakerConfig,
    random: Random,
    origin: Instant,
    /// The [`Word`]. Stored under the lock, with `Release`, after everything that belongs to the new state; loaded
    /// with `Acquire`, so that who sees a state sees its cleared window and its open time.
    word: AtomicU64,
    /// When the time of the state is over, in nanoseconds since the origin: an open breaker probes, a recovering one
    /// closes. Of no use in other states.
    due: AtomicU64,
    counting: Counting,
    ramp: Ramp,
    rare: Mutex<Rare>,
}

/// What only transitions and probes touch.
#[derive(Debug)]
struct Rare {
    since: Instant,
    /// How often the breaker opened since it was last closed.
    openings: u32,
    /// What it was tripped for from outside, if it was.
    reason: Option<&'static str>,
    probation: Probation,
    /// `None` while nobody listens.
    history: Option<Box<History>>,
}

/// Leave to call the dependency once, to be given back with [`Machine::record`] or [`Machine::abandon`]. One that is
/// lost holds a probe until the watchdog comes.
#[derive(Debug)]
#[must_use = "a probe that is not given back blocks others"]
pub(crate) struct Admission {
    pub(super) word: Word,
    /// Of a probe, until when somebody waits for it.
    pub(super) probe: Option<Instant>,
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

impl Machine {
    pub(crate) fn new(config: CircuitBreakerConfig, random: Random, now: Instant) -> Self {
        let window = Window::laned(config.window, now);
        Self::with(config, random, window, now)
    }

    /// The same in less memory; see [`Window::shared`].
    pub(crate) fn with_shared_window(config: CircuitBreakerConfig, random: Random, now: Instant) -> Self {
        let window = Window::shared(config.window, now);
        Self::with(config, random, window, now)
    }

    fn with(config: CircuitBreakerConfig, random: Random, window: Window, now: Instant) -> Self {
        Self {
            random,
            origin: now,
            word: AtomicU64::new(Word::FIRST.0),
            due: AtomicU64::new(0),
            counting: Counting::new(window),
            ramp: Ramp::new(config.ramp),
            rare: Mutex::new(Rare {
                since: now,
                openings: 0,
                reason: None,
                probation: Probation::new(&config),
                history: None,
            }),
            config,
        }
    }

    /// Asks for leave to make a call: at which instant, and when it must be done. A closed breaker reads no clock.
    ///
    /// An open breaker whose time is over turns half-open here, a recovering one closes, and a half-open one whose probe
    /// hangs opens again, so either answer may come with a transition.
    #[inline]
    pub(crate) fn admit(
        &self,
        call: impl FnOnce() -> (Instant, Option<Instant>),
    ) -> (Result<Admission, Denied>, Option<Transition>) {
        let word = self.word();
        if word.admits_all() {
            return (Ok(Admission { word, probe: None }), None);
        }
        let (now, deadline) = call();
        self.admit_guarded(now, deadline)
    }

    #[cold]
    fn admit_guarded(
        &self,
        now: Instant,
        deadline: Option<Instant>,
    ) -> (Result<Admission, Denied>, Option<Transition>) {
        // An outage means many refusals, and a recovery many calls: those do not queue for the lock.
        if let Some(answer) = self.answer_of_state(self.word(), now) {
            return (answer, None);
        }
        let rare = &mut *lock(&self.rare);
        let word = self.word();
        if let Some(answer) = self.answer_of_state(word, now) {
            return (answer, None);
        }
        let state = word.state();
        if state == CircuitState::Recovering {
            let transition = self.enter(rare, CircuitState::Closed, now);
            return (Ok(Admission { word: self.word(), probe: None }), Some(transition));
        }
        if state == CircuitState::HalfOpen && rare.probation.is_overdue(now) {
            let transition = self.enter(rare, CircuitState::Open, now);
            let denied = Denied { retry_after: Some(self.until_due(now)) };
            return (Err(denied), Some(transition));
        }
        let transition = (state == CircuitState::Open).then(|| self.enter(rare, CircuitState::HalfOpen, now));
        let left = deadline.map(|deadline| deadline.saturating_duration_since(now));
        let until = later(now, self.config.patience(left));
        let admission = match rare.probation.begin(now, until) {
            Ok(()) => Ok(Admission { word: self.word(), probe: Some(until) }),
            Err(wait) => Err(Denied { retry_after: Some(wait) }),
        };
        (admission, transition)
    }

    /// The answer of a state that neither changes by it nor counts probes; `None` where the lock is needed.
    fn answer_of_state(&self, word: Word, now: Instant) -> Option<Result<Admission, Denied>> {
        let admitted = Ok(Admission { word, probe: None });
        match word.state() {
            CircuitState::Closed | CircuitState::Disabled => Some(admitted),
            CircuitState::ForcedOpen => Some(Err(Denied { retry_after: None })),
            CircuitState::HalfOpen => None,
            state @ (CircuitState::Open | CircuitState::Recovering) => {
                let wait = self.until_due(now);
                let passes = || state == CircuitState::Recovering && self.ramp.admits(wait);
                (!wait.is_zero())
                    .then(|| if passes() { admitted } else { Err(Denied { retry_after: Some(wait) }) })
            }
        }
    }

    /// Gives an admission back with the outcome of the call. How long it took is asked only if it makes a difference.
    #[inline]
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
        let wait = self.until_due(now);
        match word.state() {
            CircuitState::Closed | CircuitState::Disabled => false,
            CircuitState::ForcedOpen => true,
            CircuitState::Open => !wait.is_zero(),
            CircuitState::Recovering => !wait.is_zero() && !self.ramp.would_admit(wait),
            CircuitState::HalfOpen => {
                let probation = &lock(&self.rare).probation;
                probation.is_overdue(now) || probation.is_full()
            }
        }
    }

    #[inline]
    pub(super) fn word(&self) -> Word {
        Word(self.word.load(Ordering::Acquire))
    }

    fn is_slow(&self, elapsed: impl FnOnce() -> Duration) -> bool {
        self.config.slow.is_some_and(|slow| elapsed() >= slow.duration)
    }

    fn until_due(&self, now: Instant) -> Duration {
        // Relaxed: the load of the word came before, with `Acquire`.
        let due = self.due.load(Ordering::Relaxed);
        Duration::from_nanos(due.saturating_sub(self.since_origin(now)))
    }

    fn since_origin(&self, now: Instant) -> u64 {
        nanos(now.saturating_duration_since(self.origin))
    }

    #[inline]
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
            Some(until) => self.give_back_probe(word, until, mark, now),
            None => self.count(word, mark, now),
        };
        Counted { result, transition }
    }

    #[inline]
    fn count(&self, word: Word, mark: Mark, now: Instant) -> Option<Transition> {
        if self.counting.count(&self.config, word, mark, now) { self.trip(word, now) } else { None }
    }

    #[cold]
    fn trip(&self, word: Word, now: Instant) -> Option<Transition> {
        let rare = &mut *lock(&self.rare);
        (self.word() == word).then(|| self.enter(rare, CircuitState::Open, now))
    }

    #[cold]
    fn give_back_probe(&self, word: Word, until: Instant, mark: Mark, now: Instant) -> Option<Transition> {
        let rare = &mut *lock(&self.rare);
        if self.word() != word {
            return None;
        }
        let to = match rare.probation.end(until, mark)? {
            Verdict::Failing => CircuitState::Open,
            Verdict::Recovered if self.ramp.is_off() => CircuitState::Closed,
            Verdict::Recovered => CircuitState::Recovering,
        };
        Some(self.enter(rare, to, now))
    }

    fn enter(&self, rare: &mut Rare, to: CircuitState, now: Instant) -> Transition {
        self.enter_for(None, rare, to, now)
    }

    /// The one place where the state changes; the caller holds the lock.
    fn enter_for(
        &self,
        reason: Option<&'static str>,
        rare: &mut Rare,
        to: CircuitState,
        now: Instant,
    ) -> Transition {
        let word = self.word();
        let from = word.state();
        match to {
            CircuitState::Open => {
                // Half of the time is fixed and half is drawn, so that many breakers of one dependency do not probe
                // it together ("equal jitter": Brooker, "Exponential Backoff And Jitter", AWS 2015).
                let most = self.config.open_time_after(rare.openings);
                self.set_due(now, self.random.duration(most / 2, most));
                rare.openings = rare.openings.saturating_add(1);
            }
            CircuitState::Recovering => {
                self.set_due(now, self.ramp.length());
                self.ramp.restart();
            }
            CircuitState::Closed => rare.openings = 0,
            CircuitState::HalfOpen | CircuitState::ForcedOpen | CircuitState::Disabled => {}
        }
        (rare.since, rare.reason) = (now, reason);
        // A closed breaker that is reset begins a generation, and tells nobody.
        if let Some(history) = rare.history.as_mut().filter(|_| from != to) {
            history.add(CircuitTransition { from, to, at: now, reason, missed: 0 });
        }
        rare.probation.clear();
        self.counting.clear();
        self.word.store(word.next(to).0, Ordering::Release);
        Transition { from, to }
    }

    fn set_due(&self, now: Instant, wait: Duration) {
        self.due.store(self.since_origin(now).saturating_add(nanos(wait)), Ordering::Relaxed);
    }
}
