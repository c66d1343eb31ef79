//! What is known of each key: a bounded number of copies, in a bounded number of bytes.
//!
//! When there is no room, what was not used for longest goes first. What is known to be gone needs a place too, or an older
//! answer that comes late would bring it back; but it goes before any copy, so that a flood of misses evicts none.

use std::{
    collections::{BTreeMap, HashMap},
    sync::Arc,
};

use tokio::time::Instant;

use super::copy::Kept;

/// What an entry takes beside its key, its fields and its body: about that.
const OVERHEAD: usize = 256;

#[derive(Debug)]
pub(super) struct Store {
    max_entries: usize,
    max_bytes: usize,
    entries: HashMap<Arc<str>, Entry>,
    /// The keys in the order in which they go: of what is gone, then of what was not used for long.
    order: BTreeMap<Turn, Arc<str>>,
    bytes: usize,
    turns: u64,
}

#[derive(Debug)]
struct Entry {
    /// When it was asked for, so how old it is at most.
    born: Instant,
    turn: Turn,
    size: usize,
    /// `None`: the dependency has said that there is nothing to keep.
    copy: Option<Arc<Kept>>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Turn {
    Gone(u64),
    Used(u64),
}

impl Store {
    pub(super) fn new(max_entries: usize, max_bytes: usize) -> Self {
        let (entries, order) = (HashMap::new(), BTreeMap::new());
        Self { max_entries, max_bytes, entries, order, bytes: 0, turns: 0 }
    }

    pub(super) fn max_entries(&self) -> usize {
        self.max_entries
    }

    pub(super) fn max_bytes(&self) -> usize {
        self.max_bytes
    }

    /// What the dependency last had for this key: a copy, or nothing to keep. What is known already may be newer.
    pub(super) fn put(&mut self, key: &str, born: Instant, copy: Option<Arc<Kept>>) {
        if self.entries.get(key).is_some_and(|known| known.born > born) {
            return;
        }
        self.remove(key);
        let size = OVERHEAD + 2 * key.len() + copy.as_ref().map_or(0, |copy| copy.size());
        if size > self.max_bytes {
            return;
        }
        let key: Arc<str> = key.into();
        let turn = self.turn(copy.is_some());
        self.order.insert(turn, Arc::clone(&key));
        self.entries.insert(key, Entry { born, turn, size, copy });
        self.bytes += size;
        while self.entries.len() > self.max_entries || self.bytes > self.max_bytes {
            let (_, first) = self.order.first_key_value().expect("what takes room stands in the order");
            let first = Arc::clone(first);
            self.remove(&first);
        }
    }

    /// The copy for this key, and when it was asked for.
    pub(super) fn get(&mut self, key: &str) -> Option<(Instant, Arc<Kept>)> {
        let turn = self.turn(true);
        let entry = self.entries.get_mut(key)?;
        let copy = Arc::clone(entry.copy.as_ref()?);
        let key = self.order.remove(&entry.turn).expect("each entry stands in the order");
        self.order.insert(turn, key);
        entry.turn = turn;
        Some((entry.born, copy))
    }

    fn turn(&mut self, used: bool) -> Turn {
        self.turns += 1;
        if used { Turn::Used(self.turns) } else { Turn::Gone(self.turns) }
    }

    fn remove(&mut self, key: &str) {
        if let Some(entry) = self.entries.remove(key) {
            self.order.remove(&entry.turn);
            self.bytes -= entry.size;
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::random::Random;

    fn copy(size: usize) -> Arc<Kept> {
        Arc::new(Kept::of_size(size))
    }

    fn bytes_of(store: &Store) -> usize {
        store.entries.values().map(|entry| entry.size).sum()
    }

    #[tokio::test(start_paused = true)]
    async fn whatever_comes_there_are_never_too_many_entries_or_bytes() {
        let random = Random::seeded(7);
        let below = |limit: u64| random.next_u64() % limit;
        let mut store = Store::new(20, 20_000);
        let start = Instant::now();
        for _ in 0..20_000 {
            let key = below(60).to_string();
            let born = start + Duration::from_secs(below(100));
            match below(4) {
                0 => store.put(&key, born, None),
                1 => {
                    store.get(&key);
                }
                _ => store.put(&key, born, Some(copy(usize::try_from(below(3_000)).expect("it is small")))),
            }
            assert!(store.entries.len() <= 20 && store.bytes <= 20_000);
            assert_eq!((store.bytes, store.entries.len()), (bytes_of(&store), store.order.len()));
        }
        assert!(store.bytes > 10_000, "it forgets more than it must");
    }

    #[tokio::test(start_paused = true)]
    async fn what_was_not_used_for_longest_goes_first_and_what_is_gone_before_it() {
        let mut store = Store::new(3, usize::MAX);
        let now = Instant::now();
        for key in ["a", "b", "c"] {
            store.put(key, now, Some(copy(10)));
        }
        store.get("a");
        for miss in 0..1_000 {
            store.put(&miss.to_string(), now, None);
        }
        store.put("d", now, Some(copy(10)));
        let has = |key| store.entries.contains_key(key);
        assert_eq!(["a", "b", "c", "d"].map(has), [true, false, true, true]);
    }

    #[tokio::test(start_paused = true)]
    async fn what_is_older_replaces_nothing() {
        let mut store = Store::new(9, usize::MAX);
        let (older, newer) = (Instant::now(), Instant::now() + Duration::from_secs(1));
        for latest in [Some(copy(1)), None] {
            store.put("a", newer, latest.clone());
            store.put("a", older, Some(copy(2)));
            let known = store.get("a");
            assert_eq!(
                known.map(|(born, copy)| (born, copy.size())),
                latest.map(|copy| (newer, copy.size()))
            );
        }
    }

    #[tokio::test(start_paused = true)]
    async fn what_is_larger_than_everything_is_not_kept() {
        let mut store = Store::new(9, 1_000);
        store.put("a", Instant::now(), Some(copy(10)));
        store.put("b", Instant::now(), Some(copy(2_000)));
        assert!(store.get("a").is_some() && store.get("b").is_none());
    }
}
