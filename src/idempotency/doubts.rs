use std::{sync::Arc, time::Duration};

use tokio::time::Instant;

use crate::sync::{Mutex, lock};

/// What was last seen of the doubts in a store. Clones are the same.
#[derive(Clone, Debug, Default)]
pub(super) struct Doubts(Arc<Mutex<Option<Seen>>>);

/// How old the oldest doubt was, and when; nothing when there was none.
type Seen = Option<(Duration, Instant)>;

impl Doubts {
    pub(super) fn see(&self, oldest: Option<Duration>) {
        *lock(&self.0) = Some(oldest.map(|age| (age, Instant::now())));
    }

    /// How old the oldest one is: as far as was seen, it is there still. `None` before anybody has looked.
    pub(super) fn oldest(&self) -> Option<Duration> {
        let seen = (*lock(&self.0))?;
        Some(seen.map_or(Duration::ZERO, |(age, at)| age.saturating_add(at.elapsed())))
    }
}
