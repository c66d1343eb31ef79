//! Which bucket a call draws on: that of its key, or the one that all others share.

use std::sync::Arc;

use tokio::time::Instant;

use super::bucket::{Bucket, Entry};
use crate::{keyed::Keyed, quota::Quota};

/// All buckets of one quota.
#[derive(Debug)]
pub(super) struct Buckets {
    pub(super) quota: Quota,
    /// For calls without a key, and for the keys that are too many.
    shared: Arc<Bucket>,
    keyed: Keyed<u64, Bucket>,
}

impl Buckets {
    pub(super) fn new(quota: Quota, max_keys: usize) -> Self {
        Self { quota, shared: Arc::new(Bucket::new(quota)), keyed: Keyed::new(max_keys) }
    }

    /// Takes a cell of the key's bucket, or a place in its line.
    pub(super) fn enter(&self, key: Option<u64>, now: Instant, until: Option<Instant>) -> Entry {
        match key.and_then(|key| self.find(key, now)) {
            Some(bucket) => bucket.enter(until),
            None => self.shared.enter(until),
        }
    }

    /// The bucket of a key; `None` when there are too many. Those that are whole again are as good as new and may go.
    fn find(&self, key: u64, now: Instant) -> Option<Arc<Bucket>> {
        let bucket = self.keyed.find(key, || Bucket::new(self.quota), |bucket| bucket.is_whole(now))?;
        bucket.used(now);
        Some(bucket)
    }

    /// How many keys are remembered.
    #[cfg(test)]
    pub(super) fn len(&self) -> usize {
        let mut keys = 0;
        self.keyed.for_each(|_, _| keys += 1);
        keys
    }
}
