//! The seam for timers: everything in the crate that waits for an instant does it through [`Timer`].
//!
//! Nearly every timer of the crate is a limit that a call never reaches: registered when its service is pending, and given up
//! when that answers. A `Sleep` of tokio's for each goes through the one lock of its runtime twice, and through the counters of
//! that runtime's handle four times, so that two threads get no more calls done than one. But limits are few, and deadlines that
//! are a limit from now come in their order. So timers stand in lists, in which all enter at the end, and each list has one
//! `Sleep`, its *alarm*, set no later than to its first deadline.
//!
//! * A list belongs to one runtime, whose driver sounds its alarm. So a timer depends on the runtime in which it was first
//!   polled, as a `Sleep` does, and neither a task nor a thread is needed. Where that shuts down, everybody is woken, and
//!   whoever is polled elsewhere is registered there.
//! * It is never early, and as late as a `Sleep` would be. A deadline that has no list in whose order it is gets a `Sleep` of its
//!   own.
//! * Given up, a timer leaves its list at once, and the alarm stays: it may ring for nobody, once. So a paused clock that
//!   advances by itself may stop where nobody waits any more, or go there when there is nothing else to do.
//! * There are [`STRIPES`] times [`LANES`](queue::LANES) lists in a process, each stripe under a lock of its own, which a thread
//!   shares with few others. No waker and nothing of tokio's is called under it.

mod alarm;
mod queue;
mod stripe;
#[cfg(test)]
mod tests;

use std::{
    fmt,
    pin::Pin,
    sync::{Arc, LazyLock},
    task::{Context, Poll},
};

use pin_project_lite::pin_project;
use tokio::{
    task::{Unconstrained, unconstrained},
    time::{Instant, Sleep, sleep_until},
};

use self::{
    alarm::Tokio,
    queue::Place,
    stripe::{Standing, Stripe},
};
use crate::sync::{STRIPES, stripe};

/// All that waits in the process. A thread enters the stripe that it shares with few others.
static ALL: LazyLock<[Arc<Stripe<Tokio>>; STRIPES]> =
    LazyLock::new(|| std::array::from_fn(|_| Stripe::new()));

pin_project! {
    /// A timer that costs nothing until it is first polled.
    ///
    /// It is polled outside of tokio's cooperative budget: work that uses its budget up at every poll must still be cut.
    pub struct Timer {
        #[pin]
        state: State,
    }
}

pin_project! {
    #[project = StateProjection]
    enum State {
        // Not polled yet.
        Idle,
        // In a list.
        Queued { ticket: Ticket, deadline: Instant },
        // Out of their order.
        Own { #[pin] sleep: Unconstrained<Sleep> },
    }
}

/// A place in a stripe, which is left when this is dropped.
struct Ticket {
    /// `None` once the time is over, and nothing is there to be left.
    stripe: Option<&'static Stripe<Tokio>>,
    place: Place,
}

impl Ticket {
    /// Has the task woken at a deadline, unless there is no lane for that.
    #[inline]
    fn new(deadline: Instant, cx: &Context<'_>) -> Option<Self> {
        let runtime = Tokio::runtime()?;
        let stripe = &*ALL[stripe()];
        let (place, broom) = stripe.join(runtime, deadline, cx.waker())?;
        // From here on a panic leaves the place.
        let ticket = Self { stripe: Some(stripe), place };
        if let Some(broom) = broom {
            broom.sweep(None);
        }
        Some(ticket)
    }

    /// Whether the deadline has passed, as far as is known without a look at the clock.
    #[inline]
    fn look(&mut self, cx: &Context<'_>) -> Standing {
        let standing = self.stripe.map_or(Standing::Rung, |stripe| stripe.look_at(self.place, cx.waker()));
        if let Standing::Rung = standing {
            self.stripe = None;
        }
        standing
    }
}

impl Drop for Ticket {
    #[inline]
    fn drop(&mut self) {
        if let Some(stripe) = self.stripe {
            stripe.leave(self.place);
        }
    }
}

impl Timer {
    /// A timer that is not registered anywhere yet.
    pub(crate) const fn new() -> Self {
        Self { state: State::Idle }
    }

    /// Ready once `deadline` has passed. The deadline of the first poll counts until [`Timer::clear`].
    ///
    /// # Panics
    ///
    /// Outside of a tokio runtime with time enabled, as `tokio::time::sleep_until` does.
    pub(crate) fn poll_until(self: Pin<&mut Self>, deadline: Instant, cx: &mut Context<'_>) -> Poll<()> {
        if matches!(self.state, State::Idle) && deadline <= Instant::now() {
            return Poll::Ready(());
        }
        self.poll_later(deadline, cx)
    }

    /// The same, of a deadline that had not passed a moment ago: without a look at the clock.
    #[inline]
    pub(crate) fn poll_later(self: Pin<&mut Self>, deadline: Instant, cx: &mut Context<'_>) -> Poll<()> {
        let mut state = self.project().state;
        if let StateProjection::Queued { ticket, deadline } = state.as_mut().project() {
            match ticket.look(cx) {
                Standing::Waits => return Poll::Pending,
                Standing::Rung => return Poll::Ready(()),
                Standing::Gone => {}
            }
            let deadline = *deadline;
            if deadline <= Instant::now() {
                return Poll::Ready(());
            }
            // Woken before its time: the runtime that it was registered in shuts down.
            state.set(State::Idle);
            return Self::register(state, deadline, cx);
        }
        match state.as_mut().project() {
            StateProjection::Own { sleep } => sleep.poll(cx),
            _ => Self::register(state, deadline, cx),
        }
    }

    #[inline]
    fn register(mut state: Pin<&mut State>, deadline: Instant, cx: &mut Context<'_>) -> Poll<()> {
        if let Some(ticket) = Ticket::new(deadline, cx) {
            state.set(State::Queued { ticket, deadline });
            return Poll::Pending;
        }
        state.set(State::Own { sleep: unconstrained(sleep_until(deadline)) });
        match state.project() {
            StateProjection::Own { sleep } => sleep.poll(cx),
            _ => unreachable!("it was set in the line above"),
        }
    }

    /// Takes the timer back, so that the next poll may name another deadline.
    pub(crate) fn clear(self: Pin<&mut Self>) {
        self.project().state.set(State::Idle);
    }
}

impl fmt::Debug for Timer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Timer").field("registered", &!matches!(self.state, State::Idle)).finish()
    }
}
