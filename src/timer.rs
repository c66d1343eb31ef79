//! The seam for timers: tokio's `Sleep` today.
//!
//! Everything in the crate that waits for an instant does it through [`Timer`], so that another wheel can take its
//! place without a change elsewhere.

use std::{
    fmt,
    pin::Pin,
    task::{Context, Poll},
};

use pin_project_lite::pin_project;
use tokio::{
    task::{Unconstrained, unconstrained},
    time::{Instant, Sleep, sleep_until},
};

pin_project! {
    /// A timer that costs nothing until it is first polled.
    ///
    /// It is polled outside of tokio's cooperative budget: work that uses its budget up at every poll must still be cut.
    pub struct Timer {
        #[pin]
        sleep: Option<Unconstrained<Sleep>>,
    }
}

impl Timer {
    /// A timer that is not registered anywhere yet.
    pub(crate) const fn new() -> Self {
        Self { sleep: None }
    }

    /// Ready once `deadline` has passed. The deadline of the first poll counts until [`Timer::clear`].
    ///
    /// # Panics
    ///
    /// Outside of a tokio runtime with time enabled, as `tokio::time::sleep_until` does.
    pub(crate) fn poll_until(self: Pin<&mut Self>, deadline: Instant, cx: &mut Context<'_>) -> Poll<()> {
        let mut sleep = self.project().sleep;
        if sleep.is_none() {
            sleep.set(Some(unconstrained(sleep_until(deadline))));
        }
        let sleep = sleep.as_pin_mut().expect("it was set in the line above");
        Future::poll(sleep, cx)
    }

    /// Takes the timer back, so that the next poll may name another deadline.
    pub(crate) fn clear(self: Pin<&mut Self>) {
        self.project().sleep.set(None);
    }
}

impl fmt::Debug for Timer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Timer").field("registered", &self.sleep.is_some()).finish()
    }
}
