//! Limits that adapt: what the calls tell, gathered into round trips, and the laws that move the limit by it.
//!
//! A *round trip* is as many calls as were in flight at once. One call alone says little: of calls that take ten
//! milliseconds on average, some take thirty. Most end without a lock, by one add in [`Tally`]; the one that completes
//! the round trip takes the lock and moves the limit. A refusal or a timeout moves it at once, and once a round trip:
//! calls that were admitted before say nothing about the new limit, whatever comes of them.

mod aimd;
mod gradient;

use std::time::Duration;

use gradient::Course;

pub use self::{aimd::Aimd, gradient::Gradient};
use super::{
    limit::ConcurrencyLimit,
    machine::{Granted, Machine},
};
use crate::sync::{AtomicU32, AtomicU64, Mutex, Ordering, lock};

/// What a round trip has shown.
#[derive(Clone, Copy, Debug)]
pub(super) struct Round {
    /// How long its calls took, on average.
    mean: Duration,
    /// The most calls that were in flight.
    peak: usize,
}

/// The limit of a [`Machine`] that adapts.
///
/// No clock and no I/O. Every method that moves the limit returns whom that has let in; they are to be woken.
#[derive(Debug)]
pub(super) struct Adaptive {
    tally: Tally,
    /// Counts the turns that make older calls worthless.
    turn: AtomicU32,
    /// A success that took longer is a sign of overload.
    too_slow: Duration,
    control: Mutex<Control>,
}

#[derive(Debug)]
struct Control {
    law: Law,
    /// Whether the limit was set by hand, and stays.
    held: bool,
}

#[derive(Debug)]
enum Law {
    Aimd(Aimd, usize),
    Gradient(Course),
}

/// When a call was let in, counted in turns of the limit.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Turn(u32);

impl Adaptive {
    /// `None` for a limit that is fixed.
    pub(super) fn new(limit: ConcurrencyLimit) -> Option<Self> {
        let (law, too_slow) = match limit {
            ConcurrencyLimit::Fixed(_) => return None,
            ConcurrencyLimit::Aimd(aimd) => (Law::Aimd(aimd, limit.start()), aimd.threshold()),
            ConcurrencyLimit::Gradient(gradient) => (Law::Gradient(Course::new(gradient)), Duration::MAX),
        };
        let control = Mutex::new(Control { law, held: false });
        Some(Self { tally: Tally::new(), turn: AtomicU32::new(0), too_slow, control })
    }

    /// To be kept by a call that is let in now, for what comes of it.
    pub(super) fn turn(&self) -> Turn {
        Turn(self.turn.load(Ordering::Relaxed))
    }

    /// A call of that turn has succeeded, and took so long; itself included, `in_flight` calls are inside.
    pub(super) fn succeeded(
        &self,
        machine: &Machine,
        turn: Turn,
        latency: Duration,
        in_flight: usize,
    ) -> Granted {
        if latency > self.too_slow {
            return self.overloaded(machine, turn);
        }
        if turn != self.turn() {
            return Granted::default();
        }
        if self.tally.add(latency, in_flight) {
            let mut control = lock(&self.control);
            if let Some(round) = self.tally.take() {
                return self.turn_by(machine, &mut control, |law| law.round(round));
            }
        }
        Granted::default()
    }

    /// A call of that turn was refused by the dependency, timed out or was far too slow.
    pub(super) fn overloaded(&self, machine: &Machine, turn: Turn) -> Granted {
        if turn != self.turn() {
            return Granted::default();
        }
        let mut control = lock(&self.control);
        // Of all calls of a round trip that ask for less, the first is heard.
        if turn != self.turn() {
            return Granted::default();
        }
        self.turn_by(machine, &mut control, Law::overload)
    }

    /// Sets the limit by hand, until [`resume`](Self::resume).
    pub(super) fn hold(&self, machine: &Machine, limit: usize) -> Granted {
        let mut control = lock(&self.control);
        control.held = true;
        machine.set_limit(limit)
    }

    /// Lets the limit adapt again, from where it is.
    pub(super) fn resume(&self, machine: &Machine) -> Granted {
        let mut control = lock(&self.control);
        if !std::mem::take(&mut control.held) {
            return Granted::default();
        }
        let limit = machine.state().limit;
        self.turn_by(machine, &mut control, |law| {
            law.restart(limit);
            true
        })
    }

    pub(super) fn is_held(&self) -> bool {
        lock(&self.control).held
    }

    /// Moves the limit; `step` says whether that makes the calls in flight worthless.
    fn turn_by(
        &self,
        machine: &Machine,
        control: &mut Control,
        step: impl FnOnce(&mut Law) -> bool,
    ) -> Granted {
        if control.held {
            return Granted::default();
        }
        if step(&mut control.law) {
            self.turn.fetch_add(1, Ordering::Relaxed);
            self.tally.clear();
        }
        self.tally.look(control.law.is_looking());
        let limit = control.law.limit();
        if limit == machine.state().limit { Granted::default() } else { machine.set_limit(limit) }
    }
}

impl Law {
    fn round(&mut self, round: Round) -> bool {
        match self {
            Self::Aimd(aimd, limit) => {
                *limit = aimd.after_round(*limit, round.peak);
                false
            }
            Self::Gradient(course) => course.round(round),
        }
    }

    fn overload(&mut self) -> bool {
        match self {
            Self::Aimd(aimd, limit) => *limit = aimd.after_overload(*limit),
            Self::Gradient(course) => course.overload(),
        }
        true
    }

    fn restart(&mut self, at: usize) {
        match self {
            Self::Aimd(aimd, limit) => *limit = aimd.bounds.clamp(at),
            Self::Gradient(course) => course.restart(at),
        }
    }

    fn limit(&self) -> usize {
        match self {
            Self::Aimd(_, limit) => *limit,
            Self::Gradient(course) => course.limit(),
        }
    }

    fn is_looking(&self) -> bool {
        matches!(self, Self::Gradient(course) if course.is_looking())
    }
}

/// The calls of a round trip that is not complete.
///
/// Their number and the sum of their latencies share a word, so that a call costs one add, and one more when it has
/// seen more calls in flight than those before it. Relaxed: a call that is counted a round trip late does no harm.
#[derive(Debug)]
struct Tally {
    /// The sum of the latencies in microseconds, and below it the number of the calls.
    word: AtomicU64,
    /// The most calls in flight.
    peak: AtomicU64,
    /// The fewest calls of a round trip, and how often those in flight; more of both during a look.
    looking: AtomicU32,
}

impl Tally {
    const ONE_MICRO: u64 = 1 << 20;
    /// Some eighteen minutes. With the most calls of a round trip there is no overflow, and room for latecomers.
    const LONGEST: u64 = (1 << 30) - 1;
    const MOST_CALLS: u64 = 1 << 12;

    fn new() -> Self {
        Self { word: AtomicU64::new(0), peak: AtomicU64::new(0), looking: AtomicU32::new(0) }
    }

    /// Adds a call; whether the round trip is complete.
    fn add(&self, latency: Duration, in_flight: usize) -> bool {
        let micros = u64::try_from(latency.as_micros()).unwrap_or(u64::MAX).min(Self::LONGEST);
        let before = self.word.fetch_add(micros * Self::ONE_MICRO + 1, Ordering::Relaxed);
        let in_flight = in_flight as u64;
        let mut peak = self.peak.load(Ordering::Relaxed);
        if in_flight > peak {
            peak = self.peak.fetch_max(in_flight, Ordering::Relaxed).max(in_flight);
        }
        before % Self::ONE_MICRO + 1 >= self.enough(peak)
    }

    /// The round trip, if it is complete, and begins the next. Under the lock of the control.
    fn take(&self) -> Option<Round> {
        let peak = self.peak.load(Ordering::Relaxed);
        // Somebody else may have taken it before us.
        if self.word.load(Ordering::Relaxed) % Self::ONE_MICRO < self.enough(peak) {
            return None;
        }
        let word = self.clear();
        let mean = Duration::from_micros(word / Self::ONE_MICRO / (word % Self::ONE_MICRO).max(1));
        Some(Round { mean, peak: usize::try_from(peak).unwrap_or(usize::MAX) })
    }

    fn clear(&self) -> u64 {
        self.peak.store(0, Ordering::Relaxed);
        self.word.swap(0, Ordering::Relaxed)
    }

    /// What calls take is measured by more of them: the first to end are the fast ones.
    fn look(&self, looking: bool) {
        self.looking.store(looking.into(), Ordering::Relaxed);
    }

    fn enough(&self, peak: u64) -> u64 {
        let looking = self.looking.load(Ordering::Relaxed) != 0;
        let enough = if looking { (4 * peak).max(100) } else { peak.max(10) };
        enough.min(Self::MOST_CALLS)
    }
}
