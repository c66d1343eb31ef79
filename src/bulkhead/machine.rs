//! Permits and the queue for them: no clock, no I/O.
//!
//! The facts — limit, permits in use, calls queued — live in **one atomic word**, so that every step is one
//! compare-and-swap on a consistent picture. Who waits, and in which order, is a list behind a mutex. What
//! keeps the two together:
//!
//! 1. `queued` and `limit` change only while the lock is held, and whenever the lock is free `queued` is the
//!    length of the list.
//! 2. While `queued > 0`, *nothing* changes without the lock: [`try_acquire`](Machine::try_acquire) refuses,
//!    and [`release`](Machine::release) takes the lock. So nobody barges past a waiter, and the holder of the
//!    lock looks at a word that stands still.
//! 3. While the lock is free, `queued > 0` implies `in_use >= limit`: whoever makes room, by a release or a
//!    higher limit, fills it from the list before unlocking; leaving the list makes no room.
//!
//! No wake-up is lost: a call joins the list by a swap from a word without room, a permit is returned without
//! the lock by a swap from a word without waiters. Both are swaps on the same word, so one of them sees the
//! other and retries.
//!
//! Orderings: the counts need none, for a swap on one word is exact by itself, and the list is ordered by its
//! mutex. Taking and returning a permit are `Acquire` and `Release` all the same, so that a bulkhead of one
//! orders its calls as a mutex would.

use std::{
    collections::VecDeque,
    mem,
    task::{Context, Poll, Waker},
};

use crate::{
    registry::BulkheadState,
    sync::{AtomicU64, Mutex, Ordering, lock},
};

/// The largest limit and the longest queue, 2,097,151: three counts share 64 bits. Larger numbers mean this
/// one.
pub(crate) const MOST: usize = (1 << BITS) - 1;

const BITS: u32 = 21;
const ONE_IN_USE: u64 = 1;
const ONE_QUEUED: u64 = 1 << BITS;
const ONE_LIMIT: u64 = 1 << (2 * BITS);

/// A counted set of permits with a first-in, first-out queue.
///
/// A permit is not an object: whoever got `true` from [`try_acquire`](Self::try_acquire) or `Ready` from
/// [`poll_waiter`](Self::poll_waiter) owes exactly one [`release`](Self::release).
#[derive(Debug)]
pub(crate) struct Machine {
    word: AtomicU64,
    max_queue: u64,
    queue: Mutex<Queue>,
}

/// A place in the queue, or the permit that came of it. Owes a [`Machine::give_up`] until its poll was
/// `Ready`.
#[must_use = "a waiter that is forgotten keeps its place, and then a permit, for ever"]
#[derive(Debug)]
pub(crate) struct Waiter {
    ticket: u64,
}

/// Those who were let in by a new limit. To be woken where no lock is held: a waker is somebody else's code.
#[must_use = "who is not woken does not know of its permit"]
#[derive(Debug, Default)]
pub(crate) struct Granted(Vec<Place>);

impl Granted {
    pub(crate) fn wake(self) {
        self.0.into_iter().for_each(Place::wake);
    }
}

/// The queue had no place left.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Full;

impl Machine {
    /// `limit` permits and `max_queue` places, both at most [`MOST`].
    pub(crate) fn new(limit: usize, max_queue: usize) -> Self {
        Self {
            word: AtomicU64::new(Word::default().with_limit(count(limit)).0),
            max_queue: count(max_queue),
            queue: Mutex::default(),
        }
    }

    /// Takes a permit, if one is free and nobody waits for it. No lock, no allocation.
    #[inline]
    pub(crate) fn try_acquire(&self) -> bool {
        self.step(Ordering::Acquire, |word| word.has_room().then(|| word.plus(ONE_IN_USE))).is_ok()
    }

    /// The same for a call that may fill so many percent of the limit, rounded up, and no more.
    pub(crate) fn try_acquire_within(&self, percent: u8) -> bool {
        let admits =
            |word: Word| word.has_room() && word.in_use() < (word.limit() * u64::from(percent)).div_ceil(100);
        self.step(Ordering::Acquire, |word| admits(word).then(|| word.plus(ONE_IN_USE))).is_ok()
    }

    /// Joins the end of the queue. A permit that came free in the meantime is granted on the spot; the
    /// waiter's first poll tells.
    pub(crate) fn enqueue(&self) -> Result<Waiter, Full> {
        // Refused without the lock: in an overload that is the answer most calls get.
        if self.is_full(self.word()) {
            return Err(Full);
        }
        let mut queue = lock(&self.queue);
        let joined = self.step(Ordering::Acquire, |word| {
            if word.has_room() {
                Some(word.plus(ONE_IN_USE))
            } else {
                (!self.is_full(word)).then(|| word.plus(ONE_QUEUED))
            }
        });
        let Ok(before) = joined else { return Err(Full) };
        let ticket = queue.next_ticket;
        queue.next_ticket += 1;
        if !before.has_room() {
            queue.places.push_back(Place { ticket, waker: None });
        }
        Ok(Waiter { ticket })
    }

    /// `Ready` once the waiter has a permit, which its caller now owes back. Until then the task of `cx` is woken for
    /// it; only the last task counts.
    pub(crate) fn poll_waiter(&self, waiter: &mut Waiter, cx: &mut Context<'_>) -> Poll<()> {
        // Cloned before the lock is taken, and the waker it replaces dropped after: both are somebody else's
        // code.
        let mut waker = Some(cx.waker().clone());
        match lock(&self.queue).place_of(waiter.ticket) {
            // A ticket leaves the list when it is granted or given up, and given up it cannot be polled.
            None => return Poll::Ready(()),
            Some(place) => mem::swap(&mut place.waker, &mut waker),
        }
        Poll::Pending
    }

    /// Leaves the queue at once. A permit that was granted in the meantime goes to the next.
    #[expect(clippy::needless_pass_by_value, reason = "a waiter that gave up is used up")]
    pub(crate) fn give_up(&self, waiter: Waiter) {
        let ticket = waiter.ticket;
        let left = {
            let mut queue = lock(&self.queue);
            let left = queue.leave(ticket);
            if left.is_some() {
                self.always(Ordering::Relaxed, |word| word.minus(ONE_QUEUED));
            }
            left
        };
        // Granting and giving up exclude each other by the lock: the ticket was on the list, or the permit is
        // ours.
        if left.is_none() {
            self.release();
        }
    }

    /// Returns a permit: to the oldest waiter, if one may have it, else to the free ones.
    #[inline]
    pub(crate) fn release(&self) {
        if self.step(Ordering::Release, |word| word.is_unqueued().then(|| word.minus(ONE_IN_USE))).is_ok() {
            return;
        }
        let next = {
            let mut queue = lock(&self.queue);
            // The waiters may all have left since; then this is the swap above once more, racing with others.
            self.always(Ordering::Release, |word| word.minus(ONE_IN_USE));
            self.grant(&mut queue)
        };
        if let Some(place) = next {
            place.wake();
        }
    }

    /// Changes the limit from now on. Higher, it lets waiters in, who are to be woken; lower, it takes nothing from the
    /// calls in flight: permits that come back are withheld until no more than `limit` are out.
    pub(crate) fn set_limit(&self, limit: usize) -> Granted {
        let mut queue = lock(&self.queue);
        self.always(Ordering::Relaxed, |word| word.with_limit(count(limit)));
        Granted(std::iter::from_fn(|| self.grant(&mut queue)).collect())
    }

    /// Limit, permits out and calls queued, all at one moment. More can be out than the limit says for a
    /// while after it was lowered.
    pub(crate) fn state(&self) -> BulkheadState {
        let word = self.word();
        BulkheadState::new(size(word.limit()), size(word.in_use()), size(word.queued()))
    }

    /// Moves the oldest waiter from the list to a permit, if there are both. To be called with the lock held,
    /// and its result woken without.
    fn grant(&self, queue: &mut Queue) -> Option<Place> {
        let grantable = |word: Word| word.in_use() < word.limit() && !word.is_unqueued();
        self.step(Ordering::Relaxed, |word| grantable(word).then(|| word.minus(ONE_QUEUED).plus(ONE_IN_USE)))
            .ok()?;
        Some(queue.places.pop_front().expect("under the lock the list is as long as the word says"))
    }

    fn is_full(&self, word: Word) -> bool {
        !word.has_room() && word.queued() >= self.max_queue
    }

    fn word(&self) -> Word {
        Word(self.word.load(Ordering::Relaxed))
    }

    /// Swaps the word for what `next` makes of it and returns what it was, or what it is if `next` has
    /// nothing.
    fn step(&self, success: Ordering, next: impl Fn(Word) -> Option<Word>) -> Result<Word, Word> {
        self.word
            .fetch_update(success, Ordering::Relaxed, |word| next(Word(word)).map(|word| word.0))
            .map(Word)
            .map_err(Word)
    }

    fn always(&self, success: Ordering, next: impl Fn(Word) -> Word) {
        let done = self.step(success, |word| Some(next(word)));
        debug_assert!(done.is_ok(), "there was always a next word");
    }
}

/// Limit, queued and in use, 21 bits each, from the top.
#[derive(Clone, Copy, Default)]
struct Word(u64);

impl Word {
    fn limit(self) -> u64 {
        self.0 / ONE_LIMIT
    }

    fn queued(self) -> u64 {
        self.0 / ONE_QUEUED % ONE_QUEUED
    }

    fn in_use(self) -> u64 {
        self.0 % ONE_QUEUED
    }

    fn is_unqueued(self) -> bool {
        self.queued() == 0
    }

    /// Whether a newcomer may have a permit.
    fn has_room(self) -> bool {
        self.in_use() < self.limit() && self.is_unqueued()
    }

    fn with_limit(self, limit: u64) -> Self {
        Self(self.0 % ONE_LIMIT + limit * ONE_LIMIT)
    }

    /// No count overflows into the next: `in_use` and `queued` grow only while below a number of 21 bits.
    fn plus(self, one: u64) -> Self {
        Self(self.0 + one)
    }

    fn minus(self, one: u64) -> Self {
        debug_assert!(if one == ONE_IN_USE { self.in_use() } else { self.queued() } > 0, "returned twice");
        Self(self.0 - one)
    }
}

/// The waiters, oldest first; their tickets ascend.
#[derive(Debug, Default)]
struct Queue {
    places: VecDeque<Place>,
    next_ticket: u64,
}

#[derive(Debug)]
struct Place {
    ticket: u64,
    waker: Option<Waker>,
}

impl Queue {
    fn place_of(&mut self, ticket: u64) -> Option<&mut Place> {
        let at = self.position(ticket)?;
        self.places.get_mut(at)
    }

    fn leave(&mut self, ticket: u64) -> Option<Place> {
        let at = self.position(ticket)?;
        self.places.remove(at)
    }

    fn position(&self, ticket: u64) -> Option<usize> {
        self.places.binary_search_by_key(&ticket, |place| place.ticket).ok()
    }
}

impl Place {
    /// A waiter that was never polled has no waker, and finds its permit at the first poll.
    fn wake(self) {
        if let Some(waker) = self.waker {
            waker.wake();
        }
    }
}

fn count(n: usize) -> u64 {
    n.min(MOST) as u64
}

fn size(n: u64) -> usize {
    usize::try_from(n).expect("a count of 21 bits")
}
