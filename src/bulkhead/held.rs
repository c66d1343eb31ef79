//! What a call holds of a bulkhead, and how it is given back.

#[cfg(feature = "http")]
use std::sync::Arc;
use std::{mem, pin::Pin};

use pin_project_lite::pin_project;
use tokio::time::Instant;

use super::{
    compartments::Compartment,
    machine::{Machine, Waiter},
    places::Places,
};
use crate::{error::Reason, timer::Timer};

/// How far a call has come.
#[derive(Debug, Default)]
pub(super) struct Held {
    compartment: Option<Compartment>,
    /// Whether it has a place in the whole bulkhead.
    inside: bool,
}

impl Held {
    /// The call gets into the bulkhead through this compartment.
    pub(super) fn go_by(&mut self, compartment: Compartment) {
        self.compartment = Some(compartment);
    }

    /// Where the call has to get a permit next; `None` when it has all.
    #[inline]
    pub(super) fn door<'a>(&'a self, places: &'a Places) -> Option<&'a Machine> {
        let compartment = self.compartment.as_ref().and_then(Compartment::door);
        compartment.or_else(|| (!self.inside).then_some(&places.machine))
    }

    /// The call has got a permit there.
    #[inline]
    pub(super) fn enter(&mut self) {
        match &mut self.compartment {
            Some(compartment) if compartment.door().is_some() => compartment.enter(),
            _ => self.inside = true,
        }
    }

    /// Gives back what the call holds.
    #[inline]
    pub(super) fn give_back(&mut self, wait: &mut Option<Pin<Box<Wait>>>, places: &Places) {
        if wait.is_some() || self.compartment.is_some() {
            drop(self.leave(wait, places));
        } else if mem::take(&mut self.inside) {
            places.machine.release();
        }
    }

    /// Takes from the call what it holds. It is given back when that is dropped, and that may be no sooner than the work is
    /// gone: as long as it exists it has its permits.
    #[inline]
    pub(super) fn leave<'a>(&mut self, wait: &mut Option<Pin<Box<Wait>>>, places: &'a Places) -> Left<'a> {
        if wait.is_some() {
            self.give_up(wait, places);
        }
        let permit = mem::take(&mut self.inside).then(|| Permit(&places.machine));
        Left { _permit: permit, _compartment: self.compartment.take() }
    }

    /// Leaves the queue, if the call is in one.
    #[cold]
    fn give_up(&self, wait: &mut Option<Pin<Box<Wait>>>, places: &Places) {
        let waiter = wait.take().and_then(|mut wait| wait.as_mut().project().waiter.take());
        if let (Some(waiter), Some(door)) = (waiter, self.door(places)) {
            door.give_up(waiter);
        }
    }

    /// Takes the place of the call, to be held without it; `None` where it has none.
    #[cfg(feature = "http")]
    pub(super) fn keep(&mut self, places: &Arc<Places>) -> Option<BulkheadPermit> {
        mem::take(&mut self.inside)
            .then(|| BulkheadPermit { places: Arc::clone(places), _compartment: self.compartment.take() })
    }
}

/// Returns the permit when it goes, also when the work that is dropped under it panics.
struct Permit<'a>(&'a Machine);

impl Drop for Permit<'_> {
    #[inline]
    fn drop(&mut self) {
        self.0.release();
    }
}

/// What a call held. Dropped from the first to the last: who is let into the compartment finds a place in the whole.
pub(super) struct Left<'a> {
    _permit: Option<Permit<'a>>,
    _compartment: Option<Compartment>,
}

pin_project! {
    /// A call that had to queue.
    #[project = WaitProjection]
    #[derive(Debug)]
    pub(super) struct Wait {
        // `None` between two doors.
        pub(super) waiter: Option<Waiter>,
        pub(super) since: Instant,
        pub(super) until: Instant,
        // Why the call is refused when `until` has passed.
        pub(super) reason: Reason,
        #[pin]
        pub(super) timer: Timer,
    }
}

/// A place in a bulkhead that its call has left behind, with what it gave out; free again when this is dropped.
#[cfg(feature = "http")]
#[derive(Debug)]
#[must_use = "dropped, it gives the place back"]
pub(crate) struct BulkheadPermit {
    places: Arc<Places>,
    /// Left after the whole.
    _compartment: Option<Compartment>,
}

#[cfg(feature = "http")]
impl Drop for BulkheadPermit {
    fn drop(&mut self) {
        self.places.machine.release();
    }
}
