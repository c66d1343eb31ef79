use std::{
    pin::Pin,
    task::{Context, Poll},
    time::Duration,
};

use pin_project_lite::pin_project;
use tokio::time::Instant;

use super::LimitOf;
use crate::{
    call::later,
    class::Ending,
    error::{BoxError, Reason, Rejected},
    event::Event,
    observer::Observer,
    policy::{Answer, Course, Lend, Parcel, Policy, Poller, Seat, Slot, sealed::Sealed},
    timer::Timer,
};

/// The policy of a [`TimeoutLayer`](super::TimeoutLayer).
#[derive(Clone, Debug)]
pub struct TimeoutPolicy<I, L = Duration> {
    pub(super) limit: L,
    pub(super) reason: Reason,
    /// Whether a deadline that a call comes with is within the limit anyway.
    within: bool,
    pub(super) observer: Observer,
    inner: I,
}

impl<I, L> TimeoutPolicy<I, L> {
    pub(crate) fn new(limit: L, reason: Reason, observer: Observer, inner: I) -> Self {
        Self { limit, reason, within: false, observer, inner }
    }

    /// The same for calls whose deadlines are within the limit: each has as long as it has.
    pub(crate) fn within_deadline(self) -> Self {
        Self { within: true, ..self }
    }

    /// The answer to a call that had no time left when it came.
    #[cold]
    fn refuse<T>(&self) -> Answer<T> {
        self.observer.emit(Event::DeadlineExpired);
        Answer::rejected(Rejected::new(self.observer.name(), Reason::DeadlineExceeded))
    }

    /// The answer to a call whose limit has passed.
    #[cold]
    fn cut<T>(&self, hurried: bool) -> Answer<T> {
        let reason = if hurried { Reason::DeadlineExceeded } else { self.reason };
        self.observer.emit(Event::TimedOut { reason });
        Answer::rejected(Rejected::new(self.observer.name(), reason))
    }
}

pin_project! {
    /// The pass of a [`TimeoutPolicy`].
    #[derive(Debug)]
    pub struct TimeoutPass<P> {
        // `None` before the call begins.
        deadline: Option<Instant>,
        expired: bool,
        hurried: bool,
        #[pin]
        timer: Timer,
        #[pin]
        inner: P,
    }
}

impl<I, L> Sealed for TimeoutPolicy<I, L> {}

impl<I, L, S, Req> Lend<S, Req> for TimeoutPolicy<I, L>
where
    I: Lend<S, Req>,
    L: LimitOf<Req>,
{
    type Pass = TimeoutPass<I::Pass>;

    fn pass(&self) -> Self::Pass {
        let inner = self.inner.pass();
        TimeoutPass { deadline: None, expired: false, hurried: false, timer: Timer::new(), inner }
    }

    fn begin(&self, pass: Pin<&mut Self::Pass>, parcel: &mut Parcel<Req>, course: &mut Course) {
        let (pass, call) = (pass.project(), &mut course.call);
        let started = call.started();
        let limit = self.limit.limit_of(parcel.request());
        // Further out, the request may have been given one of its own.
        let given = call.limit.map(|given| given.saturating_duration_since(started));
        let limit = given.map_or(limit, |given| given.min(limit));
        let deadline = match call.deadline {
            Some(deadline) if self.within => deadline,
            Some(deadline) => deadline.min(later(started, limit)),
            None => later(started, limit),
        };
        *pass.expired = deadline <= started;
        // Cut before half of the limit, a call says more about its caller than about the dependency. Callers in a hurry,
        // whom a header from outside may make, must not open a breaker for the others.
        *pass.hurried = call.inherited.is_some_and(|inherited| inherited < later(started, limit / 2));
        *pass.deadline = Some(deadline);
        call.deadline = Some(deadline);
        call.limit = (!*pass.hurried).then_some(deadline);
        self.inner.begin(pass.inner, parcel, course);
    }

    fn abandon(&self, pass: Pin<&mut Self::Pass>, course: &mut Course, ending: Ending, now: Instant) {
        self.inner.abandon(pass.project().inner, course, ending, now);
    }
}

impl<I, L, S, Req> Policy<S, Req> for TimeoutPolicy<I, L>
where
    I: Policy<S, Req>,
    L: LimitOf<Req>,
    S: Clone,
{
    type Response = I::Response;

    fn poll(
        &self,
        pass: Pin<&mut Self::Pass>,
        parcel: &mut Parcel<Req>,
        seat: &mut Seat<S>,
        cx: &mut Poller<'_, '_>,
        out: &mut Slot<Self::Response>,
    ) -> Poll<()> {
        let mut pass = pass.project();
        if *pass.expired {
            return out.put(self.refuse());
        }
        let poll = self.inner.poll(pass.inner.as_mut(), parcel, seat, cx, out);
        let deadline = pass.deadline.expect("it was set when the call began");
        // Later: it had not passed when the call began.
        if poll.is_ready() || pass.timer.poll_later(deadline, cx.task).is_pending() {
            return poll;
        }
        let now = cx.now();
        self.inner.abandon(pass.inner.as_mut(), cx.course, Ending::Cancelled, now);
        pass.inner.set(self.inner.pass());
        // It may still stand in a line of the service's own: a place that came free would go to nobody, for as long as a hedge or a
        // fallback goes on.
        seat.renew();
        cx.course.call.hurried = *pass.hurried;
        out.put(self.cut(*pass.hurried))
    }

    /// Always: the service gets ready inside the call, under its limit.
    fn poll_ready(&self, _seat: &mut Seat<S>, _cx: &mut Context<'_>) -> Poll<Result<(), BoxError>> {
        Poll::Ready(Ok(()))
    }
}
