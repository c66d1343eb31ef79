//! The atomics and locks of the crate: the standard library's, or loom's under `--cfg moneta_loom`.

use std::cell::Cell;

#[cfg(moneta_loom)]
pub(crate) use loom::sync::{
    Mutex, MutexGuard,
    atomic::{AtomicBool, AtomicU32, AtomicU64, Ordering},
};
#[cfg(not(moneta_loom))]
pub(crate) use std::sync::{
    Mutex, MutexGuard,
    atomic::{AtomicBool, AtomicU32, AtomicU64, Ordering},
};

/// Locks, and goes on with the data of a lock whose holder panicked: what the crate keeps under a lock is whole after
/// every statement, and nothing may wedge because somebody panicked.
pub(crate) fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(std::sync::PoisonError::into_inner)
}

/// How many stripes a striped counter has: enough that a few busy threads rarely meet, few enough to stay small.
pub(crate) const STRIPES: usize = 4;

thread_local! {
    /// The stripe of this thread, and 0 before it has one; the last stripe comes round to the first. It has nothing to
    /// drop, so it is there to the thread's very end.
    static STRIPE: Cell<usize> = const { Cell::new(0) };
}

/// The stripe of this thread, below [`STRIPES`]. Threads take turns as they come.
#[inline]
pub(crate) fn stripe() -> usize {
    let stripe = STRIPE.get();
    (if stripe == 0 { take_stripe() } else { stripe }) % STRIPES
}

#[cold]
fn take_stripe() -> usize {
    use std::sync::atomic;

    static NEXT: atomic::AtomicUsize = atomic::AtomicUsize::new(0);
    let stripe = NEXT.fetch_add(1, atomic::Ordering::Relaxed) % STRIPES + 1;
    STRIPE.set(stripe);
    stripe
}
