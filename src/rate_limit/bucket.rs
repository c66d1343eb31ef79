//! One quota and the line of calls that wait for it.

use std::{future::poll_fn, num::NonZeroU32, pin::pin, sync::Arc, time::Duration};

use governor::{
    NotUntil, RateLimiter,
    clock::Clock,
    middleware::NoOpMiddleware,
    nanos::Nanos,
    state::{InMemoryState, NotKeyed},
};
use tokio::{sync::Semaphore, time::Instant};

use crate::{
    call::later,
    quota::Quota,
    sync::{AtomicU32, AtomicU64, Mutex, Ordering, lock},
    timer::Timer,
    window::nanos,
};

/// The quota of one key.
///
/// Calls that find a cell take it from governor, and touch nothing else. The others stand in line. The first of the line
/// *has the turn*: it alone waits for the next cell, and hands the turn on when it has it. While anybody stands in line,
/// newcomers go to its end, so nobody is passed. Nothing is reserved for those who wait: governor is asked when the turn has
/// come, so whoever leaves leaves nothing behind.
#[derive(Debug)]
pub(super) struct Bucket {
    pub(super) quota: Quota,
    cells: RateLimiter<NotKeyed, InMemoryState, Monotonic, NoOpMiddleware<Nanos>>,
    /// How many stand in line. It changes under the lock below; without it, it tells whether there is a line.
    waiting: AtomicU32,
    /// When the first in line is served.
    next: Mutex<Instant>,
    turn: Semaphore,
    /// When it was last asked for, in nanoseconds since it was made.
    used: AtomicU64,
}

/// A place in the line. It is left when this goes.
#[derive(Debug)]
pub(super) struct Place(Arc<Bucket>);

/// What a call finds.
#[derive(Debug)]
pub(super) enum Entry {
    /// It has a cell.
    Admitted,
    /// It may wait.
    InLine(Place),
    /// There is no cell for it before this instant, which is too late.
    Refused(Instant),
}

impl Bucket {
    pub(super) fn new(quota: Quota) -> Self {
        let origin = Instant::now();
        Self {
            quota,
            cells: RateLimiter::direct_with_clock(governors(quota), Monotonic { origin }),
            waiting: AtomicU32::new(0),
            next: Mutex::new(origin),
            turn: Semaphore::new(1),
            used: AtomicU64::new(0),
        }
    }

    /// Takes a cell. Without one a call that may wait `until` then gets a place in the line, if it is served by that time.
    pub(super) fn enter(self: &Arc<Self>, until: Option<Instant>) -> Entry {
        if self.waiting.load(Ordering::Relaxed) == 0 {
            match (self.take(), until) {
                (Ok(()), _) => return Entry::Admitted,
                (Err(at), None) => return Entry::Refused(at),
                (Err(_), Some(_)) => {}
            }
        }
        self.join(until)
    }

    /// Notes that it is asked for.
    pub(super) fn used(&self, now: Instant) {
        self.used.store(self.age(now), Ordering::Relaxed);
    }

    /// Whether everything that was taken has come back.
    pub(super) fn is_whole(&self, now: Instant) -> bool {
        let idle = self.age(now).saturating_sub(self.used.load(Ordering::Relaxed));
        idle >= nanos(self.quota.refill()) && self.waiting.load(Ordering::Relaxed) == 0
    }

    fn age(&self, now: Instant) -> u64 {
        nanos(now.saturating_duration_since(self.cells.clock().origin))
    }

    fn join(self: &Arc<Self>, until: Option<Instant>) -> Entry {
        let mut next = lock(&self.next);
        let ahead = self.waiting.load(Ordering::Relaxed);
        if ahead == 0 {
            match self.take() {
                Ok(()) => return Entry::Admitted,
                Err(at) => *next = at,
            }
        }
        let served = later(*next, self.quota.interval().saturating_mul(ahead));
        if until.is_none_or(|until| served > until) {
            return Entry::Refused(served);
        }
        self.waiting.fetch_add(1, Ordering::Relaxed);
        Entry::InLine(Place(Arc::clone(self)))
    }

    /// Takes a cell, or tells when there is one.
    fn take(&self) -> Result<(), Instant> {
        self.cells.check().map_err(|refused: NotUntil<Nanos>| {
            later(self.cells.clock().origin, Duration::from_nanos(refused.earliest_possible().into()))
        })
    }

    /// The first in line was served: the next one is served an interval later, or at once if cells were saved up.
    fn served(&self, now: Instant) {
        let mut next = lock(&self.next);
        let saved = self.quota.interval().saturating_mul(self.quota.at_once() - 1);
        let full = now.checked_sub(saved).unwrap_or(now);
        *next = later((*next).max(full), self.quota.interval());
    }
}

impl Place {
    /// Waits for the turn, then for a cell, and takes it.
    pub(super) async fn wait(self) {
        let bucket = &self.0;
        let _turn = bucket.turn.acquire().await.expect("the semaphore is never closed");
        let mut timer = pin!(Timer::new());
        while let Err(at) = bucket.take() {
            *lock(&bucket.next) = at;
            poll_fn(|cx| timer.as_mut().poll_until(at, cx)).await;
            timer.as_mut().clear();
        }
        let now = Instant::now();
        bucket.used(now);
        bucket.served(now);
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        let _line = lock(&self.0.next);
        self.0.waiting.fetch_sub(1, Ordering::Relaxed);
    }
}

fn governors(quota: Quota) -> governor::Quota {
    let burst = NonZeroU32::new(quota.at_once()).expect("a quota has at least one call");
    governor::Quota::with_period(quota.interval()).expect("an interval is above zero").allow_burst(burst)
}

/// Tokio's clock, which a test can pause, for governor: the time since `origin`.
#[derive(Clone, Copy, Debug)]
struct Monotonic {
    origin: Instant,
}

impl Clock for Monotonic {
    type Instant = Nanos;

    fn now(&self) -> Nanos {
        Instant::now().saturating_duration_since(self.origin).into()
    }
}
