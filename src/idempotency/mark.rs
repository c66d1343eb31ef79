use std::sync::Arc;

use crate::{
    policy::{Course, Policy, StackFuture},
    sync::{AtomicBool, Ordering},
};

/// Whether a fault hook did something to a call in the task that makes it, for the call that waits for that task.
#[derive(Clone, Debug, Default)]
pub(crate) struct Mark(Arc<AtomicBool>);

impl Mark {
    /// Takes it from the call, after each of its polls.
    pub(crate) fn take<P, S, Req>(&self, call: &StackFuture<P, S, Req>)
    where
        P: Policy<S, Req>,
    {
        // Relaxed: the answer comes through a channel, and who does not wait for that takes what there is.
        self.0.store(call.is_injected(), Ordering::Relaxed);
    }

    /// Gives it to the call that waits.
    pub(crate) fn give(&self, course: &mut Course) {
        course.injected |= self.0.load(Ordering::Relaxed);
    }
}
