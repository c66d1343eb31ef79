use std::fmt;

use super::{Target, Window};
use crate::{event::Severity, tally::Count};

/// When an alert fires: when the budget burns faster than this over a long window, and still does over a short one.
///
/// Both burn rates have to be *over* the threshold. The long window says that it matters, the short one that it goes on, so
/// that the alert ends soon after its cause. From the SRE workbook (Beyer et al., *The Site Reliability Workbook*, ch. 5,
/// "Multiwindow, Multi-Burn-Rate Alerts").
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct BurnRule {
    /// How urgent it is.
    pub severity: Severity,
    /// The window that says that it matters.
    pub long: Window,
    /// The window that says that it goes on.
    pub short: Window,
    /// The threshold, in tenths: 144 is 14.4 times what would use up the budget in its period.
    pub(super) tenths: u32,
}

impl BurnRule {
    /// The rules for a period of 30 days, most urgent first.
    ///
    /// | severity | long / short | burn | budget spent |
    /// |---|---|---|---|
    /// | page | 1 h / 5 m | 14.4 | 2 % |
    /// | page | 6 h / 30 m | 6 | 5 % |
    /// | ticket | 1 d / 2 h | 3 | 10 % |
    /// | ticket | 3 d / 6 h | 1 | 10 % |
    pub const ALL: [Self; 4] = [
        Self { severity: Severity::Page, long: Window::Hour, short: Window::Minutes5, tenths: 144 },
        Self { severity: Severity::Page, long: Window::Hours6, short: Window::Minutes30, tenths: 60 },
        Self { severity: Severity::Ticket, long: Window::Day, short: Window::Hours2, tenths: 30 },
        Self { severity: Severity::Ticket, long: Window::Days3, short: Window::Hours6, tenths: 10 },
    ];

    /// The threshold as a number, for arithmetic; as text it is exact.
    pub fn factor(self) -> f64 {
        f64::from(self.tenths) / 10.0
    }

    /// Whether so many bad ones burn the budget faster than the threshold. In whole numbers, so that "over" is exact.
    pub(super) fn is_over(self, target: Target, count: Count) -> bool {
        // bad / total > tenths / 10 · budget / 1 000 000
        u128::from(count.bad) * 10_000_000
            > u128::from(self.tenths) * u128::from(target.budget().count()) * u128::from(count.total())
    }
}

impl fmt::Display for BurnRule {
    /// Its windows and its threshold: `1h/5m 14.4`.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (whole, tenth) = (self.tenths / 10, self.tenths % 10);
        write!(f, "{}/{} {whole}", self.long.as_str(), self.short.as_str())?;
        if tenth == 0 { Ok(()) } else { write!(f, ".{tenth}") }
    }
}

/// How many times faster the budget burns than would use it up in its period. Nothing burns where nothing happens.
pub(super) fn rate(target: Target, count: Count) -> f64 {
    ratio(count) / target.budget().value()
}

/// What is left of the budget, at most 1; below zero when more than all of it was spent.
pub(super) fn remaining(target: Target, count: Count) -> f64 {
    1.0 - rate(target, count)
}

#[expect(clippy::cast_precision_loss, reason = "a ratio of numbers beyond 2^52 is as good")]
fn ratio(count: Count) -> f64 {
    if count.bad == 0 { 0.0 } else { count.bad as f64 / count.total() as f64 }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn target(percent: f64) -> Target {
        Target::percent(percent).expect("a good target")
    }

    #[test]
    fn at_the_threshold_is_not_over_it() {
        let [page, ..] = BurnRule::ALL;
        // 14.4 × 0.001 of 100 000 are 1440.
        let bad = |bad| Count { good: 100_000 - bad, bad };
        assert!(!page.is_over(target(99.9), bad(1_440)));
        assert!(page.is_over(target(99.9), bad(1_441)));
        assert!(!page.is_over(target(99.9), Count::default()), "nothing happened");
    }

    #[test]
    fn a_rule_spends_what_the_table_says() {
        for (rule, spent) in BurnRule::ALL.into_iter().zip([0.02, 0.05, 0.1, 0.1]) {
            let share = rule.long.duration().as_secs_f64() / Window::Days30.duration().as_secs_f64();
            assert!((rule.factor() * share - spent).abs() < 1e-9, "{rule}");
        }
        assert_eq!(BurnRule::ALL.map(|rule| rule.to_string())[..2], ["1h/5m 14.4", "6h/30m 6"]);
    }

    #[test]
    fn an_idle_budget_is_whole_and_does_not_burn() {
        assert_eq!(remaining(target(99.9), Count::default()).to_string(), "1");
        assert_eq!(rate(target(99.9), Count::default()).to_string(), "0");
        assert_eq!(remaining(target(99.0), Count { good: 0, bad: 1 }).to_string(), "-99");
    }
}
