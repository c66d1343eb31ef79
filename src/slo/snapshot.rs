use std::{
    fmt::{self, Write},
    str::FromStr,
    time::{Duration, SystemTime},
};

use super::{
    Day, Objective, Promise,
    rings::{MOST, RINGS, Rings, width},
};
use crate::{fnv::fnv, name::Name, tally::Count};

/// What an [`ErrorBudget`](super::ErrorBudget) has counted, at one moment of wall time: it outlives the process as text, in a
/// file or wherever.
///
/// ```
/// # #[tokio::main(flavor = "current_thread", start_paused = true)] async fn main() -> anyhow::Result<()> {
/// use moneta_resilience::slo::{ErrorBudget, Objective, Window};
///
/// let login = || ErrorBudget::new(Objective::new("login").target(99.0));
/// let before = login();
/// (0..1_000).for_each(|n| before.record(n % 200 != 0));
/// let text = before.snapshot().to_string();
///
/// let after = login();
/// after.restore(&text.parse()?)?;
/// assert_eq!((after.counts(Window::Days30), after.remaining()), ((995, 5), 0.5));
/// # Ok(()) }
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Snapshot {
    name: Name,
    /// Seconds since 1970.
    taken: u64,
    /// How many seconds of the newest hour had gone by.
    gone: u64,
    /// Of an objective for daily runs, as far as they were judged.
    judged: Option<Day>,
    /// Of each ring the slices that are not empty, newest first, with their ages.
    rings: [Vec<(u64, Count)>; RINGS.len()],
}

/// The first line: what it is, and which edition.
const MAGIC: &str = "moneta-error-budget 1";

impl Snapshot {
    pub(super) fn of(name: &Name, now: SystemTime, judged: Option<Day>, rings: &Rings) -> Self {
        Self {
            name: name.clone(),
            taken: seconds(now),
            gone: rings.gone(),
            judged,
            rings: std::array::from_fn(|ring| rings.slices(ring).collect()),
        }
    }

    pub(super) fn is_of(&self, objective: &Objective) -> Result<(), ForeignSnapshot> {
        let (is, expected) = (self.name.clone(), objective.name().clone());
        let is_of_runs = matches!(objective.promise(), Promise::By(_));
        if is != expected {
            Err(ForeignSnapshot::Name { is, expected })
        } else if self.judged.is_some() != is_of_runs {
            let [is, expected] = if is_of_runs { ["calls", "daily runs"] } else { ["daily runs", "calls"] };
            Err(ForeignSnapshot::Kind { is, expected })
        } else {
            Ok(())
        }
    }

    pub(super) fn judged(&self) -> Option<Day> {
        self.judged
    }

    /// A clock that was put back meanwhile makes it as old as it was.
    pub(super) fn add_to(&self, rings: &mut Rings, now: SystemTime) {
        let older = seconds(now).saturating_sub(self.taken);
        for (ring, slices) in self.rings.iter().enumerate() {
            let older = (self.gone % width(ring)).saturating_add(older) / width(ring);
            for &(age, count) in slices {
                rings.add_aged(ring, age.saturating_add(older), count);
            }
        }
        rings.resume(self.gone.saturating_add(older));
    }
}

fn seconds(wall: SystemTime) -> u64 {
    wall.duration_since(SystemTime::UNIX_EPOCH).as_ref().map_or(0, Duration::as_secs)
}

impl fmt::Display for Snapshot {
    /// A line for what it is, one for the name, one for the time, the seconds of its hour and the last run, one for each ring, and
    /// one for the hash of those.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut text = format!("{MAGIC}\n{}\n{}+{}", self.name, self.taken, self.gone);
        if let Some(day) = self.judged {
            write!(text, " {day}")?;
        }
        for ring in &self.rings {
            let slices = ring.iter().map(|(age, Count { good, bad })| format!("{age}:{good}/{bad}"));
            write!(text, "\n{}", slices.collect::<Vec<_>>().join(" "))?;
        }
        writeln!(f, "{text}\n{:016x}", fnv(text.as_bytes()))
    }
}

impl FromStr for Snapshot {
    type Err = InvalidSnapshot;

    fn from_str(text: &str) -> Result<Self, InvalidSnapshot> {
        let (text, hash) =
            text.strip_suffix('\n').and_then(|text| text.rsplit_once('\n')).ok_or(InvalidSnapshot)?;
        if hash != format!("{:016x}", fnv(text.as_bytes())) {
            return Err(InvalidSnapshot);
        }
        let mut lines = text.split('\n');
        let mut line = || lines.next().ok_or(InvalidSnapshot);
        if line()? != MAGIC {
            return Err(InvalidSnapshot);
        }
        let name = Name::new(line()?).map_err(|_| InvalidSnapshot)?;
        let mut time = line()?.splitn(2, ' ');
        // Those of earlier versions tell no seconds.
        let taken = time.next().unwrap_or_default();
        let (taken, gone) = taken.split_once('+').unwrap_or((taken, "0"));
        let (taken, gone) = (number(taken)?, number(gone)?);
        let judged = time.next().map(str::parse).transpose().map_err(|_| InvalidSnapshot)?;
        let mut rings: [Vec<_>; RINGS.len()] = Default::default();
        for (ring, (_, len)) in rings.iter_mut().zip(RINGS) {
            *ring = line()?.split_ascii_whitespace().map(slice).collect::<Result<_, _>>()?;
            let in_order = ring.windows(2).all(|pair| pair[0].0 < pair[1].0);
            let in_bounds =
                ring.iter().all(|&(age, count)| age < len as u64 && count.good <= MOST && count.bad <= MOST);
            if !(in_order && in_bounds) {
                return Err(InvalidSnapshot);
            }
        }
        if lines.next().is_some() {
            Err(InvalidSnapshot)
        } else {
            Ok(Self { name, taken, gone, judged, rings })
        }
    }
}

fn slice(text: &str) -> Result<(u64, Count), InvalidSnapshot> {
    let (age, count) = text.split_once(':').ok_or(InvalidSnapshot)?;
    let (good, bad) = count.split_once('/').ok_or(InvalidSnapshot)?;
    Ok((number(age)?, Count { good: number(good)?, bad: number(bad)? }))
}

fn number(text: &str) -> Result<u64, InvalidSnapshot> {
    text.parse().map_err(|_| InvalidSnapshot)
}

/// The error of reading a [`Snapshot`]: it is none, or it was cut or changed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("this is no whole snapshot of an error budget")]
pub struct InvalidSnapshot;

/// The error of [`ErrorBudget::restore`](super::ErrorBudget::restore): it is of another objective.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum ForeignSnapshot {
    /// Of one of another name.
    #[error("the snapshot is of the objective {is:?}, and not of {expected:?}")]
    Name {
        /// Whose it is.
        is: Name,
        /// Whose it should be.
        expected: Name,
    },
    /// Of one that counted something else when it had that name: calls, or daily runs.
    #[error("the snapshot counts {is}, and the objective of that name {expected}")]
    Kind {
        /// What it counts.
        is: &'static str,
        /// What the objective counts.
        expected: &'static str,
    },
}
