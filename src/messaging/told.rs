//! What a consumer was told of its queue, for its telemetry.

use std::sync::Arc;

use crate::event::Source;

/// Finds a header of a message.
pub(crate) type Headers<M> = dyn for<'a> Fn(&'a M, &str) -> Option<&'a str> + Send + Sync;

pub(crate) struct Told<M> {
    pub(crate) source: Option<Source>,
    pub(crate) headers: Option<Arc<Headers<M>>>,
}

impl<M> Default for Told<M> {
    fn default() -> Self {
        Self { source: None, headers: None }
    }
}
