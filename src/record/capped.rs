use std::{collections::HashMap, hash::Hash, sync::Arc};

use arc_swap::ArcSwap;

/// Values by key, of which there are only so many: all further keys have one value together.
///
/// To look one up takes no lock. To add one copies the map, which happens as often as there are values.
pub(super) struct Capped<K, V> {
    known: ArcSwap<HashMap<K, Arc<V>>>,
    most: usize,
    other: V,
}

impl<K: Clone + Eq + Hash, V> Capped<K, V> {
    /// Up to so many values, and one for all other keys.
    pub(super) fn new(most: usize, other: V) -> Self {
        Self { known: ArcSwap::default(), most, other }
    }

    /// What `then` makes of the key's value, which is made first where there is room for it and it is not there.
    pub(super) fn with<T>(&self, key: &K, make: impl FnOnce() -> V, then: impl FnOnce(&V) -> T) -> T {
        let known = self.known.load();
        if let Some(value) = known.get(key) {
            return then(value);
        }
        if known.len() >= self.most {
            return then(&self.other);
        }
        drop(known);
        let value = Arc::new(make());
        self.known.rcu(|known| {
            let mut known = HashMap::clone(known);
            // Another thread may have taken the last room meanwhile, or may have made the same.
            if known.len() < self.most {
                known.entry(key.clone()).or_insert_with(|| Arc::clone(&value));
            }
            known
        });
        then(self.known.load().get(key).map_or(&self.other, |value| value))
    }

    /// Shows all values, and once there is no room for more, the one of all other keys.
    pub(super) fn each(&self, mut show: impl FnMut(Option<&K>, &V)) {
        let known = self.known.load();
        for (key, value) in known.iter() {
            show(Some(key), value);
        }
        if known.len() >= self.most {
            show(None, &self.other);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_value_is_made_once_and_further_ones_are_shared() {
        let capped = Capped::new(2, u8::MAX);
        let get = |key: u8| capped.with(&key, || key, |value| *value);
        assert_eq!([1, 1, 2, 3, 4, 2].map(get), [1, 1, 2, u8::MAX, u8::MAX, 2]);
        assert_eq!(capped.with(&1, || unreachable!("it is there"), |value| *value), 1);
    }

    #[test]
    fn what_is_shared_is_shown_once_it_can_be() {
        let capped = Capped::new(1, 0);
        let shown = || {
            let mut shown = Vec::new();
            capped.each(|key, value| shown.push((key.copied(), *value)));
            shown
        };
        assert_eq!(shown(), []);
        capped.with(&7, || 70, |_| ());
        assert_eq!(shown(), [(Some(7), 70), (None, 0)]);
    }

    #[test]
    fn threads_never_make_more_than_there_is_room_for() {
        let capped = Capped::new(50, None);
        std::thread::scope(|scope| {
            for _ in 0..4 {
                scope.spawn(|| {
                    for key in 0..100 {
                        let value = capped.with(&key, || Some(key), |value| *value);
                        assert!(value.is_none_or(|value| value == key), "{value:?} is not {key}");
                    }
                });
            }
        });
        assert_eq!(capped.known.load().len(), 50);
    }
}
