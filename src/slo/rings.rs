use std::time::Duration;

use crate::tally::Count;

/// How far back a burn rate looks.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[non_exhaustive]
pub enum Window {
    /// 5 minutes.
    Minutes5,
    /// 30 minutes.
    Minutes30,
    /// An hour.
    Hour,
    /// 2 hours.
    Hours2,
    /// 6 hours.
    Hours6,
    /// A day.
    Day,
    /// 3 days.
    Days3,
    /// 30 days: the period of the budget.
    Days30,
}

impl Window {
    /// All of them, shortest first.
    pub const ALL: [Self; 8] = [
        Self::Minutes5,
        Self::Minutes30,
        Self::Hour,
        Self::Hours2,
        Self::Hours6,
        Self::Day,
        Self::Days3,
        Self::Days30,
    ];

    /// Its length.
    pub const fn duration(self) -> Duration {
        let (ring, slices) = self.place();
        Duration::from_secs(width(ring) * slices as u64)
    }

    /// As Prometheus writes it, and people do: `5m`, `1h`, `30d`.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Minutes5 => "5m",
            Self::Minutes30 => "30m",
            Self::Hour => "1h",
            Self::Hours2 => "2h",
            Self::Hours6 => "6h",
            Self::Day => "1d",
            Self::Days3 => "3d",
            Self::Days30 => "30d",
        }
    }

    /// Which ring it is read off, and how many of its slices it is.
    const fn place(self) -> (usize, usize) {
        match self {
            Self::Minutes5 => (0, 30),
            Self::Minutes30 => (0, 180),
            Self::Hour => (0, 360),
            Self::Hours2 => (1, 120),
            Self::Hours6 => (1, 360),
            Self::Day => (2, 144),
            Self::Days3 => (2, 432),
            Self::Days30 => (3, 720),
        }
    }
}

/// The shortest slice.
const TICK: Duration = Duration::from_secs(10);

/// The resolutions: how many ticks a slice is, and how many slices a ring has. 10 s over an hour, a minute over 6 hours,
/// 10 minutes over 3 days, an hour over 30 days: each is as long as its longest window.
pub(super) const RINGS: [(u64, usize); 4] = [(1, 360), (6, 360), (60, 432), (360, 720)];

/// No slice holds more good ones than this, nor bad ones: what a process can count in an hour is far less, and sums of all that
/// was ever restored do not run over.
pub(super) const MOST: u64 = 1 << 48;

/// The first second, late enough that every slice of every ring has a number, also those that were restored.
const FIRST: u64 = 360 * 720 * TICK.as_secs();

/// How many seconds the longest slice is, which is a multiple of all others.
const HOUR: u64 = 3600;

/// What was good and bad, slice by slice and at several resolutions, and the sums over all windows, which are kept and never
/// added up: moving on costs what has gone by, asking costs nothing.
///
/// It knows no clock. A window is whole slices, the newest of which has just begun: it is up to one slice shorter than its
/// name.
#[derive(Clone, Debug)]
pub(super) struct Rings {
    each: [Ring; RINGS.len()],
    sums: [Count; Window::ALL.len()],
    /// How far they were moved on.
    seconds: u64,
    /// How much of its first hour had gone by at the beginning, in seconds.
    begun: u64,
}

#[derive(Clone, Debug)]
struct Ring {
    slices: Box<[Count]>,
    /// The number of the newest slice.
    newest: u64,
}

impl Rings {
    pub(super) fn new() -> Self {
        let each = std::array::from_fn(|ring| Ring {
            slices: vec![Count::default(); RINGS[ring].1].into(),
            newest: FIRST / width(ring),
        });
        Self { each, sums: Default::default(), seconds: 0, begun: 0 }
    }

    /// Moves on to so many seconds after the beginning. It never goes back.
    pub(super) fn advance(&mut self, seconds: u64) {
        self.seconds = self.seconds.max(seconds);
        for index in 0..RINGS.len() {
            // What had gone by of the slice that was the newest at the beginning.
            let second = FIRST.saturating_add(seconds).saturating_add(self.begun % width(index));
            let (ring, slice) = (&mut self.each[index], second / width(index));
            if slice.saturating_sub(ring.newest) >= ring.slices.len() as u64 {
                ring.slices.fill(Count::default());
                ring.newest = slice;
                for window in on(index) {
                    self.sums[window as usize] = Count::default();
                }
            }
            while ring.newest < slice {
                ring.newest += 1;
                for window in on(index) {
                    self.sums[window as usize] -= *ring.slice(window.place().1 as u64);
                }
                *ring.slice(0) = Count::default();
            }
        }
    }

    /// How many seconds of its newest hour have gone by. Each newest slice began so long ago, in whole slices of its ring less.
    pub(super) fn gone(&self) -> u64 {
        (self.seconds % HOUR + self.begun) % HOUR
    }

    /// Says that so many seconds of the newest hour have gone by. Otherwise what is restored would be as old as in the
    /// beginning of a slice each time, and never grow old where processes live for less than one.
    pub(super) fn resume(&mut self, gone: u64) {
        self.begun = (gone % HOUR + HOUR - self.seconds % HOUR) % HOUR;
    }

    /// Counts in the newest slices.
    pub(super) fn add(&mut self, count: Count) {
        (0..RINGS.len()).for_each(|ring| self.add_aged(ring, 0, count));
    }

    /// Counts in the slice of a ring that is so many slices old, unless it is older than the ring.
    pub(super) fn add_aged(&mut self, ring: usize, age: u64, count: Count) {
        if age >= self.each[ring].slices.len() as u64 {
            return;
        }
        let slice = self.each[ring].slice(age);
        let room = Count { good: MOST - slice.good, bad: MOST - slice.bad };
        let count = Count { good: count.good.min(room.good), bad: count.bad.min(room.bad) };
        *slice += count;
        for window in on(ring).filter(|window| age < window.place().1 as u64) {
            self.sums[window as usize] += count;
        }
    }

    /// What was counted within a window.
    pub(super) fn sum(&self, window: Window) -> Count {
        self.sums[window as usize]
    }

    /// The slices of a ring in which anything was counted, newest first, with their ages in slices.
    pub(super) fn slices(&self, ring: usize) -> impl Iterator<Item = (u64, Count)> {
        let ring = &self.each[ring];
        let aged = (0..ring.slices.len() as u64).map(|age| (age, ring.slices[ring.index(age)]));
        aged.filter(|&(_, count)| count != Count::default())
    }
}

impl Ring {
    /// The slice of that age. The one that is as old as the ring is long, which is about to go, is in the newest one's place.
    fn slice(&mut self, age: u64) -> &mut Count {
        &mut self.slices[self.index(age)]
    }

    #[expect(clippy::cast_possible_truncation, reason = "a remainder below some hundreds")]
    fn index(&self, age: u64) -> usize {
        ((self.newest - age) % self.slices.len() as u64) as usize
    }
}

/// How many seconds a slice of a ring is.
pub(super) const fn width(ring: usize) -> u64 {
    RINGS[ring].0 * TICK.as_secs()
}

/// The windows that are read off a ring.
fn on(ring: usize) -> impl Iterator<Item = Window> {
    Window::ALL.into_iter().filter(move |window| window.place().0 == ring)
}

#[cfg(test)]
mod tests {
    use proptest::{collection::vec, prelude::*};

    use super::*;

    /// Everything that ever happened, added up whenever it is asked for.
    #[derive(Default)]
    struct Naive {
        now: u64,
        all: Vec<(u64, Count)>,
    }

    impl Naive {
        fn sum(&self, window: Window) -> Count {
            let (ring, slices) = window.place();
            let slice = |second: u64| second / width(ring);
            let mut sum = Count::default();
            for &(second, count) in &self.all {
                if slice(self.now) - slice(second) < slices as u64 {
                    sum += count;
                }
            }
            sum
        }
    }

    fn gap() -> impl Strategy<Value = u64> {
        prop_oneof![
            4 => 0..30_u64,
            3 => 0..1_000_u64,
            2 => 0..100_000_u64,
            1 => prop_oneof![0..3_000_000_u64, Just(720 * HOUR)],
        ]
    }

    proptest! {
        #[test]
        fn the_running_sums_are_those_of_a_list_of_everything(
            steps in vec((gap(), 0..5_u64, 0..5_u64), 1..120),
        ) {
            let (mut rings, mut naive) = (Rings::new(), Naive::default());
            for (gap, good, bad) in steps {
                naive.now += gap;
                rings.advance(naive.now);
                // Backwards is nowhere.
                rings.advance(naive.now.saturating_sub(7));
                naive.all.push((naive.now, Count { good, bad }));
                rings.add(Count { good, bad });
                for window in Window::ALL {
                    prop_assert_eq!(rings.sum(window), naive.sum(window), "{:?}", window);
                }
            }
        }
    }

    #[test]
    fn a_window_is_as_long_as_it_is_called() {
        for (window, minutes) in
            Window::ALL.into_iter().zip([5, 30, 60, 120, 360, 1_440, 3 * 1_440, 30 * 1_440])
        {
            assert_eq!(window.duration(), Duration::from_secs(60 * minutes), "{}", window.as_str());
        }
    }

    #[test]
    fn a_clock_at_its_end_empties_every_window() {
        let mut rings = Rings::new();
        rings.add(Count { good: 1, bad: 1 });
        rings.advance(u64::MAX);
        assert!(Window::ALL.iter().all(|&window| rings.sum(window) == Count::default()));
        rings.add(Count { good: 1, bad: 0 });
        assert_eq!(rings.sum(Window::Days30), Count { good: 1, bad: 0 });
    }
}
