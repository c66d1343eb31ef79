//! Values that wait to be recorded.
//!
//! A histogram of the SDK lies behind a lock, which all threads of a process would take at each call. Here a thread keeps its
//! values in a ring, one in each [lane](crate::lane), and records them all when it is full; the others are recorded when
//! somebody collects. Nothing is lost or rounded, and of sixteen calls fifteen pay for two stores.

use std::{marker::PhantomData, sync::TryLockError};

use crate::{
    lane::Laned,
    sync::{AtomicU64, Mutex, Ordering, lock},
};

/// How many values a ring holds: enough that the lock is rarely taken, few enough that no call waits long.
const ROOM: u32 = 16;

/// What fits into a word.
pub(crate) trait Word: Copy + Default + Send + Sync + 'static {
    fn bits(self) -> u64;
    fn from_bits(bits: u64) -> Self;
}

impl Word for f64 {
    fn bits(self) -> u64 {
        self.to_bits()
    }

    fn from_bits(bits: u64) -> Self {
        Self::from_bits(bits)
    }
}

impl Word for u64 {
    fn bits(self) -> u64 {
        self
    }

    fn from_bits(bits: u64) -> Self {
        bits
    }
}

/// The values of one series.
#[derive(Default)]
pub(crate) struct Buffer<T> {
    rings: Laned<Ring, 0>,
    /// Held by who records from the rings.
    recording: Mutex<()>,
    values: PhantomData<T>,
}

/// Written by one thread at a time, and emptied by whoever holds the lock.
#[repr(align(64))]
struct Ring {
    values: [AtomicU64; ROOM as usize],
    /// How many values were put in, ever. What one of them is was stored before it is counted here.
    put: AtomicU64,
    /// How many of them were recorded. A place is written again once the value there is counted here.
    taken: AtomicU64,
}

impl<T: Word> Buffer<T> {
    /// Keeps a value, to be recorded with others.
    #[inline]
    pub(crate) fn put(&self, value: T, record: impl Fn(T)) {
        let (lane, ring) = self.rings.here();
        // Not into a ring that others put values into, and not behind somebody who is just emptying a full one.
        let kept = lane.is_own()
            && (ring.put(value.bits()) || self.make_room(ring, &record) && ring.put(value.bits()));
        if !kept {
            record(value);
        }
    }

    /// Records all that is kept.
    pub(crate) fn drain(&self, record: impl Fn(T)) {
        let _alone = lock(&self.recording);
        self.rings.iter().for_each(|ring| ring.drain(|bits| record(T::from_bits(bits))));
    }

    #[cold]
    fn make_room(&self, ring: &Ring, record: impl Fn(T)) -> bool {
        let alone = self.recording.try_lock();
        let is_free = !matches!(alone, Err(TryLockError::WouldBlock));
        if is_free {
            ring.drain(|bits| record(T::from_bits(bits)));
        }
        is_free
    }
}

impl Ring {
    /// Whether there was room for the value.
    #[inline]
    fn put(&self, value: u64) -> bool {
        let put = self.put.load(Ordering::Relaxed);
        let has_room = put - self.taken.load(Ordering::Acquire) < u64::from(ROOM);
        if has_room {
            self.place(put).store(value, Ordering::Relaxed);
            self.put.store(put + 1, Ordering::Release);
        }
        has_room
    }

    /// For who holds the lock.
    fn drain(&self, record: impl Fn(u64)) {
        let put = self.put.load(Ordering::Acquire);
        for number in self.taken.load(Ordering::Relaxed)..put {
            let value = self.place(number).load(Ordering::Relaxed);
            self.taken.store(number + 1, Ordering::Release);
            record(value);
        }
    }

    #[inline]
    #[expect(clippy::cast_possible_truncation, reason = "a remainder below sixteen")]
    fn place(&self, number: u64) -> &AtomicU64 {
        &self.values[(number % u64::from(ROOM)) as usize]
    }
}

impl Default for Ring {
    fn default() -> Self {
        let values = std::array::from_fn(|_| AtomicU64::new(0));
        Self { values, put: AtomicU64::new(0), taken: AtomicU64::new(0) }
    }
}

#[cfg(all(test, not(moneta_loom)))]
mod tests {
    use std::{
        cell::{Cell, RefCell},
        thread,
    };

    use super::*;

    #[test]
    fn values_wait_until_a_ring_is_full_or_somebody_collects() {
        let (buffer, recorded) = (Buffer::default(), RefCell::new(Vec::new()));
        let record = |value: f64| recorded.borrow_mut().push(value.to_bits());
        let values: Vec<f64> = (0..2 * ROOM + 3).map(|n| 0.1 * f64::from(n) - 1.0).collect();
        let mut waited = 0;
        for &value in &values {
            buffer.put(value, record);
            waited = waited.max(recorded.borrow().len());
        }
        assert!(recorded.borrow().len() < values.len(), "some wait");
        buffer.drain(record);
        buffer.drain(record);
        // A thread without a lane of its own records at once: then all came in order, too.
        assert_eq!(*recorded.borrow(), values.iter().map(|value| value.to_bits()).collect::<Vec<_>>());
    }

    #[test]
    fn nobody_waits_behind_a_collector_and_no_value_is_lost() {
        let (buffer, recorded) = (Buffer::default(), Cell::new(0));
        let record = |_: u64| recorded.set(recorded.get() + 1);
        let collects = lock(&buffer.recording);
        for _ in 0..3 * ROOM {
            buffer.put(1, record);
        }
        assert!(recorded.get() >= 2 * u64::from(ROOM), "what found no room was recorded");
        drop(collects);
        buffer.drain(record);
        assert_eq!(recorded.get(), 3 * u64::from(ROOM));
    }

    #[test]
    fn each_value_is_recorded_once_whoever_collects_meanwhile() {
        let (buffer, sum, done) = (Buffer::default(), AtomicU64::new(0), AtomicU64::new(0));
        let record = |value: u64| _ = sum.fetch_add(value, Ordering::Relaxed);
        thread::scope(|scope| {
            // More than there are lanes to oneself.
            for _ in 0..40 {
                scope.spawn(|| {
                    (1..=1_000).for_each(|value| buffer.put(value, record));
                    done.fetch_add(1, Ordering::Release);
                });
            }
            scope.spawn(|| {
                while done.load(Ordering::Acquire) < 40 {
                    buffer.drain(record);
                }
            });
        });
        buffer.drain(record);
        assert_eq!(sum.into_inner(), 40 * 500_500);
    }
}

#[cfg(all(test, moneta_loom))]
mod loom_tests {
    use loom::{sync::Arc, thread};

    use super::*;

    #[test]
    fn loom_a_value_is_taken_as_it_was_put_and_once() {
        loom::model(|| {
            let ring = Arc::new(Ring::default());
            // Nearly full and nearly all the way round, so that places are used again.
            for _ in 0..ROOM - 1 {
                assert!(ring.put(1));
            }
            let takes = Arc::clone(&ring);
            let taker = thread::spawn(move || {
                let sum = std::cell::Cell::new(0);
                takes.drain(|value| sum.set(sum.get() + value));
                sum.get()
            });
            let put: u64 = [100, 10_000].into_iter().filter(|value| ring.put(*value)).sum();
            let taken = taker.join().unwrap();
            let sum = std::cell::Cell::new(taken);
            ring.drain(|value| sum.set(sum.get() + value));
            assert_eq!(sum.get(), u64::from(ROOM) - 1 + put);
        });
    }
}
