//! What travels with a call: down to the transport, and to the calls that a handler makes in turn.
//!
//! A [`Deadline`] is an absolute instant inside the process and a remaining duration on the wire, so that clock skew
//! between machines does not matter. It is combined by the minimum alone: whoever sits further out can shorten the
//! limit of the work below, never lengthen one. Stacks put theirs round the service they call, polls and calls, and a
//! stack below reads it when it is called and once more when the call begins, so that a scope round either counts.

use std::{
    cell::Cell,
    future::{Future, poll_fn},
    num::NonZeroU32,
    pin::pin,
    time::Duration,
};

use tokio::time::Instant;

use crate::{event::AttemptKind, local, priority::Priority};

thread_local! {
    /// What the work that this thread polls carries. A cell, and no task-local of tokio's: it is read twice in each call.
    static CARRIED: Cell<Carried> =
        const { Cell::new(Carried { deadline: None, priority: None, lot: None, synthetic: false }) };
}

/// What the work in hand carries, for the calls that it makes.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Carried {
    pub(crate) deadline: Option<Instant>,
    /// `None` where nobody said.
    pub(crate) priority: Option<Priority>,
    /// From a call to the handler that runs for it in a task of its own, and no further.
    pub(crate) lot: Option<NonZeroU32>,
    /// Whether it is nobody's: a probe, a test in production.
    pub(crate) synthetic: bool,
}

impl Carried {
    /// What is carried here; nothing outside of any scope.
    #[inline]
    pub(crate) fn current() -> Self {
        local::get(&CARRIED)
    }

    /// What a call carries that was made in work that carries this, and is polled where `here` is carried.
    #[inline]
    pub(crate) fn polled_in(self, here: Self) -> Self {
        Self {
            deadline: match (self.deadline, here.deadline) {
                (Some(made), Some(here)) => Some(made.min(here)),
                (made, here) => made.or(here),
            },
            priority: self.priority.or(here.priority),
            lot: self.lot.or(here.lot),
            synthetic: self.synthetic || here.synthetic,
        }
    }

    /// Runs one piece of synchronous work that carries this; the way in for polls.
    #[inline]
    pub(crate) fn enter<T>(self, work: impl FnOnce() -> T) -> T {
        /// Also when the work panics.
        struct Back(Carried);
        impl Drop for Back {
            #[inline]
            fn drop(&mut self) {
                CARRIED.set(self.0);
            }
        }

        // `work` stands here once, so that it is compiled into whoever calls this.
        let carries =
            self.deadline.is_some() || self.priority.is_some() || self.lot.is_some() || self.synthetic;
        let _back = carries.then(|| Back(local::replace(&CARRIED, self)));
        work()
    }

    /// Runs `work`, which carries this wherever it is polled.
    pub(crate) async fn scope<F: Future>(self, work: F) -> F::Output {
        let mut work = pin!(work);
        poll_fn(|cx| self.enter(|| work.as_mut().poll(cx))).await
    }
}

/// The instant by which the work in hand must be done.
///
/// ```
/// # #[tokio::main(flavor = "current_thread")] async fn main() {
/// use std::time::Duration;
/// use moneta_resilience::Deadline;
///
/// assert_eq!(Deadline::current(), None);
/// let left = Deadline::after(Duration::from_secs(2))
///     .scope(async { Deadline::current().expect("inside the scope").remaining() })
///     .await;
/// assert!(left <= Duration::from_secs(2));
/// # }
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Deadline(Instant);

impl Deadline {
    /// A deadline at an instant.
    pub fn at(instant: Instant) -> Self {
        Self(instant)
    }

    /// A deadline `limit` from now. A limit beyond what the clock can tell is some thirty years.
    pub fn after(limit: Duration) -> Self {
        Self(later(Instant::now(), limit))
    }

    /// The deadline of the work in hand: what the server stack, a consumer or [`Deadline::scope`] put round it.
    ///
    /// `None` outside of any.
    pub fn current() -> Option<Self> {
        Carried::current().deadline.map(Self)
    }

    /// The instant itself.
    pub fn instant(self) -> Instant {
        self.0
    }

    /// What is left of it; zero once it has passed.
    pub fn remaining(self) -> Duration {
        self.0.saturating_duration_since(Instant::now())
    }

    /// Runs `work` with this as its [`Deadline::current`], unless the one it already has ends sooner.
    ///
    /// It *tells* the work how long it has, and cuts nothing: that is the timeout layer's part. To carry a deadline into
    /// a spawned task, scope the future that is spawned, or [`spawn`](crate::spawn) it.
    pub async fn scope<F: Future>(self, work: F) -> F::Output {
        // Asked in the first poll, which is inside of whatever scope is put round this one.
        let carried = Carried::current();
        let deadline = carried.deadline.map_or(self.0, |current| current.min(self.0));
        Carried { deadline: Some(deadline), ..carried }.scope(work).await
    }

    /// Runs one piece of synchronous work with this deadline; the way in for polls.
    pub(crate) fn enter<T>(self, work: impl FnOnce() -> T) -> T {
        Carried { deadline: Some(self.0), ..Carried::current() }.enter(work)
    }
}

impl Priority {
    /// The priority of the work in hand: what the server stack or [`Priority::scope`] put round it.
    ///
    /// [`Critical`](Self::Critical) outside of any.
    pub fn current() -> Self {
        Carried::current().priority.unwrap_or_default()
    }

    /// Runs `work` with this as its [`Priority::current`]. To carry it into a spawned task, scope the future that is
    /// spawned, or [`spawn`](crate::spawn) it.
    pub async fn scope<F: Future>(self, work: F) -> F::Output {
        Carried { priority: Some(self), ..Carried::current() }.scope(work).await
    }
}

/// Runs `work` as synthetic: a probe, a test in production, that is nobody's. The calls of golden stacks that it makes, and
/// those made for them in this process, count for no objective, and for everything else.
///
/// What a golden server was told is synthetic, by `.synthetic(..)`, needs no scope: the calls of its handler are. To carry
/// it into a spawned task, scope the future that is spawned, or [`spawn`](crate::spawn) it. It does not travel over a wire.
///
/// ```
/// # #[tokio::main(flavor = "current_thread")] async fn main() -> Result<(), moneta_resilience::CallError> {
/// use std::time::Duration;
/// use moneta_resilience::{golden, synthetic};
///
/// let ledger = golden::client("ledger").timeout(Duration::from_secs(1)).no_fallback().calls();
/// synthetic(ledger.run(async || Ok::<_, std::io::Error>("it answers"))).await?;
/// # Ok(()) }
/// ```
pub async fn synthetic<F: Future>(work: F) -> F::Output {
    Carried { synthetic: true, ..Carried::current() }.scope(work).await
}

/// The deadline less the share of the time until then that is kept for a fallback.
fn shortened(start: Instant, deadline: Instant) -> Instant {
    const MOST: Duration = Duration::from_millis(100);
    let whole = deadline.saturating_duration_since(start);
    later(start, whole.saturating_sub(MOST.min(whole / 4)))
}

/// `limit` after `start`, without overflow.
#[inline]
pub(crate) fn later(start: Instant, limit: Duration) -> Instant {
    const FAR: Duration = Duration::from_secs(86_400 * 365 * 30);
    start.checked_add(limit).unwrap_or_else(|| start + FAR)
}

/// One call on its way through a stack.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Call {
    /// See [`Call::started`]; `None` until somebody asks.
    started: Option<Instant>,
    /// When it must be done.
    pub(crate) deadline: Option<Instant>,
    /// Which attempt it is, counted from 1. No other of the same call has the same number.
    pub(crate) attempt: u32,
    /// Why that attempt is made.
    pub(crate) kind: AttemptKind,
    /// How much it matters; `None` where nobody said.
    pub(crate) priority: Option<Priority>,
    /// Whether it is nobody's: a probe, a test in production.
    pub(crate) synthetic: bool,
    /// The deadline of the work that the call was made in: somebody else's patience, not a limit of this stack.
    pub(crate) inherited: Option<Instant>,
    /// When a limit of this stack cuts it, unless its caller is in such a hurry that this says nothing about the
    /// dependency.
    pub(crate) limit: Option<Instant>,
    /// Whether it was cut short by a caller in a hurry, before it could say anything about the dependency.
    pub(crate) hurried: bool,
    /// Whether a part of the time before the deadline is kept for what comes after the attempts: a fallback.
    pub(crate) reserve: bool,
    /// What it drew for the experiments that it may be part of, if it may be part of one.
    pub(crate) lot: Option<NonZeroU32>,
}

impl Call {
    /// A call with what the work that it is made in carries.
    #[inline]
    pub(crate) fn new(Carried { deadline: inherited, priority, lot, synthetic }: Carried) -> Self {
        Self {
            started: None,
            deadline: inherited,
            attempt: 1,
            kind: AttemptKind::First,
            priority,
            synthetic,
            inherited,
            limit: None,
            hurried: false,
            reserve: false,
            lot,
        }
    }

    /// It is polled for the first time, where `here` is carried.
    #[inline]
    pub(crate) fn begin_in(&mut self, here: Carried) {
        let Carried { deadline, priority, lot, synthetic } = self.carried().polled_in(here);
        (self.deadline, self.inherited) = (deadline, deadline);
        (self.priority, self.lot, self.synthetic) = (priority, lot, synthetic);
    }

    /// When it started, as far as the policy that asks is concerned: the call, or the attempt, or what is left of it behind the
    /// queue that it left last. A stack in which nobody wants to know does not look at the clock: whoever will asks when the
    /// call begins.
    #[inline]
    pub(crate) fn started(&mut self) -> Instant {
        *self.started.get_or_insert_with(Instant::now)
    }

    /// The same, if somebody has asked.
    #[inline]
    pub(crate) fn known_start(&self) -> Option<Instant> {
        self.started
    }

    /// What is further in starts then.
    pub(crate) fn start_at(&mut self, now: Instant) {
        self.started = Some(now);
    }

    /// What the work that is done for it carries.
    #[inline]
    pub(crate) fn carried(&self) -> Carried {
        Carried { deadline: self.deadline, priority: self.priority, lot: self.lot, synthetic: self.synthetic }
    }

    /// What the service carries, to which the time is not granted that is kept.
    #[inline]
    pub(crate) fn carried_to_service(&self) -> Carried {
        let deadline = if self.reserve { self.shortened() } else { self.deadline };
        Carried { deadline, priority: self.priority, lot: None, synthetic: self.synthetic }
    }

    /// Its caller says from outside how long it will wait.
    #[cfg(feature = "http")]
    pub(crate) fn inherit(&mut self, patience: Instant) {
        self.inherited = Some(self.inherited.map_or(patience, |inherited| inherited.min(patience)));
        self.end_by(patience);
    }

    /// Its deadline is no later than `limit`.
    #[inline]
    pub(crate) fn end_by(&mut self, limit: Instant) {
        self.deadline = Some(self.deadline.map_or(limit, |deadline| deadline.min(limit)));
    }

    /// Some of its time is kept for a fallback: a quarter of what there is, and at most 100 ms.
    pub(crate) fn keep_reserve(&mut self) {
        self.started();
        self.reserve = true;
    }

    /// Its deadline ends before the time that is kept.
    #[inline]
    pub(crate) fn set_reserve_aside(&mut self) {
        if self.reserve {
            (self.deadline, self.reserve) = (self.shortened(), false);
        }
    }

    #[cold]
    fn shortened(&self) -> Option<Instant> {
        let started = self.started.expect("whoever keeps some of the time has asked");
        self.deadline.map(|deadline| shortened(started, deadline))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn an_inner_scope_shortens_and_never_lengthens() {
        let (short, long) = (Duration::from_secs(1), Duration::from_secs(9));
        Deadline::after(short)
            .scope(async {
                Deadline::after(long)
                    .scope(async { assert_eq!(Deadline::current().map(Deadline::remaining), Some(short)) })
                    .await;
            })
            .await;
        assert_eq!(Deadline::current(), None);
    }

    #[tokio::test(start_paused = true)]
    async fn deadline_and_priority_are_carried_side_by_side() {
        let limit = Duration::from_secs(1);
        let both = || async { (Deadline::current().map(Deadline::remaining), Priority::current()) };
        let inside = Priority::Sheddable.scope(both());
        assert_eq!(Deadline::after(limit).scope(inside).await, (Some(limit), Priority::Sheddable));
        let inside = Deadline::after(limit).scope(both());
        assert_eq!(Priority::CriticalPlus.scope(inside).await, (Some(limit), Priority::CriticalPlus));
        assert_eq!(both().await, (None, Priority::Critical));
    }

    #[tokio::test(start_paused = true)]
    async fn what_is_synthetic_stays_so_whatever_is_put_round_its_parts() {
        let is_synthetic = || async { Carried::current().synthetic };
        let limit = Deadline::after(Duration::from_secs(1));
        assert!(synthetic(limit.scope(Priority::Critical.scope(is_synthetic()))).await);
        assert!(limit.scope(synthetic(is_synthetic())).await);
        assert!(!is_synthetic().await);
    }

    #[tokio::test(start_paused = true)]
    async fn a_limit_beyond_the_clock_does_not_overflow() {
        assert!(Deadline::after(Duration::MAX).remaining() > Duration::from_secs(86_400 * 365));
    }
}
