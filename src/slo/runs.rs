use std::{
    collections::BTreeSet,
    time::{Duration, SystemTime},
};

use tokio::time::Instant;

use super::{Day, Due};
use crate::tally::Count;

/// The runs of a daily job: which of them are complete, and as far as which they are judged.
///
/// Each is judged once, when it is due, or as soon as somebody looks after that: good when it was complete by then. It knows
/// no clock. A wall clock that is put back judges none again; one that was put far ahead, and is put right, takes up its work on
/// the next day. Of the days that it leaped over nobody can say what they were: none of their runs is judged.
#[derive(Clone, Debug)]
pub(super) struct Runs {
    due: Due,
    /// The last day whose run was judged.
    judged: Day,
    /// Days after that whose run is complete already.
    complete: BTreeSet<Day>,
    /// When somebody looked last, by both clocks.
    looked: (Instant, SystemTime),
}

impl Runs {
    /// For how many days back runs are found missing, at most, after a time in which nobody looked: the period of the budget.
    const LOOK_BACK: i32 = 30;
    /// How many days ahead a run may be complete.
    const AHEAD: i32 = 7;
    /// The wall clock does not go on for longer than this while the other one stands still: a machine that sleeps, or is moved.
    /// When it does, it was put right, or wrong.
    const SLEEP: Duration = Duration::from_secs(7 * 86_400);

    /// What was due before `wall` is not known about.
    pub(super) fn new(due: Due, now: Instant, wall: SystemTime) -> Self {
        let judged = last_due(&due, wall);
        Self { due, judged, complete: BTreeSet::new(), looked: (now, wall) }
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
    pub(super) fn judge(&mut self, now: Instant, wall: SystemTime) -> Count {
        let last = last_due(&self.due, wall);
        let mut count = Count::default();
        let leaped = self.leaped(now, wall) && self.judged < last;
        if leaped || self.judged > last.next() {
            // Or it was ahead by more than the clock of another zone.
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

    /// Whether the wall clock was put ahead since the last time.
    fn leaped(&mut self, now: Instant, wall: SystemTime) -> bool {
        let (looked, by_wall) = std::mem::replace(&mut self.looked, (now, wall));
        let most = now.saturating_duration_since(looked).saturating_add(Self::SLEEP);
        wall.duration_since(by_wall).is_ok_and(|passed| passed > most)
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
    use super::*;

    const HOUR: Duration = Duration::from_secs(3_600);
    const DAY: Duration = Duration::from_secs(86_400);

    fn day(text: &str) -> Day {
        text.parse().expect("a day")
    }

    fn due() -> Due {
        Due::new("06:00", "UTC").expect("there is that")
    }

    /// Runs that are due at 06:00, and both clocks of a machine, at the midnight after which the first is.
    struct Machine {
        runs: Runs,
        now: Instant,
        wall: SystemTime,
    }

    impl Machine {
        fn new() -> Self {
            let (now, wall) = (Instant::now(), due().on(day("2026-11-02")) - 6 * HOUR);
            Self { runs: Runs::new(due(), now, wall), now, wall }
        }

        /// What is judged when so much time has passed.
        fn after(&mut self, time: Duration) -> Count {
            self.now += time;
            self.wall += time;
            self.runs.judge(self.now, self.wall)
        }

        /// What is judged when the wall clock was put to this moment.
        fn put(&mut self, wall: SystemTime) -> Count {
            self.wall = wall;
            self.runs.judge(self.now, self.wall)
        }
    }

    fn count(good: u64, bad: u64) -> Count {
        Count { good, bad }
    }

    #[test]
    fn a_run_in_time_is_good_a_late_or_missing_one_is_bad_and_each_counts_once() {
        let mut machine = Machine::new();
        assert!(machine.runs.complete(day("2026-11-02")) && machine.runs.complete(day("2026-11-02")));
        assert_eq!(
            machine.after((6 * HOUR).saturating_sub(Duration::from_secs(1))),
            count(0, 0),
            "it is not due"
        );
        assert_eq!(machine.after(Duration::from_secs(1)), count(1, 0));
        assert_eq!(machine.after(17 * HOUR), count(0, 0));
        assert_eq!(machine.after(8 * HOUR), count(0, 1), "it is missing");
        assert!(!machine.runs.complete(day("2026-11-03")), "it is late");
        assert_eq!(machine.after(DAY), count(0, 1), "a late one is not tomorrow's");
    }

    #[test]
    fn a_run_of_the_evening_before_can_be_for_tomorrow() {
        let mut machine = Machine::new();
        machine.after(22 * HOUR);
        assert_eq!(machine.runs.today(machine.wall), day("2026-11-02"));
        assert!(machine.runs.complete(day("2026-11-03")));
        assert_eq!(machine.after(9 * HOUR), count(1, 0));
        assert!(!machine.runs.complete(day("2027-11-03")), "nobody is a year ahead");
    }

    #[test]
    fn days_in_which_nobody_looked_were_missed_but_no_more_than_a_period_of_them() {
        let mut machine = Machine::new();
        assert_eq!(machine.after(3 * DAY), count(0, 3));
        assert_eq!(machine.after(3_000 * DAY), count(0, 30));
    }

    #[test]
    fn a_clock_that_jumps_judges_no_run_twice_and_goes_on_when_it_is_put_right() {
        let mut machine = Machine::new();
        let midnight = machine.wall;
        assert_eq!(machine.after(7 * HOUR), count(0, 1));
        assert_eq!(machine.put(midnight + HOUR), count(0, 0), "back by some hours");
        assert_eq!(machine.put(midnight + 7 * HOUR), count(0, 0), "and again the same");
        assert_eq!(machine.put(midnight + 1_000 * DAY), count(0, 0), "far ahead: nobody knows of those days");
        assert_eq!(machine.put(midnight + DAY + HOUR), count(0, 0), "put right");
        assert!(machine.runs.complete(day("2026-11-03")));
        assert_eq!(machine.after(6 * HOUR), count(1, 0), "and at work");
        assert_eq!(machine.put(SystemTime::UNIX_EPOCH), count(0, 0), "far back");
        assert_eq!(machine.put(midnight + DAY + 8 * HOUR), count(0, 0), "put right");
        assert_eq!(machine.after(DAY), count(0, 1), "and at work");
    }

    #[test]
    fn a_machine_that_slept_for_days_has_missed_their_runs() {
        let mut machine = Machine::new();
        let asleep = machine.wall + 3 * DAY;
        assert_eq!(machine.put(asleep), count(0, 3));
    }

    #[test]
    fn a_machine_that_begins_in_1970_has_missed_nothing_when_its_clock_is_put_right() {
        let (now, right) = (Instant::now(), Machine::new().wall);
        let mut machine = Machine { runs: Runs::new(due(), now, SystemTime::UNIX_EPOCH), now, wall: right };
        assert_eq!(machine.after(Duration::from_secs(5)), count(0, 0));
        assert_eq!(machine.after(7 * HOUR), count(0, 1));
    }

    /// Gaps and overlaps of an hour, of half an hour and at midnight, leap days and the ends of months.
    #[test]
    fn each_day_has_one_run_whatever_its_clocks_do() {
        for zone in ["Europe/Zurich", "America/Havana", "Australia/Lord_Howe", "Africa/Casablanca", "UTC"] {
            for time in ["00:00", "00:30", "01:45", "02:30", "23:59:59"] {
                let due = Due::new(time, zone).expect("there is that");
                let (first, last) = (day("2027-12-30"), day("2029-01-02"));
                let start = due.on(first);
                let mut machine = Machine {
                    runs: Runs::new(due.clone(), Instant::now(), start),
                    now: Instant::now(),
                    wall: start,
                };
                let mut next = first.next();
                while next < last {
                    let moment = due.on(next);
                    let wait = moment.duration_since(machine.wall).expect("days follow each other");
                    let just_before = wait.saturating_sub(Duration::from_nanos(1));
                    assert_eq!(machine.after(just_before), count(0, 0), "{next} {time} {zone}");
                    assert!(machine.runs.complete(next), "{next} {time} {zone}");
                    assert_eq!(
                        machine.after(wait.saturating_sub(just_before)),
                        count(1, 0),
                        "{next} {time} {zone}"
                    );
                    next = next.next();
                }
            }
        }
    }

    #[test]
    fn a_restart_finds_the_runs_that_were_due_meanwhile() {
        let mut before = Machine::new();
        before.after(7 * HOUR);
        let (now, wall) = (before.now, before.wall + 2 * DAY);
        let mut after = Runs::new(due(), now, wall);
        assert_eq!(after.judge(now, wall), count(0, 0), "nothing is known");
        after.resume(before.runs.judged());
        assert_eq!(after.judge(now, wall), count(0, 2));
    }
}
