//! Time: monotonic from tokio, so that a paused clock moves it, and wall time derived from it.
//!
//! Wall time is an anchor, read once in the process, plus the monotonic time since. It follows a paused clock in
//! tests, and a step of the machine's clock cannot move a deadline.

use std::{sync::OnceLock, time::SystemTime};

use tokio::time::Instant;

/// The wall time that belongs to an instant.
#[expect(
    clippy::disallowed_methods,
    reason = "the anchor is the one place that reads the machine's wall clock"
)]
pub(crate) fn wall(at: Instant) -> SystemTime {
    static ANCHOR: OnceLock<(Instant, SystemTime)> = OnceLock::new();
    let (instant, wall) = *ANCHOR.get_or_init(|| (Instant::now(), SystemTime::now()));
    match at.checked_duration_since(instant) {
        Some(since) => wall + since,
        None => wall - instant.duration_since(at),
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[test]
    fn wall_time_follows_the_instant_both_ways() {
        let now = Instant::now();
        let hour = Duration::from_secs(3600);
        assert_eq!(wall(now + hour).duration_since(wall(now)).ok(), Some(hour));
        assert!(
            wall(now) > wall(now.checked_sub(Duration::from_millis(1)).expect("the machine runs for longer"))
        );
    }
}
