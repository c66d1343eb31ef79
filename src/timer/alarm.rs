//! What rings at an instant: tokio's `Sleep`.

use std::{
    future::Future,
    pin::{Pin, pin},
    task::{Context, Waker},
};

use tokio::{
    runtime::{Handle, Id},
    task::unconstrained,
    time::{Instant, Sleep, sleep_until},
};

/// Something that can be set to an instant, and wakes then.
pub(super) trait Alarm: Sized {
    /// Where it is driven.
    type Runtime: Copy + PartialEq;

    /// An alarm of the runtime that the thread is in, set to an instant. Whether it has rung by now.
    fn set(alarm: Option<Self>, at: Instant, bell: &Waker) -> (Self, bool);

    /// Whether it has rung, in time or because its runtime shuts down.
    fn has_rung(&self) -> bool;
}

/// A `Sleep` of tokio.
pub(super) struct Tokio(Pin<Box<Sleep>>);

impl Tokio {
    /// The runtime that the thread is in.
    #[inline]
    pub(super) fn runtime() -> Option<Id> {
        Handle::try_current().ok().map(|handle| handle.id())
    }
}

impl Alarm for Tokio {
    type Runtime = Id;

    fn set(alarm: Option<Self>, at: Instant, bell: &Waker) -> (Self, bool) {
        let mut sleep = match alarm {
            Some(Self(mut sleep)) => {
                sleep.as_mut().reset(at);
                // Also where its runtime shuts down, and where to poll it would be a panic.
                if sleep.is_elapsed() {
                    return (Self(sleep), true);
                }
                sleep
            }
            None => Box::pin(sleep_until(at)),
        };
        // Whoever sets it may have used up its budget of tokio's.
        let has_rung = pin!(unconstrained(sleep.as_mut())).poll(&mut Context::from_waker(bell)).is_ready();
        (Self(sleep), has_rung)
    }

    fn has_rung(&self) -> bool {
        self.0.is_elapsed()
    }
}
