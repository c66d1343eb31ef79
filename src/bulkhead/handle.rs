use std::{num::NonZeroUsize, sync::Arc};

use super::places::Places;
use crate::registry::BulkheadState;

/// A bulkhead while it runs. Clones are the same one.
#[derive(Clone, Debug)]
pub struct BulkheadHandle {
    places: Arc<Places>,
}

impl BulkheadHandle {
    pub(super) fn new(places: Arc<Places>) -> Self {
        Self { places }
    }

    /// The limit, and how many calls are in flight and in the queue, all at one moment.
    ///
    /// More can be in flight than the limit allows, for a while after it was lowered.
    pub fn state(&self) -> BulkheadState {
        self.places.state()
    }

    /// Changes the limit from the next call on. A higher one lets waiting calls in at once; a lower one
    /// leaves the calls in flight alone and admits no other until enough of them have ended.
    ///
    /// A limit that adapts stays where it is put, whatever its bounds are, until [`resume`](Self::resume).
    pub fn set_limit(&self, limit: NonZeroUsize) {
        self.places.set_limit(limit.get());
    }

    /// Lets a limit adapt again that was set by hand, from where it is. Without effect on any other.
    pub fn resume(&self) {
        self.places.resume();
    }

    /// Whether the limit adapts at present: by its law, and not set by hand.
    pub fn is_adapting(&self) -> bool {
        self.places.is_adapting()
    }
}
