//! The limit of a bulkhead in equal shares, one for each key.
//!
//! A share is a [`Machine`] of its own in front of the whole one: a call needs a place in its compartment first, and then
//! one in the bulkhead. The shares add up to no more than the limit, so whoever has a place in its compartment finds one
//! in the bulkhead, unless the limit was lowered and those in flight have yet to drain. The whole keeps the limit even
//! then.
//!
//! A compartment exists as long as somebody is in it, in its queue, or about to be; so there is nothing to evict, and
//! never two of one key, which a map that evicts could not promise. The map is behind a lock, taken for a look-up when a
//! call begins and when it ends; no code of others runs under it.

use std::{
    collections::{HashMap, hash_map::Entry},
    sync::Arc,
};

use super::machine::{Granted, Machine};
use crate::sync::{Mutex, lock};

/// All compartments of a bulkhead.
#[derive(Debug)]
pub(super) struct Compartments {
    keys: usize,
    max_queue: usize,
    inner: Mutex<Inner>,
}

#[derive(Debug)]
struct Inner {
    share: usize,
    of_key: HashMap<u64, Arc<Machine>>,
    /// What all keys share that came when each compartment had a key.
    others: Arc<Machine>,
}

impl Compartments {
    /// A share for each of `keys` keys, and one for all others.
    pub(super) fn new(keys: usize, limit: usize, max_queue: usize) -> Self {
        let shares = keys.saturating_add(1);
        let share = share(limit, shares);
        // A queue that the whole has, each compartment has, too; without one nobody waits anywhere.
        let max_queue = if max_queue == 0 { 0 } else { self::share(max_queue, shares) };
        let others = Arc::new(Machine::new(share, max_queue));
        Self { keys, max_queue, inner: Mutex::new(Inner { share, of_key: HashMap::new(), others }) }
    }

    /// The compartment of a key, told by the key's hash. Nobody has a place in it by that.
    pub(super) fn of(self: &Arc<Self>, key: u64) -> Compartment {
        let mut inner = lock(&self.inner);
        let Inner { share, of_key, others } = &mut *inner;
        let room = of_key.len() < self.keys;
        let machine = match of_key.entry(key) {
            Entry::Occupied(machine) => Arc::clone(machine.get()),
            Entry::Vacant(place) if room => {
                Arc::clone(place.insert(Arc::new(Machine::new(*share, self.max_queue))))
            }
            Entry::Vacant(_) => Arc::clone(others),
        };
        Compartment { all: Arc::clone(self), key, machine: Some(machine), inside: false }
    }

    /// Follows a change of the whole limit.
    pub(super) fn follow(&self, whole: &Machine) {
        let granted: Vec<Granted> = {
            let mut inner = lock(&self.inner);
            // Read under the lock, so that of two changes the later one stays.
            let share = share(whole.state().limit, self.keys.saturating_add(1));
            if share == inner.share {
                return;
            }
            inner.share = share;
            inner.of_key.values().chain([&inner.others]).map(|machine| machine.set_limit(share)).collect()
        };
        granted.into_iter().for_each(Granted::wake);
    }

    /// How many calls wait for a place in their compartments.
    pub(super) fn queued(&self) -> usize {
        let inner = lock(&self.inner);
        inner.of_key.values().chain([&inner.others]).map(|machine| machine.state().queued).sum()
    }

    /// How many keys have a compartment of their own at the moment.
    #[cfg(test)]
    pub(super) fn keys(&self) -> usize {
        lock(&self.inner).of_key.len()
    }

    fn leave(&self, key: u64, machine: Arc<Machine>) {
        let mut inner = lock(&self.inner);
        // Taken and given back under the lock alone: a count of one is the map's own, and stays that.
        drop(machine);
        if let Entry::Occupied(of_key) = inner.of_key.entry(key) {
            if Arc::strong_count(of_key.get()) == 1 {
                of_key.remove();
            }
        }
    }
}

/// At least one place: a share of none would refuse every call. The whole keeps the limit then.
fn share(limit: usize, shares: usize) -> usize {
    (limit / shares).max(1)
}

/// The compartment of one call. Dropped, it gives the place in it back, if the call has one.
#[derive(Debug)]
pub(super) struct Compartment {
    all: Arc<Compartments>,
    key: u64,
    /// There until it is dropped.
    machine: Option<Arc<Machine>>,
    inside: bool,
}

impl Compartment {
    /// Where the call has to get a place yet; `None` when it has one.
    pub(super) fn door(&self) -> Option<&Machine> {
        self.machine.as_deref().filter(|_| !self.inside)
    }

    /// The call has got a place.
    pub(super) fn enter(&mut self) {
        self.inside = true;
    }
}

impl Drop for Compartment {
    fn drop(&mut self) {
        let Some(machine) = self.machine.take() else { return };
        if self.inside {
            machine.release();
        }
        self.all.leave(self.key, machine);
    }
}
