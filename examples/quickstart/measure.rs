//! Arithmetic over what was seen, in whole nanoseconds and whole calls: nothing here rounds.
//!
//! Every time is a duration since the start of the run.

use std::{cmp::Ordering, ops::Range, time::Duration};

/// What became of a caller's call.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Outcome {
    /// Answered from a fresh quote.
    Full,
    /// Answered from an old quote, and said so.
    Degraded,
    /// An error, or nothing before the caller hung up.
    Failed,
}

/// One call, as its caller saw it.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Call {
    /// When it had to be made; fixed before the run.
    pub(crate) due: Duration,
    /// When the load generator made it.
    pub(crate) sent: Duration,
    /// When it was answered, failed or given up.
    pub(crate) ended: Duration,
    pub(crate) outcome: Outcome,
}

impl Call {
    /// How long the caller waited: from when the call was due, since a queue in front of the path is a wait
    /// too, less the time in which the load generator itself stood still.
    pub(crate) fn waited(&self, stalls: &Stalls) -> Duration {
        self.ended.saturating_sub(self.due).saturating_sub(stalls.within(self.due..self.ended))
    }

    pub(crate) fn answered(&self) -> bool {
        self.outcome != Outcome::Failed
    }
}

/// When the load generator stood still, as disjoint spans in order.
#[derive(Clone, Debug, Default)]
pub(crate) struct Stalls(Vec<Range<Duration>>);

impl Stalls {
    /// Adds a span that ends no earlier than those before it.
    pub(crate) fn note(&mut self, mut stall: Range<Duration>) {
        while let Some(last) = self.0.last().filter(|last| stall.start <= last.end) {
            stall.start = stall.start.min(last.start);
            self.0.pop();
        }
        self.0.push(stall);
    }

    /// How much of a span was stalled.
    pub(crate) fn within(&self, span: Range<Duration>) -> Duration {
        let overlap =
            |stall: &Range<Duration>| stall.end.min(span.end).saturating_sub(stall.start.max(span.start));
        self.0.iter().map(overlap).sum()
    }

    pub(crate) fn count(&self) -> usize {
        self.0.len()
    }

    pub(crate) fn total(&self) -> Duration {
        self.0.iter().map(|stall| stall.end.saturating_sub(stall.start)).sum()
    }
}

/// The smallest value that at least `percent` of all values do not exceed ("nearest rank").
pub(crate) fn percentile(values: &mut [Duration], percent: usize) -> Option<Duration> {
    values.sort_unstable();
    let rank = (values.len() * percent).div_ceil(100);
    values.get(rank.max(1) - 1).copied()
}

/// So many of so many, compared exactly: 3 of 10 is 6 of 20, and anything of nothing is more than everything
/// else.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Share {
    pub(crate) part: u64,
    pub(crate) of: u64,
}

impl Share {
    pub(crate) const fn new(part: u64, of: u64) -> Self {
        Self { part, of }
    }

    /// Counts those for which `is` holds.
    pub(crate) fn count<T>(all: impl IntoIterator<Item = T>, is: impl Fn(T) -> bool) -> Self {
        all.into_iter()
            .fold(Self::new(0, 0), |Self { part, of }, one| Self::new(part + u64::from(is(one)), of + 1))
    }

    #[expect(clippy::cast_precision_loss, reason = "to be read by a person, never compared")]
    pub(crate) fn ratio(self) -> f64 {
        self.part as f64 / self.of as f64
    }

    pub(crate) fn percent(self) -> f64 {
        100.0 * self.ratio()
    }
}

impl PartialEq for Share {
    fn eq(&self, other: &Self) -> bool {
        self.cmp(other).is_eq()
    }
}

impl Eq for Share {}

impl PartialOrd for Share {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl Ord for Share {
    fn cmp(&self, other: &Self) -> Ordering {
        let product = |a: u64, b: u64| u128::from(a) * u128::from(b);
        match (self.of, other.of) {
            // Nothing of nothing equals nothing of something.
            (0, 0) => self.part.min(1).cmp(&other.part.min(1)),
            (0, _) if self.part > 0 => Ordering::Greater,
            (_, 0) if other.part > 0 => Ordering::Less,
            _ => product(self.part, other.of.max(1)).cmp(&product(other.part, self.of.max(1))),
        }
    }
}

/// The window `[at, at + width)` inside `run` that saw the most `events` per `base`, whatever its beginning.
///
/// Both lists are in order. A window's counts change only where an event enters or leaves it, so it is enough
/// to look at those beginnings; nothing is sampled.
pub(crate) fn worst_window(
    events: &[Duration],
    base: &[Duration],
    run: Range<Duration>,
    width: Duration,
) -> Option<(Share, Duration)> {
    const TICK: Duration = Duration::from_nanos(1);
    let last = run.end.checked_sub(width).filter(|last| *last >= run.start)?;
    let changes =
        events.iter().chain(base).flat_map(|at| [(*at + TICK).checked_sub(width), Some(*at + TICK)]);
    let mut beginnings: Vec<_> = changes.flatten().filter(|at| (run.start..=last).contains(at)).collect();
    beginnings.push(run.start);
    beginnings.sort_unstable();
    beginnings.dedup();

    let (mut events, mut base) = (Window::over(events, width), Window::over(base, width));
    let shares =
        beginnings.into_iter().map(|at| (Share::new(events.count_from(at), base.count_from(at)), at));
    // Of equally bad ones the first.
    shares.reduce(|worst, next| if next.0 > worst.0 { next } else { worst })
}

/// Counts what lies in a window whose beginning only moves on.
struct Window<'a> {
    times: &'a [Duration],
    width: Duration,
    /// The times inside are `times[first..next]`.
    first: usize,
    next: usize,
}

impl<'a> Window<'a> {
    fn over(times: &'a [Duration], width: Duration) -> Self {
        Self { times, width, first: 0, next: 0 }
    }

    fn count_from(&mut self, begin: Duration) -> u64 {
        let before = |end: Duration| move |at: &&Duration| **at < end;
        self.first += self.times[self.first..].iter().take_while(before(begin)).count();
        self.next += self.times[self.next..].iter().take_while(before(begin + self.width)).count();
        (self.next - self.first) as u64
    }
}

#[cfg(test)]
mod tests {
    use proptest::{collection::vec, prelude::*};

    use super::*;

    fn ns(nanos: u64) -> Duration {
        Duration::from_nanos(nanos)
    }

    fn times(nanos: impl IntoIterator<Item = u64>) -> Vec<Duration> {
        nanos.into_iter().map(ns).collect()
    }

    #[test]
    fn percentiles_are_values_that_were_seen() {
        let of = |percent| percentile(&mut times((1..=200).rev()), percent).map(|value| value.as_nanos());
        assert_eq!([of(0), of(50), of(99), of(100)], [Some(1), Some(100), Some(198), Some(200)]);
        assert_eq!(percentile(&mut times([7]), 99), Some(ns(7)));
        assert_eq!(percentile(&mut [], 50), None);
    }

    #[test]
    fn stalls_are_counted_once_and_only_where_they_were() {
        let mut stalls = Stalls::default();
        for stall in [10..20, 18..30, 50..60, 5..61, 70..80] {
            stalls.note(ns(stall.start)..ns(stall.end));
        }
        assert_eq!((stalls.count(), stalls.total()), (2, ns(66)));
        assert_eq!(stalls.within(ns(0)..ns(6)), ns(1));
        assert_eq!(stalls.within(ns(60)..ns(75)), ns(6));
        assert_eq!(stalls.within(ns(61)..ns(70)), Duration::ZERO);
    }

    #[test]
    fn a_stall_is_not_the_callers_wait() {
        let call = Call { due: ns(10), sent: ns(40), ended: ns(100), outcome: Outcome::Full };
        let mut stalls = Stalls::default();
        stalls.note(ns(5)..ns(40));
        assert_eq!((call.waited(&Stalls::default()), call.waited(&stalls)), (ns(90), ns(60)));
    }

    #[test]
    fn shares_compare_without_rounding() {
        assert_eq!(Share::new(3, 10), Share::new(6, 20));
        assert!(Share::new(13_000_000_001, 10_000_000_000) > Share::new(13, 10));
        assert!(Share::new(u64::MAX - 1, u64::MAX) < Share::new(1, 1));
        assert!(Share::new(1, 0) > Share::new(1000, 1));
        assert_eq!(Share::new(0, 0), Share::new(0, 5));
        assert!(Share::new(0, 0) < Share::new(1, 5));
    }

    #[test]
    fn a_burst_across_a_border_of_seconds_is_one_burst() {
        // Two calls each in [0, 10) and [10, 20), but four in [8, 18).
        let events = times([8, 9, 10, 11]);
        let base = times(0..20);
        let worst = worst_window(&events, &base, ns(0)..ns(20), ns(10));
        assert_eq!(worst, Some((Share::new(4, 10), ns(2))));
    }

    #[test]
    fn a_run_shorter_than_the_window_has_none() {
        assert_eq!(worst_window(&[], &[], ns(0)..ns(9), ns(10)), None);
        assert_eq!(worst_window(&[], &[], ns(0)..ns(10), ns(10)), Some((Share::new(0, 0), ns(0))));
    }

    proptest! {
        #[test]
        fn the_worst_window_is_what_trying_every_beginning_finds(
            mut events in vec(0_u64..60, 0..40),
            mut base in vec(0_u64..60, 0..40),
            width in 1_u64..30,
        ) {
            events.sort_unstable();
            base.sort_unstable();
            let window = |at: u64| at..at + width;
            let inside = |all: &[u64], at| all.iter().filter(|time| window(at).contains(time)).count() as u64;
            let tried = (0..=60 - width).map(|at| Share::new(inside(&events, at), inside(&base, at))).max();
            let found = worst_window(&times(events.clone()), &times(base.clone()), ns(0)..ns(60), ns(width));
            prop_assert_eq!(found.map(|(share, _)| share), tried);
            let at = found.map_or(0, |(_, at)| u64::try_from(at.as_nanos()).expect("less than 60"));
            prop_assert_eq!(Some(Share::new(inside(&events, at), inside(&base, at))), tried);
        }
    }
}
