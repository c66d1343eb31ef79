use std::{fmt, str::FromStr, time::SystemTime};

use jiff::{
    Timestamp, ToSpan,
    civil::{Date, Time},
    tz::TimeZone,
};

/// When a daily run is to be complete: a time of day, in a time zone.
///
/// Each day has one such moment, also where the clocks are put forward or back: of a time that there is twice the first
/// counts, and for one that there is not, the time as many minutes after the gap began.
///
/// ```
/// use moneta_resilience::slo::Due;
///
/// let due = Due::new("06:00", "Europe/Zurich")?;
/// assert_eq!(due.to_string(), "06:00 Europe/Zurich");
/// assert!(Due::new("6 o'clock", "Europe/Zurich").is_err());
/// # Ok::<(), moneta_resilience::slo::InvalidDue>(())
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Due {
    time: Time,
    zone: TimeZone,
}

impl Due {
    /// A time of day such as `06:00` or `23:59:30`, in a time zone by its IANA name such as `Europe/Zurich` or `UTC`.
    ///
    /// The machine's time zones are used, or, where it has none, those that came with the build.
    ///
    /// # Errors
    ///
    /// [`InvalidDue`] when one of them is none.
    pub fn new(time: &str, zone: &str) -> Result<Self, InvalidDue> {
        let digits = |part: &str| part.len() == 2 && part.bytes().all(|byte| byte.is_ascii_digit());
        let is_time = matches!(time.split(':').count(), 2 | 3) && time.split(':').all(digits);
        let time = time.parse().ok().filter(|_| is_time).ok_or_else(|| InvalidDue::Time(time.into()))?;
        let zone = TimeZone::get(zone).map_err(|_| InvalidDue::Zone(zone.into()))?;
        Ok(Self { time, zone })
    }

    /// The moment at which the run of a day is due.
    pub fn on(&self, day: Day) -> SystemTime {
        match self.zone.to_ambiguous_zoned(day.0.to_datetime(self.time)).compatible() {
            Ok(moment) => moment.timestamp().into(),
            // On the last day that jiff knows of, in the year 9999.
            Err(_) => Timestamp::MAX.into(),
        }
    }

    /// Which day it is at this moment, in the time zone.
    pub fn day_of(&self, moment: SystemTime) -> Day {
        let beyond = if moment < SystemTime::UNIX_EPOCH { Timestamp::MIN } else { Timestamp::MAX };
        let moment = Timestamp::try_from(moment).unwrap_or(beyond);
        Day(self.zone.to_datetime(moment).date())
    }
}

impl fmt::Display for Due {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let format = if self.time.second() == 0 { "%H:%M" } else { "%H:%M:%S" };
        write!(f, "{} {}", self.time.strftime(format), self.zone.iana_name().unwrap_or("UTC"))
    }
}

/// The error of [`Due::new`].
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum InvalidDue {
    /// It is no time of day.
    #[error("a run is due at a time of day such as 06:00 or 23:59:30, and not at {0:?}")]
    Time(String),
    /// No time zone has that name.
    #[error("a time zone has an IANA name such as Europe/Zurich or UTC, and not {0:?}")]
    Zone(String),
}

/// A day of the calendar: which run it is.
///
/// ```
/// use moneta_resilience::slo::Day;
///
/// let day: Day = "2026-02-28".parse()?;
/// assert_eq!(day.next().to_string(), "2026-03-01");
/// # Ok::<(), moneta_resilience::slo::InvalidDay>(())
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Day(Date);

impl Day {
    /// A day by its year, month from 1 to 12, and day from 1 on.
    ///
    /// # Errors
    ///
    /// [`InvalidDay`] when the calendar has none like that, or beyond the years from -9999 to 9999.
    pub fn new(year: i16, month: i8, day: i8) -> Result<Self, InvalidDay> {
        Date::new(year, month, day).map(Self).map_err(|_| InvalidDay)
    }

    /// The day after.
    #[must_use]
    pub fn next(self) -> Self {
        self.plus(1)
    }

    /// So many days later, or, below zero, earlier.
    #[must_use]
    pub(super) fn plus(self, days: i32) -> Self {
        Self(self.0.saturating_add(days.days()))
    }
}

impl fmt::Display for Day {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

impl FromStr for Day {
    type Err = InvalidDay;

    /// Reads `2026-11-23`.
    fn from_str(text: &str) -> Result<Self, InvalidDay> {
        Date::strptime("%Y-%m-%d", text).map(Self).map_err(|_| InvalidDay)
    }
}

/// The error of [`Day::new`], and of reading one.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the calendar has no such day; one is written 2026-11-23")]
pub struct InvalidDay;

#[cfg(test)]
mod tests {
    use super::*;

    fn moment(text: &str) -> SystemTime {
        text.parse::<Timestamp>().expect("a moment").into()
    }

    fn day(text: &str) -> Day {
        text.parse().expect("a day")
    }

    #[test]
    fn a_run_is_due_by_the_clocks_of_its_zone() {
        let zurich = Due::new("06:00", "Europe/Zurich").expect("there is that");
        assert_eq!(zurich.on(day("2026-01-15")), moment("2026-01-15T05:00:00Z"));
        assert_eq!(zurich.on(day("2026-07-15")), moment("2026-07-15T04:00:00Z"));
        assert_eq!(zurich.day_of(moment("2026-07-14T22:00:00Z")), day("2026-07-15"));
    }

    #[test]
    fn a_time_that_the_clocks_skip_or_repeat_is_one_moment() {
        let skipped = Due::new("02:30", "Europe/Zurich").expect("there is that");
        assert_eq!(skipped.on(day("2026-03-29")), moment("2026-03-29T01:30:00Z"));
        assert_eq!(skipped.on(day("2026-10-25")), moment("2026-10-25T00:30:00Z"));
    }

    #[test]
    fn what_is_no_time_and_no_zone_is_refused_by_name() {
        for time in ["", "6", "6:00", "06:00am", "24:00", "06:60", "06-00", "06:00:00.5", "0600", "T06:00"] {
            assert_eq!(Due::new(time, "UTC"), Err(InvalidDue::Time(time.into())));
        }
        for zone in ["", "Mars/Olympus", "+01:00", "../../etc/passwd"] {
            assert_eq!(Due::new("06:00", zone), Err(InvalidDue::Zone(zone.into())));
        }
        assert_eq!(Due::new("23:59:30", "UTC").map(|due| due.to_string()), Ok("23:59:30 UTC".to_owned()));
    }

    #[test]
    fn no_moment_overflows_the_calendar() {
        let due = Due::new("06:00", "UTC").expect("there is that");
        let far = SystemTime::UNIX_EPOCH + std::time::Duration::from_secs(1 << 40);
        assert_eq!(due.day_of(far), day("9999-12-30"));
        assert_eq!(Day(Date::MAX).next(), Day(Date::MAX));
        assert!(due.on(Day(Date::MAX)) > due.on(day("9999-12-30")));
    }
}
