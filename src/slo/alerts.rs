//! Which alerts of a budget fire, and who was told of them.

use super::BurnRule;
use crate::{
    event::{Event, Severity},
    sync::{AtomicU64, Ordering},
};

/// Which alerts fire: a bit for each of [`BurnRule::ALL`].
///
/// Above the bits it counts the changes. Of two answers the later is the greater, so nobody is told what is over by now.
#[derive(Default)]
pub(super) struct Firing(AtomicU64);

/// Which alerts somebody was told of.
#[derive(Default)]
pub(super) struct Told(AtomicU64);

/// Above these are the changes.
const BITS: u64 = (1 << BurnRule::ALL.len()) - 1;
const CHANGE: u64 = BITS + 1;

impl Firing {
    /// Those fire of which this is true. Under the lock of the books.
    pub(super) fn set(&self, fires: impl Fn(BurnRule) -> bool) {
        let (before, bits) = (self.0.load(Ordering::Relaxed), bits(fires));
        if before & BITS != bits {
            self.0.store(((before & !BITS) + CHANGE) | bits, Ordering::Relaxed);
        }
    }

    /// Whether one fires that wakes somebody.
    pub(super) fn is_page(&self) -> bool {
        self.0.load(Ordering::Relaxed) & bits(|rule| rule.severity == Severity::Page) != 0
    }

    /// Those that fire.
    pub(super) fn rules(&self) -> impl Iterator<Item = BurnRule> + use<> {
        set_bits(self.0.load(Ordering::Relaxed)).map(|(rule, _)| rule)
    }
}

impl Told {
    /// Those that began or ended since the last time, and whether they began. Each is given to one who asks.
    #[inline]
    pub(super) fn changes(&self, firing: &Firing) -> impl Iterator<Item = (BurnRule, bool)> + use<> {
        let firing = firing.0.load(Ordering::Relaxed);
        // Relaxed: the word is all there is.
        let told = self.0.load(Ordering::Relaxed);
        let told = if told < firing { self.0.fetch_max(firing, Ordering::Relaxed) } else { firing };
        // What was told meanwhile may be newer than this.
        let changed = if told < firing { told ^ firing } else { 0 };
        set_bits(changed).map(move |(rule, bit)| (rule, firing & bit != 0))
    }
}

/// The event that an alert began or ended.
pub(super) fn event(slo: &'static str, (rule, firing): (BurnRule, bool)) -> Event {
    Event::BudgetAlert { slo, severity: rule.severity, window: rule.long.duration(), firing }
}

/// A bit for each rule of which this is true.
fn bits(of: impl Fn(BurnRule) -> bool) -> u64 {
    set_bits(BITS).filter(|&(rule, _)| of(rule)).fold(0, |bits, (_, bit)| bits | bit)
}

/// The rules whose bits are set, with their bits.
fn set_bits(bits: u64) -> impl Iterator<Item = (BurnRule, u64)> {
    let rules = (0..).zip(BurnRule::ALL).map(|(place, rule)| (rule, 1 << place));
    rules.filter(move |&(_, bit)| bits & bit != 0)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn page(rule: BurnRule) -> bool {
        rule.severity == Severity::Page
    }

    #[test]
    fn a_change_is_told_once_and_nothing_that_is_over_after_it() {
        let (firing, told) = (Firing::default(), Told::default());
        firing.set(page);
        let first = Firing(AtomicU64::new(firing.0.load(Ordering::Relaxed)));
        firing.set(|_| false);
        firing.set(|_| true);
        let began: Vec<_> = told.changes(&firing).collect();
        assert_eq!(began, BurnRule::ALL.map(|rule| (rule, true)));
        assert_eq!(told.changes(&firing).count(), 0);
        assert_eq!(told.changes(&first).count(), 0, "whoever saw it before that comes too late");
        firing.set(page);
        let ended: Vec<_> = told.changes(&firing).collect();
        let [.., third, fourth] = BurnRule::ALL;
        assert_eq!(ended, [(third, false), (fourth, false)]);
        assert!(firing.is_page() && firing.rules().all(page));
    }
}
