//! Time: monotonic from tokio, so that a paused clock moves it, and wall time derived from it.
//!
//! Wall time is an anchor, read once in the process, plus the monotonic time since, plus how far the machine's wall clock has
//! moved away from that: it is stepped, it is slewed, and it goes on while the machine sleeps. That is looked at once a
//! second. It is for what people and other machines read: timestamps, HTTP dates. A deadline never uses it, so no step of the
//! wall clock moves one.
//!
//! A paused clock is followed instead, in tests: the machine's wall clock says nothing about it.

use std::{
    sync::{
        OnceLock,
        atomic::{AtomicI64, Ordering},
    },
    time::{Duration, SystemTime},
};

use tokio::time::Instant;

/// The wall time that belongs to an instant: of the last second, within 2 ms of what the machine's clock said.
pub(crate) fn wall(at: Instant) -> SystemTime {
    static ANCHOR: OnceLock<Anchor> = OnceLock::new();
    #[expect(clippy::disallowed_methods, reason = "the anchor is one of two places that read the wall clock")]
    let anchor = ANCHOR.get_or_init(|| Anchor::new(Instant::now(), SystemTime::now()));
    anchor.wall(at, machine)
}

/// Both clocks of the machine at one moment. `None` where tokio's is not the machine's, being paused, or where the moment
/// took too long to mean anything.
#[expect(clippy::disallowed_methods, reason = "this is the other place that reads the machine's clocks")]
fn machine() -> Option<(Instant, SystemTime)> {
    let before = std::time::Instant::now();
    let (now, wall) = (Instant::now(), SystemTime::now());
    let after = std::time::Instant::now();
    let is_real = (before..=after).contains(&now.into_std());
    (is_real && after - before < Anchor::TOLERANCE).then_some((now, wall))
}

/// A moment by both clocks, and how they moved apart since.
struct Anchor {
    instant: Instant,
    wall: SystemTime,
    /// By how many nanoseconds wall time is ahead of what the anchor says. One number, so that no reader sees half of a change.
    drift: AtomicI64,
    /// When that was looked at last, in nanoseconds from the anchor on.
    looked: AtomicI64,
}

impl Anchor {
    /// How old the drift may be.
    const STALE: Duration = Duration::from_secs(1);
    /// A smaller drift is none: it may be the time that it took to look, and durations must not jitter by it.
    const TOLERANCE: Duration = Duration::from_millis(1);

    fn new(instant: Instant, wall: SystemTime) -> Self {
        Self { instant, wall, drift: AtomicI64::new(0), looked: AtomicI64::new(0) }
    }

    fn wall(&self, at: Instant, machine: impl FnOnce() -> Option<(Instant, SystemTime)>) -> SystemTime {
        let since = self.since(at);
        // Relaxed: whoever sees an old number is as far off as everybody was a moment ago. Threads that look at the same
        // time find the same.
        if since.saturating_sub(self.looked.load(Ordering::Relaxed)) >= nanos(Self::STALE) {
            if let Some((now, wall)) = machine() {
                self.look(now, wall);
            }
        }
        self.at(since.saturating_add(self.drift.load(Ordering::Relaxed)))
    }

    fn look(&self, now: Instant, wall: SystemTime) {
        let since = self.since(now);
        let drift = match wall.duration_since(self.at(since)) {
            Ok(ahead) => nanos(ahead),
            Err(behind) => -nanos(behind.duration()),
        };
        if i128::from(drift.abs_diff(self.drift.load(Ordering::Relaxed))) > i128::from(nanos(Self::TOLERANCE))
        {
            self.drift.store(drift, Ordering::Relaxed);
        }
        self.looked.store(since, Ordering::Relaxed);
    }

    /// How long after the anchor an instant is, or, below zero, before it.
    fn since(&self, at: Instant) -> i64 {
        match at.checked_duration_since(self.instant) {
            Some(since) => nanos(since),
            None => -nanos(self.instant.duration_since(at)),
        }
    }

    /// The wall time so many nanoseconds after the anchor, without drift.
    fn at(&self, nanos: i64) -> SystemTime {
        let distance = Duration::from_nanos(nanos.unsigned_abs());
        let wall = if nanos < 0 { self.wall.checked_sub(distance) } else { self.wall.checked_add(distance) };
        wall.unwrap_or(SystemTime::UNIX_EPOCH)
    }
}

/// Three hundred years are as good as for ever.
fn nanos(duration: Duration) -> i64 {
    i64::try_from(duration.as_nanos()).unwrap_or(i64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    const HOUR: Duration = Duration::from_secs(3_600);
    const MILLI: Duration = Duration::from_millis(1);

    fn anchor() -> (Anchor, Instant, SystemTime) {
        let (now, wall) = (Instant::now(), SystemTime::UNIX_EPOCH + 1_000_000 * HOUR);
        (Anchor::new(now, wall), now, wall)
    }

    #[tokio::test(start_paused = true)]
    async fn wall_time_follows_a_paused_clock_both_ways() {
        let now = Instant::now();
        assert_eq!(wall(now + HOUR).duration_since(wall(now)).ok(), Some(HOUR));
        let before = wall(now);
        tokio::time::advance(HOUR).await;
        assert_eq!(wall(Instant::now()).duration_since(before).ok(), Some(HOUR));
        assert!(wall(now) > wall(now.checked_sub(MILLI).expect("the machine runs for longer")));
    }

    #[test]
    #[expect(clippy::disallowed_methods, reason = "it is what wall time is to follow")]
    fn wall_time_is_that_of_the_machine() {
        let before = SystemTime::now();
        let wall = wall(Instant::now());
        let after = SystemTime::now();
        assert!(before - 10 * MILLI <= wall && wall <= after + 10 * MILLI, "{before:?} {wall:?} {after:?}");
    }

    #[test]
    fn a_clock_that_was_stepped_or_slept_is_followed_within_a_second() {
        let (anchor, now, wall) = anchor();
        let second = Anchor::STALE;
        let ahead = |now: Instant| move || Some((now, wall + HOUR));
        assert_eq!(
            anchor.wall(now + second - MILLI, ahead(now)),
            wall + second - MILLI,
            "it is not looked at"
        );
        assert_eq!(anchor.wall(now + second, ahead(now + second)), wall + HOUR);
        assert_eq!(anchor.wall(now + second + MILLI, || None), wall + HOUR + MILLI);
        assert_eq!(anchor.wall(now, || unreachable!("it was looked at")), wall + HOUR - second);
        // And back, to before the anchor.
        let later = now + 2 * second;
        assert_eq!(anchor.wall(later, || Some((later, wall - HOUR))), wall - HOUR);
    }

    #[test]
    fn durations_do_not_jitter_by_the_time_that_it_takes_to_look() {
        let (anchor, now, wall) = anchor();
        let later = now + Anchor::STALE;
        let read = Some((later, wall + Anchor::STALE + Duration::from_micros(900)));
        assert_eq!(anchor.wall(later, || read), wall + Anchor::STALE);
        assert_eq!(anchor.wall(later, || unreachable!("it was looked at")), wall + Anchor::STALE);
    }

    #[test]
    fn no_instant_and_no_clock_overflows() {
        let (anchor, now, _) = anchor();
        let far = now + Duration::from_secs(86_400 * 365 * 100);
        anchor.wall(far, || Some((far, SystemTime::UNIX_EPOCH)));
        anchor.wall(far, || Some((now, SystemTime::UNIX_EPOCH + Duration::from_secs(1 << 40))));
        anchor.wall(now, || None);
    }
}
