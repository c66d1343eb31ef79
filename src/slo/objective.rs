use std::{fmt, time::Duration};

use super::{Due, Target};
use crate::name::Name;

/// What a service promises: which share of what counts is to be good.
///
/// A plain value: it counts nothing by itself. Dashboards, alerts and budgets are made of it.
///
/// ```
/// use std::time::Duration;
/// use moneta_resilience::slo::Objective;
///
/// let login = Objective::new("login").target(99.9).within(Duration::from_secs(2));
/// assert_eq!(login.to_string(), "99.9 % of calls succeed within 2s");
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
#[must_use = "an objective is a plain value"]
pub struct Objective {
    name: Name,
    target: Target,
    promise: Promise,
    injected: Injected,
}

/// What becomes of calls under a fault: those that a [fault hook](crate::fault) of the stack did something to.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub enum Injected {
    /// They count as all others. What an experiment does to callers is done to them.
    #[default]
    Count,
    /// They count neither as good nor as bad: a total of their own, `slo.injected`, tells what became of them.
    Separate,
}

/// What makes an event good.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Promise {
    /// A call succeeds.
    Success,
    /// A call succeeds, and takes no longer.
    Within(Duration),
    /// The run of each day is complete by then.
    By(Due),
}

impl Objective {
    /// The time over which the target holds, at every moment: 30 days.
    pub const PERIOD: Duration = Duration::from_secs(30 * 86_400);

    /// An objective that 99.9 % of calls succeed. Its name becomes a label of metrics, `slo.name`.
    ///
    /// # Panics
    ///
    /// When [`Name::new`] refuses `name`.
    #[track_caller]
    pub fn new(name: &str) -> Self {
        Self {
            name: Name::literal(name),
            target: Target::DEFAULT,
            promise: Promise::Success,
            injected: Injected::Count,
        }
    }

    /// Which share is to be good, in percent with four decimals at most. Default: 99.9.
    ///
    /// # Panics
    ///
    /// When [`Target::percent`] refuses it.
    #[track_caller]
    pub fn target(self, percent: f64) -> Self {
        match Target::percent(percent) {
            Ok(target) => self.target_of(target),
            Err(error) => panic!("{error}"),
        }
    }

    /// Which share is to be good, from a configuration.
    pub fn target_of(self, target: Target) -> Self {
        Self { target, ..self }
    }

    /// How long a call may take to be good, the body of its answer included; by default as long as it likes.
    ///
    /// # Panics
    ///
    /// When `limit` is zero.
    #[track_caller]
    pub fn within(self, limit: Duration) -> Self {
        assert!(!limit.is_zero(), "no call is done within no time; give the objective a limit above zero");
        Self { promise: Promise::Within(limit), ..self }
    }

    /// Counts the runs of a daily job instead of calls: each day's is good when it is complete at this time of day, such as
    /// `06:00`, in this time zone, such as `Europe/Zurich`. A run that is missing is bad.
    ///
    /// # Panics
    ///
    /// When [`Due::new`] refuses them.
    #[track_caller]
    pub fn by(self, time: &str, zone: &str) -> Self {
        match Due::new(time, zone) {
            Ok(due) => self.due(due),
            Err(error) => panic!("{error}"),
        }
    }

    /// Counts the runs of a daily job instead of calls, from a configuration.
    pub fn due(self, due: Due) -> Self {
        Self { promise: Promise::By(due), ..self }
    }

    /// What becomes of calls that a fault hook of the stack did something to, whether it shows or not. Default:
    /// [`Injected::Count`].
    ///
    /// Apart from the others they spend no budget, and raise no alert; a guard of an experiment on the burn rate does not see them
    /// either. What only follows from a fault counts: the refusals of a circuit breaker that opened on it, and what a fault in
    /// another stack did to a call of this one. A server that fails because its client is hit has failed.
    ///
    /// ```
    /// use moneta_resilience::slo::{Injected, Objective};
    ///
    /// let login = Objective::new("login").target(99.9).injected(Injected::Separate);
    /// assert_eq!(login.injected_value(), Injected::Separate);
    /// ```
    pub fn injected(self, injected: Injected) -> Self {
        Self { injected, ..self }
    }

    /// Its name.
    pub fn name(&self) -> &Name {
        &self.name
    }

    /// Which share is to be good.
    pub fn target_value(&self) -> Target {
        self.target
    }

    /// What becomes of calls under a fault.
    pub fn injected_value(&self) -> Injected {
        self.injected
    }

    /// What makes an event good.
    pub fn promise(&self) -> &Promise {
        &self.promise
    }
}

impl fmt::Display for Objective {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let target = self.target;
        match &self.promise {
            Promise::Success => write!(f, "{target} of calls succeed"),
            Promise::Within(limit) => write!(f, "{target} of calls succeed within {limit:?}"),
            Promise::By(due) => write!(f, "{target} of daily runs complete by {due}"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    #[should_panic(expected = "a target lies between 0 and 100 percent, neither included, and not at 100")]
    fn a_target_without_a_budget_is_refused_where_it_is_given() {
        let _ = Objective::new("login").target(100.0);
    }

    #[test]
    #[should_panic(expected = "give the objective a limit above zero")]
    fn a_limit_of_zero_is_refused_where_it_is_given() {
        let _ = Objective::new("login").within(Duration::ZERO);
    }

    #[test]
    #[should_panic(
        expected = "a time zone has an IANA name such as Europe/Zurich or UTC, and not \"Zurich\""
    )]
    fn an_unknown_time_zone_is_refused_where_it_is_given() {
        let _ = Objective::new("report").by("06:00", "Zurich");
    }

    #[test]
    #[should_panic(expected = "a pipeline needs a name")]
    fn an_objective_has_a_name() {
        let _ = Objective::new("");
    }

    #[test]
    fn an_objective_reads_as_it_is_said() {
        let report = Objective::new("report").target(99.0).by("06:00", "Europe/Zurich");
        assert_eq!(report.to_string(), "99 % of daily runs complete by 06:00 Europe/Zurich");
        let slow = report.within(Duration::from_millis(2500));
        assert_eq!(slow.to_string(), "99 % of calls succeed within 2.5s", "the last word counts");
    }
}
