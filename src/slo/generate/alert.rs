//! What the rules raise, and when.

use super::text::decimal;
use crate::slo::{BurnRule, Millionths, Objective, Severity};

/// What the rules raise.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Alert {
    /// The budget will be gone within days.
    BurnsFast,
    /// The budget will be gone before its period is over.
    BurnsSlowly,
    /// Nothing is counted.
    Absent,
}

impl Alert {
    pub(super) const ALL: [Self; 3] = [Self::BurnsFast, Self::BurnsSlowly, Self::Absent];

    /// The alert's name, and that of its runbook.
    pub(super) const fn name(self) -> &'static str {
        match self {
            Self::BurnsFast => "SloBurnsFast",
            Self::BurnsSlowly => "SloBurnsSlowly",
            Self::Absent => "SloAbsent",
        }
    }

    pub(super) const fn severity(self) -> Severity {
        match self {
            Self::BurnsFast | Self::Absent => Severity::Page,
            Self::BurnsSlowly => Severity::Ticket,
        }
    }

    /// What it says of an objective, after its name.
    pub(super) const fn summary(self) -> &'static str {
        match self {
            Self::BurnsFast => "burns its error budget: at this rate that of 30 days is gone within 5 days",
            Self::BurnsSlowly => {
                "burns its error budget: at this rate that of 30 days is gone before they are over"
            }
            Self::Absent => "is not counted: nobody knows how it is",
        }
    }

    /// The burn rates that raise it, of which any is enough. Those that no outage can reach with such a budget are left out.
    pub(super) fn burns(self, budget: Millionths) -> impl Iterator<Item = BurnRule> {
        let all = BurnRule::ALL.into_iter().filter(move |_| self != Self::Absent);
        let own = all.filter(move |rule| rule.severity == self.severity());
        own.filter(move |rule| millionth_tenths(*rule, budget) < 10_000_000)
    }

    /// Whether it can ever be raised.
    pub(super) fn is_possible(self, budget: Millionths) -> bool {
        self == Self::Absent || self.burns(budget).next().is_some()
    }
}

/// How many times what may be bad is bad: `14.4`.
pub(super) fn rate(rule: BurnRule) -> String {
    decimal(rule.tenths.into(), 1)
}

/// The share of bad events over which the budget burns too fast, exactly.
pub(super) fn threshold(rule: BurnRule, budget: Millionths) -> String {
    decimal(millionth_tenths(rule, budget), 7)
}

/// The same, as people read it: `1.44 %`.
pub(super) fn threshold_percent(rule: BurnRule, budget: Millionths) -> String {
    format!("{} %", decimal(millionth_tenths(rule, budget), 5))
}

/// What may be bad, as people read it: `0.1 %`.
pub(super) fn budget_percent(budget: Millionths) -> String {
    format!("{} %", decimal(budget.count().into(), 4))
}

/// How much of the budget is spent when it has burned that fast over the long window, in percent.
pub(super) fn spent(rule: BurnRule) -> u64 {
    u64::from(rule.tenths) * rule.long.duration().as_secs() * 10 / Objective::PERIOD.as_secs()
}

fn millionth_tenths(rule: BurnRule, budget: Millionths) -> u128 {
    u128::from(rule.tenths) * u128::from(budget.count())
}
