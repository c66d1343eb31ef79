//! Who waits until when: some lists, each in the order of its deadlines, whose entries share one slab.

use std::mem;

use tokio::time::Instant;

/// How many lists there are.
pub(super) const LANES: usize = 4;

/// No entry.
const NONE: u32 = u32::MAX;

/// Entries that wait, in [`LANES`] lists that are each in the order of the deadlines. To enter and to leave costs the same
/// however many wait. It knows no clock, wakes nobody, and takes memory for as many as ever waited at once since nobody did.
#[derive(Debug)]
pub(super) struct Queue<W> {
    entries: Vec<Entry<W>>,
    /// The first free place.
    free: u32,
    /// The number of the entry that came last. None has the number of another, ever.
    last_id: u64,
    lists: [List; LANES],
}

#[derive(Debug)]
struct Entry<W> {
    /// `None` in a free place.
    waker: Option<W>,
    deadline: Instant,
    id: u64,
    lane: u8,
    /// Whether it was taken out because its deadline had passed.
    rung: bool,
    prev: u32,
    /// In a free place, the next one.
    next: u32,
}

#[derive(Clone, Copy, Debug)]
struct List {
    first: u32,
    last: u32,
}

/// Where an entry is, for as long as it waits.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Place {
    slot: u32,
    id: u64,
}

impl<W> Queue<W> {
    /// Empty, it keeps places for so many.
    const SPARE: usize = 1_024;

    pub(super) const fn new() -> Self {
        Self { entries: Vec::new(), free: NONE, last_id: 0, lists: [List { first: NONE, last: NONE }; LANES] }
    }

    /// The deadline of the last one in a list.
    #[inline]
    pub(super) fn last(&self, lane: usize) -> Option<Instant> {
        self.at(self.lists[lane].last).map(|entry| entry.deadline)
    }

    /// The deadline of the first one in a list.
    pub(super) fn first(&self, lane: usize) -> Option<Instant> {
        self.at(self.lists[lane].first).map(|entry| entry.deadline)
    }

    /// Enters at the end of a list whose last deadline is no later.
    #[inline]
    pub(super) fn push(&mut self, lane: usize, deadline: Instant, waker: W) -> Place {
        debug_assert!(self.last(lane).is_none_or(|last| last <= deadline), "a list is in order");
        self.last_id += 1;
        let id = self.last_id;
        let prev = self.lists[lane].last;
        #[expect(clippy::cast_possible_truncation, reason = "there are four")]
        let entry =
            Entry { waker: Some(waker), deadline, id, lane: lane as u8, rung: false, prev, next: NONE };
        let mut slot = self.free;
        if let Some(place) = self.entries.get_mut(slot as usize) {
            self.free = mem::replace(place, entry).next;
        } else {
            slot = u32::try_from(self.entries.len()).expect("memory ends before four billion entries do");
            self.entries.push(entry);
        }
        match self.entries.get_mut(prev as usize) {
            Some(before) => before.next = slot,
            None => self.lists[lane].first = slot,
        }
        self.lists[lane].last = slot;
        Place { slot, id }
    }

    /// The waker of an entry that still waits.
    #[inline]
    pub(super) fn waker(&mut self, Place { slot, id }: Place) -> Option<&mut W> {
        let entry = self.entries.get_mut(slot as usize).filter(|entry| entry.id == id)?;
        entry.waker.as_mut()
    }

    /// Takes out an entry that still waits.
    #[inline]
    pub(super) fn remove(&mut self, Place { slot, id }: Place) -> Option<W> {
        let entry = self.entries.get_mut(slot as usize).filter(|entry| entry.id == id)?;
        let waker = entry.waker.take()?;
        let (prev, next, list) = (entry.prev, entry.next, &mut self.lists[usize::from(entry.lane)]);
        entry.next = mem::replace(&mut self.free, slot);
        match self.entries.get_mut(prev as usize) {
            Some(before) => before.next = next,
            None => list.first = next,
        }
        match self.entries.get_mut(next as usize) {
            Some(after) => after.prev = prev,
            None => list.last = prev,
        }
        Some(waker)
    }

    /// Takes out the first one of a list, if its deadline has passed by `now`; without that, whichever it is.
    pub(super) fn pop(&mut self, lane: usize, now: Option<Instant>) -> Option<W> {
        let slot = self.lists[lane].first;
        let entry = self.entries.get_mut(slot as usize)?;
        if now.is_some_and(|now| now < entry.deadline) {
            return None;
        }
        entry.rung = now.is_some();
        let id = entry.id;
        self.remove(Place { slot, id })
    }

    /// Whether it is known of an entry that it was taken out because its deadline had passed. Where another one has its place
    /// by now, nothing is known.
    pub(super) fn has_rung(&self, Place { slot, id }: Place) -> bool {
        self.at(slot).is_some_and(|entry| entry.id == id && entry.rung)
    }

    /// Gives memory back once nobody waits.
    pub(super) fn rest(&mut self) {
        if self.entries.capacity() > Self::SPARE && self.lists.iter().all(|list| list.first == NONE) {
            (self.entries, self.free) = (Vec::new(), NONE);
        }
    }

    fn at(&self, slot: u32) -> Option<&Entry<W>> {
        self.entries.get(slot as usize)
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use proptest::{collection::vec, prelude::*};

    use super::*;

    #[derive(Clone, Copy, Debug)]
    enum Step {
        Push { lane: usize, later: u64 },
        Remove(usize),
        PopUntil { lane: usize, at: u64 },
        Rest,
    }

    fn step() -> impl Strategy<Value = Step> {
        prop_oneof![
            4 => (0..LANES, 0..5_u64).prop_map(|(lane, later)| Step::Push { lane, later }),
            3 => (0..50_usize).prop_map(Step::Remove),
            2 => (0..LANES, 0..200_u64).prop_map(|(lane, at)| Step::PopUntil { lane, at }),
            1 => Just(Step::Rest),
        ]
    }

    proptest! {
        /// Against lists that are searched.
        #[test]
        fn entries_come_and_go_as_in_plain_lists(steps in vec(step(), 1..200)) {
            let origin = Instant::now();
            let at = |millis| origin + Duration::from_millis(millis);
            let mut queue = Queue::new();
            let mut naive: [Vec<(u64, usize)>; LANES] = Default::default();
            let mut places = Vec::new();
            for step in steps {
                match step {
                    Step::Push { lane, later } => {
                        let millis = naive[lane].last().map_or(0, |&(last, _)| last) + later;
                        naive[lane].push((millis, places.len()));
                        places.push(queue.push(lane, at(millis), places.len()));
                    }
                    Step::Remove(n) if n < places.len() => {
                        let waits = naive.iter_mut().find_map(|list| {
                            let found = list.iter().position(|&(_, id)| id == n)?;
                            Some(list.remove(found).1)
                        });
                        prop_assert_eq!(queue.waker(places[n]).copied(), waits);
                        prop_assert_eq!(queue.remove(places[n]), waits);
                        prop_assert_eq!(queue.remove(places[n]), None);
                        prop_assert!(waits.is_none() || !queue.has_rung(places[n]));
                    }
                    Step::PopUntil { lane, at: millis } => {
                        while let Some(&(first, id)) = naive[lane].first().filter(|(first, _)| *first <= millis) {
                            prop_assert_eq!(queue.first(lane), Some(at(first)));
                            prop_assert!(!queue.has_rung(places[id]));
                            prop_assert_eq!(queue.pop(lane, Some(at(millis))), Some(id));
                            prop_assert!(queue.has_rung(places[id]));
                            naive[lane].remove(0);
                        }
                        prop_assert_eq!(queue.pop(lane, Some(at(millis))), None);
                    }
                    Step::Rest | Step::Remove(_) => queue.rest(),
                }
                for (lane, list) in naive.iter().enumerate() {
                    prop_assert_eq!(queue.first(lane), list.first().map(|&(millis, _)| at(millis)));
                    prop_assert_eq!(queue.last(lane), list.last().map(|&(millis, _)| at(millis)));
                }
            }
        }
    }

    #[test]
    fn memory_is_for_as_many_as_wait_at_once_and_is_given_back() {
        let mut queue = Queue::new();
        let now = Instant::now();
        for _ in 0..10_000 {
            let place = queue.push(0, now, ());
            queue.push(1, now, ());
            assert_eq!((queue.remove(place), queue.pop(1, None)), (Some(()), Some(())));
        }
        assert_eq!(queue.entries.len(), 2);
        let places: Vec<_> = (0..10_000).map(|_| queue.push(0, now, ())).collect();
        queue.rest();
        assert_eq!(queue.entries.len(), 10_000);
        assert!(places.iter().all(|&place| queue.remove(place).is_some()));
        queue.rest();
        assert_eq!(queue.entries.capacity(), 0);
        queue.push(0, now, ());
        assert!(places.iter().all(|&place| queue.remove(place).is_none()), "a place of before is nobody's");
    }
}
