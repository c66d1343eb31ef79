use std::{collections::BTreeSet, time::SystemTime};

use super::{Day, Due};
use crate::tally::Count;

/// The runs of a daily job: which of them are complete, and as far as which they are judged.
///
/// Each is judged once, when it is due, or as soon as somebody looks after that: good when it was complete by then. It knows
/// no clock. A clock that is put back judges none again; one that was put far ahead, and is put right, takes up its work on
/// the next day.
#[derive(Clone, Debug)]
pub(super) struct Runs {
    due: Due,
    /// The last day whose run was judged.
    judged: Day,
    /// Days after that whose run is complete already.
    complete: BTreeSet<Day>,
}

impl Runs {
    /// For how many days back runs are found missing, at most, after a time in which nobody looked: the period of the budget.
    const LOOK_BACK: i32 = 30;
    /// How many days ahead a run may be complete.
    const AHEAD: i32 = 7;

    /// What was due before `now` is not known about.
    pub(super) fn new(due: Due, now: SystemTime) -> Self {
        let judged = last_due(&due, now);
        Self { due, judged, complete: BTreeSet::new() }
    }

    /// The run of a day is complete. Says whether that was in time.
    pub(super) fn complete(&mut self, day: Day) -> bool {
        let is_ahead = day > self.judged && day <= self.judged.plus(Self::AHEAD);
        if is_ahead {
            self.complete.insert(day);
        }
        is_ahead
    }

    /// The day that a run belongs to which ends now.
    pub(super) fn today(&self, now: SystemTime) -> Day {
        self.due.day_of(now)
    }

    /// Judges the runs that were due since the last time.
    pub(super) fn judge(&mut self, now: SystemTime) -> Count {
        let last = last_due(&self.due, now);
        let mut count = Count::default();
        if self.judged > last.next() {
            // It was ahead by more than the clock of another zone.
            self.judged = last;
            self.complete.clear();
        }
        self.judged = self.judged.max(last.plus(-Self::LOOK_BACK));
        while self.judged < last {
            self.judged = self.judged.next();
            if self.complete.remove(&self.judged) {
                count.good += 1;
            } else {
                count.bad += 1;
            }
        }
        let judged = self.judged;
        self.complete.retain(|&day| day > judged);
        count
    }

    pub(super) fn judged(&self) -> Day {
        self.judged
    }

    /// Goes on where an earlier process has stopped: what was due since then is judged.
    pub(super) fn resume(&mut self, judged: Day) {
        self.judged = self.judged.min(judged);
    }
}

/// The last day whose run was due by then.
fn last_due(due: &Due, now: SystemTime) -> Day {
    let today = due.day_of(now);
    if due.on(today) <= now { today } else { today.plus(-1) }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    const HOUR: Duration = Duration::from_secs(3_600);
    const DAY: Duration = Duration::from_secs(86_400);

    fn day(text: &str) -> Day {
        text.parse().expect("a day")
    }

    /// Runs that are due at 06:00, and the midnight after which the first is.
    fn runs() -> (Runs, SystemTime) {
        let due = Due::new("06:00", "UTC").expect("there is that");
        let midnight = due.on(day("2026-11-02")) - 6 * HOUR;
        (Runs::new(due, midnight), midnight)
    }

    fn count(good: u64, bad: u64) -> Count {
        Count { good, bad }
    }

    #[test]
    fn a_run_in_time_is_good_a_late_or_missing_one_is_bad_and_each_counts_once() {
        let (mut runs, midnight) = runs();
        assert!(runs.complete(day("2026-11-02")) && runs.complete(day("2026-11-02")));
        assert_eq!(runs.judge(midnight + 6 * HOUR - Duration::from_secs(1)), count(0, 0), "it is not due");
        assert_eq!(runs.judge(midnight + 6 * HOUR), count(1, 0));
        assert_eq!(runs.judge(midnight + 23 * HOUR), count(0, 0));
        assert_eq!(runs.judge(midnight + DAY + 7 * HOUR), count(0, 1), "it is missing");
        assert!(!runs.complete(day("2026-11-03")), "it is late");
        assert_eq!(runs.judge(midnight + 2 * DAY + 7 * HOUR), count(0, 1), "a late one is not tomorrow's");
    }

    #[test]
    fn a_run_of_the_evening_before_can_be_for_tomorrow() {
        let (mut runs, midnight) = runs();
        let evening = midnight + 22 * HOUR;
        runs.judge(evening);
        assert_eq!(runs.today(evening), day("2026-11-02"));
        assert!(runs.complete(day("2026-11-03")));
        assert_eq!(runs.judge(evening + 9 * HOUR), count(1, 0));
        assert!(!runs.complete(day("2027-11-03")), "nobody is a year ahead");
    }

    #[test]
    fn days_in_which_nobody_looked_were_missed_but_no_more_than_a_period_of_them() {
        let (mut runs, midnight) = runs();
        assert_eq!(runs.judge(midnight + 3 * DAY), count(0, 3));
        assert_eq!(runs.judge(midnight + 3_000 * DAY), count(0, 30));
    }

    #[test]
    fn a_clock_that_jumps_judges_no_run_twice_and_goes_on_when_it_is_put_right() {
        let (mut runs, midnight) = runs();
        runs.judge(midnight + 7 * HOUR);
        assert_eq!(runs.judge(midnight + HOUR), count(0, 0), "back by some hours");
        assert_eq!(runs.judge(midnight + 7 * HOUR), count(0, 0), "and again the same");
        assert_eq!(runs.judge(midnight + 1_000 * DAY), count(0, 30), "far ahead");
        assert_eq!(runs.judge(midnight + DAY + HOUR), count(0, 0), "put right");
        assert!(runs.complete(day("2026-11-03")));
        assert_eq!(runs.judge(midnight + DAY + 7 * HOUR), count(1, 0), "and at work");
        assert_eq!(runs.judge(SystemTime::UNIX_EPOCH), count(0, 0));
    }

    #[test]
    fn a_restart_finds_the_runs_that_were_due_meanwhile() {
        let (mut before, midnight) = runs();
        before.judge(midnight + 7 * HOUR);
        let due = Due::new("06:00", "UTC").expect("there is that");
        let mut after = Runs::new(due, midnight + 2 * DAY + 7 * HOUR);
        assert_eq!(after.judge(midnight + 2 * DAY + 7 * HOUR), count(0, 0), "nothing is known");
        after.resume(before.judged());
        assert_eq!(after.judge(midnight + 2 * DAY + 7 * HOUR), count(0, 2));
    }
}
