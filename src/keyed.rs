//! One value for each key of the requests, however many keys there are.
//!
//! A key may come from outside (a host, a tenant), so the map is bounded. When it is full, a value that was not used
//! lately makes room, if its owner lets it go ("second chance": Corbató, "A Paging Experiment with the Multics System",
//! 1968). When none may go there is no value, and the owner decides what that means.
//!
//! Finding a value takes no lock: each shard is an immutable list that is replaced as a whole. So neither the hash nor
//! the comparison of a key, which are somebody else's code, runs under one.

use std::{
    hash::{BuildHasher, Hash, RandomState},
    sync::Arc,
};

use arc_swap::ArcSwap;

use crate::sync::{AtomicBool, AtomicU64, Ordering};

/// How many entries a shard has when the map is full: so few that replacing the list is cheap.
const SHARD: usize = 32;
/// How many shards are searched for an entry that may go: a flood of keys must not cost a walk through the map each.
const SEARCHED: u64 = 8;

/// A bounded map from keys to shared values.
#[derive(Debug)]
pub(crate) struct Keyed<K, V> {
    /// A power of two, so that a mask of the hash selects the shard.
    shards: Box<[Shard<K, V>]>,
    /// The standard library's, keyed by chance: nobody can choose keys that fall together.
    hasher: RandomState,
    /// How many entries there are, and how many are about to be.
    taken: AtomicU64,
    max: u64,
}

/// In the order of their hashes.
type Shard<K, V> = ArcSwap<Vec<Arc<Entry<K, V>>>>;

/// A key and its value. The lists share it, which says nothing of who uses the value: that is counted apart.
#[derive(Debug)]
struct Entry<K, V> {
    hash: u64,
    key: K,
    value: Arc<V>,
    /// Whether it was found since it was last looked at for eviction.
    used: AtomicBool,
}

impl<K, V> Keyed<K, V> {
    /// For at most `max` keys.
    pub(crate) fn new(max: usize) -> Self {
        let shards = (max / SHARD).next_power_of_two();
        Self {
            shards: (0..shards).map(|_| ArcSwap::default()).collect(),
            hasher: RandomState::new(),
            taken: AtomicU64::new(0),
            max: max as u64,
        }
    }

    /// The value of a key, made if there is none. `None` when the map is full of values that `may_go` keeps or somebody holds,
    /// as far as it was searched.
    ///
    /// Who holds a value keeps it from being evicted, unless it was found in the moment of its eviction.
    pub(crate) fn find(&self, key: K, make: impl FnOnce() -> V, may_go: impl Fn(&V) -> bool) -> Option<Arc<V>>
    where
        K: Hash + Eq,
    {
        let hash = self.hasher.hash_one(&key);
        let shard = self.shard(hash);
        let list = shard.load();
        if let Ok(at) = position(&list, hash, &key) {
            let entry = &list[at];
            // Most finds change nothing, so that a busy key stays in the caches of all processors.
            if !entry.used.load(Ordering::Relaxed) {
                entry.used.store(true, Ordering::Relaxed);
            }
            return Some(Arc::clone(&entry.value));
        }
        drop(list);
        if !self.reserve() && !self.evict(hash, may_go) {
            return None;
        }
        let entry = Entry { hash, key, value: Arc::new(make()), used: AtomicBool::new(false) };
        Some(self.insert(&Arc::new(entry)))
    }

    /// Every key and its value, in no order.
    pub(crate) fn for_each(&self, mut visit: impl FnMut(&K, &Arc<V>)) {
        for shard in &self.shards {
            for entry in &**shard.load() {
                visit(&entry.key, &entry.value);
            }
        }
    }

    fn shard(&self, hash: u64) -> &Shard<K, V> {
        &self.shards[usize::try_from(hash & (self.shards.len() as u64 - 1)).expect("it is below a length")]
    }

    fn reserve(&self) -> bool {
        let more = |taken| (taken < self.max).then_some(taken + 1);
        self.taken.fetch_update(Ordering::Relaxed, Ordering::Relaxed, more).is_ok()
    }

    /// Puts an entry, for which there is room, into its list, and gives the value that is there: another thread may have
    /// been faster.
    fn insert(&self, entry: &Arc<Entry<K, V>>) -> Arc<V>
    where
        K: Eq,
    {
        let shard = self.shard(entry.hash);
        loop {
            let list = shard.load();
            let at = match position(&list, entry.hash, &entry.key) {
                Ok(at) => {
                    self.taken.fetch_sub(1, Ordering::Relaxed);
                    return Arc::clone(&list[at].value);
                }
                Err(at) => at,
            };
            let mut longer = Vec::with_capacity(list.len() + 1);
            longer.extend_from_slice(&list[..at]);
            longer.push(Arc::clone(entry));
            longer.extend_from_slice(&list[at..]);
            if Arc::ptr_eq(&shard.compare_and_swap(&list, Arc::new(longer)), &list) {
                return Arc::clone(&entry.value);
            }
        }
    }

    /// Takes out an entry that was not used lately, from the shard of `hash` on. The room for it is the caller's then.
    fn evict(&self, hash: u64, may_go: impl Fn(&V) -> bool) -> bool {
        (0..SEARCHED.min(self.shards.len() as u64))
            .any(|step| evict_from(self.shard(hash.wrapping_add(step)), hash, &may_go))
    }
}

fn evict_from<K, V>(shard: &Shard<K, V>, hash: u64, may_go: impl Fn(&V) -> bool) -> bool {
    loop {
        let list = shard.load();
        // The search begins where the new key would stand, which is as good as anywhere.
        let begin = list.partition_point(|entry| entry.hash < hash);
        let mut round = (begin..list.len()).chain(0..begin);
        let idle = |&at: &usize| {
            let value = &list[at].value;
            Arc::strong_count(value) == 1 && may_go(value)
        };
        let unused = |at: &usize| !list[*at].used.swap(false, Ordering::Relaxed);
        let Some(victim) = round.clone().filter(idle).find(unused).or_else(|| round.find(idle)) else {
            return false;
        };
        let mut shorter = Vec::with_capacity(list.len());
        shorter.extend_from_slice(&list[..victim]);
        shorter.extend_from_slice(&list[victim + 1..]);
        if Arc::ptr_eq(&shard.compare_and_swap(&list, Arc::new(shorter)), &list) {
            return true;
        }
    }
}

/// Where the key is in a list, or where it would be.
fn position<K: Eq, V>(list: &[Arc<Entry<K, V>>], hash: u64, key: &K) -> Result<usize, usize> {
    let begin = list.partition_point(|entry| entry.hash < hash);
    let alike = list[begin..].iter().take_while(|entry| entry.hash == hash);
    alike.zip(begin..).find(|(entry, _)| entry.key == *key).map_or(Err(begin), |(_, at)| Ok(at))
}

#[cfg(test)]
mod tests {
    use std::{collections::HashSet, thread};

    use super::*;

    fn keys<V>(keyed: &Keyed<u32, V>) -> HashSet<u32> {
        let mut keys = HashSet::new();
        keyed.for_each(|&key, _| assert!(keys.insert(key), "{key} is there twice"));
        keys
    }

    #[test]
    fn a_key_keeps_its_value() {
        let keyed = Keyed::new(1_000);
        for key in 0..1_000_u32 {
            keyed.find(key, || key * 2, |_| false).expect("there is room");
        }
        for key in 0..1_000 {
            let value = keyed.find(key, || panic!("{key} is there"), |_| false);
            assert_eq!(value.as_deref(), Some(&(key * 2)));
        }
    }

    #[test]
    fn as_many_keys_as_were_asked_for_have_room_and_no_more() {
        for max in [1, 2, 31, 32, 100, 1_000] {
            let keyed = Keyed::new(max);
            let found = (0..3_000_u32).filter(|&key| keyed.find(key, || (), |()| false).is_some()).count();
            assert_eq!((found, keys(&keyed).len()), (max, max));
        }
    }

    #[test]
    fn a_flood_of_keys_evicts_neither_what_is_kept_nor_what_is_held_nor_what_is_used() {
        let map = Keyed::new(100);
        let find = |key, kept| {
            let found = map.find(key, || kept, |kept| !kept);
            found.expect("not all of them are kept")
        };
        for key in 0..10 {
            find(key, true);
        }
        let held: Vec<_> = (10..20).map(|key| find(key, false)).collect();
        for key in 1_000..11_000_u32 {
            find(20, false);
            find(key, false);
            assert!(map.taken.load(Ordering::Relaxed) <= 100);
        }
        let keys = keys(&map);
        assert_eq!(keys.len(), 100);
        assert!((0..=20).all(|key| keys.contains(&key)), "{keys:?}");
        drop(held);
    }

    #[test]
    fn threads_that_meet_at_a_key_share_its_value() {
        let keyed = Keyed::new(64);
        let made = AtomicU64::new(0);
        thread::scope(|scope| {
            for _ in 0..8 {
                scope.spawn(|| {
                    for key in 0..200_u32 {
                        let new = || (key, made.fetch_add(1, Ordering::Relaxed));
                        let value = keyed.find(key, new, |_| true).expect("eight of 64 are held at most");
                        assert_eq!(value.0, key);
                    }
                });
            }
        });
        // A thread that made room for a key which another has put in first leaves that room free.
        let keys = keys(&keyed);
        assert_eq!(keys.len() as u64, keyed.taken.load(Ordering::Relaxed));
        assert!(keys.len() <= 64);
    }

    #[test]
    fn a_value_made_by_two_threads_at_once_is_one() {
        for _ in 0..200 {
            let keyed = Keyed::new(64);
            let find = || keyed.find(7, || (), |()| true).expect("there is room");
            let (one, other) = thread::scope(|scope| {
                let threads =
                    [scope.spawn(find), scope.spawn(find)].map(|thread| thread.join().expect("it ends"));
                threads.into()
            });
            assert!(Arc::ptr_eq(&one, &other));
            assert_eq!(keyed.taken.load(Ordering::Relaxed), 1);
        }
    }
}
