use std::{
    cmp::Reverse,
    collections::{BinaryHeap, HashMap, hash_map::Entry},
    hash::{BuildHasher, BuildHasherDefault, Hash, Hasher, RandomState},
    sync::Arc,
    time::Duration,
};

use tokio::time::Instant;

use super::{
    Ask, Found, Identity, InDoubt, Outcome, Owner, Store, StoreError, Verdict,
    machine::{Record, Then},
};
use crate::sync::{AtomicU64, Mutex, MutexGuard, Ordering, lock};

/// Threads that are busy with different keys rarely meet in one of so many.
const SHARDS: usize = 64;
/// How many outcomes that are over each claim clears away: more than one, so that they cannot pile up.
const CLEARED: usize = 2;

/// Keeps records in the memory of this process.
///
/// One start per key *in the lifetime of the process*: a restart, or a second instance of the service, knows nothing of a key.
/// It is for tests, for development, and for work that dies with the process anyway.
///
/// It is bounded, and what is alive is never evicted, because to forget a key is to pay twice: when all room is taken, new keys
/// are refused ([`StoreError::Full`], a 503) and known ones are served. An answer for which there is no room is kept as a
/// [`Tombstone`](Outcome::Tombstone).
///
/// Clones share the records.
///
/// # Defaults
///
/// | setting | default |
/// |---|---|
/// | [`max_keys`](Self::max_keys) | 100,000 |
/// | [`max_bytes`](Self::max_bytes) of answers | 256 MiB |
#[derive(Clone, Debug)]
pub struct MemoryStore {
    shared: Arc<Shared>,
}

#[derive(Debug)]
struct Shared {
    shards: Box<[Mutex<Shard>]>,
    /// The standard library's, keyed by chance: nobody can choose keys that fall into one shard.
    hasher: RandomState,
    beginning: Instant,
    fence: AtomicU64,
    keys: Room,
    bytes: Room,
}

#[derive(Debug, Default)]
struct Shard {
    records: HashMap<Key, Record, BuildHasherDefault<Hashed>>,
    /// The outcomes, with the end of their retention; some of them are gone already.
    over: BinaryHeap<Reverse<(Duration, Identity)>>,
}

/// An identity with its hash, which is made once: the digest of a key is nobody's secret, so it must be hashed by chance, and the
/// shard and the place in its table go by the same hash.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Key {
    hash: u64,
    id: Identity,
}

impl Hash for Key {
    fn hash<H: Hasher>(&self, state: &mut H) {
        state.write_u64(self.hash);
    }
}

/// Gives what is a hash already.
#[derive(Clone, Copy, Debug, Default)]
struct Hashed(u64);

impl Hasher for Hashed {
    fn write(&mut self, _: &[u8]) {
        unreachable!("a key writes its hash alone")
    }

    fn write_u64(&mut self, hash: u64) {
        self.0 = hash;
    }

    fn finish(&self) -> u64 {
        self.0
    }
}

impl Default for MemoryStore {
    fn default() -> Self {
        Self::with(100_000, 256 * 1024 * 1024)
    }
}

impl MemoryStore {
    /// A store with the default bounds.
    pub fn new() -> Self {
        Self::default()
    }

    /// A fresh store that keeps at most so many keys; each takes 300 to 600 bytes beside its answer.
    #[must_use]
    pub fn max_keys(self, keys: usize) -> Self {
        Self::with(keys as u64, self.shared.bytes.max)
    }

    /// A fresh store that keeps at most so many bytes of answers.
    #[must_use]
    pub fn max_bytes(self, bytes: usize) -> Self {
        Self::with(self.shared.keys.max, bytes as u64)
    }

    fn with(keys: u64, bytes: u64) -> Self {
        let shared = Shared {
            shards: (0..SHARDS).map(|_| Mutex::default()).collect(),
            hasher: RandomState::new(),
            beginning: Instant::now(),
            fence: AtomicU64::new(1),
            keys: Room::new(keys),
            bytes: Room::new(bytes),
        };
        Self { shared: Arc::new(shared) }
    }
}

impl Shared {
    fn now(&self) -> Duration {
        self.beginning.elapsed()
    }

    fn next_fence(&self) -> i64 {
        let fence = self.fence.fetch_add(1, Ordering::Relaxed);
        i64::try_from(fence).expect("nobody makes so many claims in the lifetime of a process")
    }

    fn key(&self, id: Identity) -> Key {
        Key { hash: self.hasher.hash_one(id), id }
    }

    fn shard(&self, key: Key) -> MutexGuard<'_, Shard> {
        // Bits that the table of the shard, which looks at both ends of the hash, is not about to use.
        let index = ((key.hash >> 40) % SHARDS as u64) as usize;
        lock(&self.shards[index])
    }

    fn claim(&self, id: Identity, ask: &Ask) -> Result<Found, StoreError> {
        let key = self.key(id);
        match self.try_claim(key, ask) {
            // Elsewhere there may be outcomes that are over.
            Err(StoreError::Full) if self.purge(1) > 0 => self.try_claim(key, ask),
            found => found,
        }
    }

    fn try_claim(&self, key: Key, ask: &Ask) -> Result<Found, StoreError> {
        let now = self.now();
        let mut shard = self.shard(key);
        self.clear(&mut shard, now, CLEARED);
        match shard.records.entry(key) {
            Entry::Occupied(mut known) => {
                let record = known.get_mut();
                if record.is_over(now) {
                    self.bytes.give(record.bytes());
                }
                Ok(record.claim(ask, now, || self.next_fence()))
            }
            Entry::Vacant(place) if self.keys.take(1) => {
                let fence = self.next_fence();
                place.insert(Record::started(ask, fence, now));
                Ok(Found::Granted { fence, phase: 0 })
            }
            Entry::Vacant(_) => Err(StoreError::Full),
        }
    }

    /// Lets `change` have the record of a key and obeys what it says of it. Where there is none, the claim is lost.
    fn change(
        &self,
        id: Identity,
        change: impl FnOnce(&mut Record, Duration) -> Result<Then, StoreError>,
    ) -> Result<(), StoreError> {
        let now = self.now();
        let key = self.key(id);
        let mut shard = self.shard(key);
        let record = shard.records.get_mut(&key).ok_or(StoreError::Fenced)?;
        match change(record, now)? {
            Then::Go => {}
            Then::Keep { until } => {
                if !self.bytes.take(record.bytes()) {
                    record.shorten();
                }
                shard.over.push(Reverse((until, id)));
            }
            Then::Remove => self.remove(&mut shard, key),
        }
        Ok(())
    }

    fn in_doubt(&self, limit: usize) -> Vec<InDoubt> {
        let now = self.now();
        let mut found: Vec<InDoubt> = Vec::new();
        for shard in &self.shards {
            found.extend(lock(shard).records.iter().filter_map(|(key, record)| record.in_doubt(key.id, now)));
            found.sort_unstable_by_key(|doubt| Reverse(doubt.age));
            found.truncate(limit);
        }
        found
    }

    fn purge(&self, limit: usize) -> usize {
        let now = self.now();
        self.shards.iter().fold(0, |purged, shard| purged + self.clear(&mut lock(shard), now, limit - purged))
    }

    /// Removes at most `limit` outcomes that are over, and says how many it was.
    fn clear(&self, shard: &mut Shard, now: Duration, limit: usize) -> usize {
        let mut cleared = 0;
        while cleared < limit && shard.over.peek().is_some_and(|Reverse((until, _))| *until <= now) {
            let Some(Reverse((_, id))) = shard.over.pop() else { break };
            let key = self.key(id);
            // It may have been claimed again since.
            if shard.records.get(&key).is_some_and(|record| record.is_over(now)) {
                self.remove(shard, key);
                cleared += 1;
            }
        }
        cleared
    }

    fn remove(&self, shard: &mut Shard, key: Key) {
        if let Some(record) = shard.records.remove(&key) {
            self.keys.give(1);
            self.bytes.give(record.bytes());
        }
    }
}

impl Store for MemoryStore {
    async fn claim(&self, id: Identity, ask: Ask) -> Result<Found, StoreError> {
        self.shared.claim(id, &ask)
    }

    async fn renew(&self, id: Identity, owner: Owner, lease: Duration) -> Result<(), StoreError> {
        self.shared.change(id, |record, now| record.renew(owner, lease, now))
    }

    async fn checkpoint(&self, id: Identity, owner: Owner, phase: u32) -> Result<(), StoreError> {
        self.shared.change(id, |record, _| record.checkpoint(owner, phase))
    }

    async fn complete(
        &self,
        id: Identity,
        owner: Owner,
        outcome: Outcome,
        retention: Duration,
    ) -> Result<(), StoreError> {
        self.shared.change(id, |record, now| record.complete(owner, outcome, retention, now))
    }

    async fn release(&self, id: Identity, owner: Owner) -> Result<(), StoreError> {
        self.shared.change(id, |record, _| record.release(owner))
    }

    async fn doubt(&self, id: Identity, owner: Owner) -> Result<(), StoreError> {
        self.shared.change(id, |record, now| record.doubt(owner, now))
    }

    async fn reconcile(&self, id: Identity, fence: i64, verdict: Verdict) -> Result<(), StoreError> {
        self.shared.change(id, |record, now| record.reconcile(fence, verdict, now))
    }

    async fn in_doubt(&self, limit: usize) -> Result<Vec<InDoubt>, StoreError> {
        Ok(self.shared.in_doubt(limit))
    }

    async fn purge(&self, limit: usize) -> Result<usize, StoreError> {
        Ok(self.shared.purge(limit))
    }
}

/// Room for so many of something, of which no more is ever taken than there is.
#[derive(Debug)]
struct Room {
    taken: AtomicU64,
    max: u64,
}

impl Room {
    fn new(max: u64) -> Self {
        Self { taken: AtomicU64::new(0), max }
    }

    fn take(&self, some: u64) -> bool {
        let more = |taken: u64| taken.checked_add(some).filter(|&taken| taken <= self.max);
        self.taken.fetch_update(Ordering::Relaxed, Ordering::Relaxed, more).is_ok()
    }

    fn give(&self, some: u64) {
        self.taken.fetch_sub(some, Ordering::Relaxed);
    }
}
