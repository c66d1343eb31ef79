use std::{
    pin::Pin,
    task::{Context, Poll},
    time::Duration,
};

use pin_project_lite::pin_project;
use tokio::time::Instant;

use super::LimitOf;
use crate::{
    call::{Call, later},
    class::Ending,
    error::{BoxError, Reason, Rejected},
    event::Event,
    observer::Observer,
    policy::{Answer, Lend, Policy, Poller, Seat, sealed::Sealed},
    timer::Timer,
};

/// The policy of a [`TimeoutLayer`](super::TimeoutLayer).
#[derive(Clone, Debug)]
pub struct TimeoutPolicy<I, L = Duration> {
    pub(super) limit: L,
    pub(super) reason: Reason,
    pub(super) observer: Observer,
    inner: I,
}

impl<I, L> TimeoutPolicy<I, L> {
    pub(crate) fn new(limit: L, reason: Reason, observer: Observer, inner: I) -> Self {
        Self { limit, reason, observer, inner }
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
        let mut answer = Answer::rejected(Rejected::new(self.observer.name(), reason));
        answer.hurried = hurried;
        answer
    }
}

pin_project! {
    /// The pass of a [`TimeoutPolicy`].
    #[derive(Debug)]
    pub struct TimeoutPass<P> {
        deadline: Instant,
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

    fn start(&self, call: Call, request: Req) -> Self::Pass {
        let limit = self.limit.limit_of(&request);
        // Further out, the request may have been given one of its own.
        let given = call.limit.map(|given| given.saturating_duration_since(call.started));
        let limit = given.map_or(limit, |given| given.min(limit));
        let own = later(call.started, limit);
        let deadline = call.deadline.map_or(own, |deadline| deadline.min(own));
        let expired = deadline <= call.started;
        // Cut before half of the limit, a call says more about its caller than about the dependency. Callers in a hurry,
        // whom a header from outside may make, must not open a breaker for the others.
        let hurried = call.inherited.is_some_and(|inherited| inherited < later(call.started, limit / 2));
        let call = Call { deadline: Some(deadline), limit: (!hurried).then_some(deadline), ..call };
        TimeoutPass {
            deadline,
            expired,
            hurried,
            timer: Timer::new(),
            inner: self.inner.start(call, request),
        }
    }

    fn abandon(&self, pass: Pin<&mut Self::Pass>, ending: Ending, now: Instant) {
        self.inner.abandon(pass.project().inner, ending, now);
    }
}

impl<I, L, S, Req> Policy<S, Req> for TimeoutPolicy<I, L>
where
    I: Policy<S, Req>,
    L: LimitOf<Req>,
{
    type Response = I::Response;

    fn poll(
        &self,
        pass: Pin<&mut Self::Pass>,
        seat: &mut Seat<S>,
        cx: &mut Poller<'_, '_>,
    ) -> Poll<Answer<Self::Response>> {
        let mut pass = pass.project();
        if *pass.expired {
            return Poll::Ready(self.refuse());
        }
        let poll = self.inner.poll(pass.inner.as_mut(), seat, cx);
        // Later: it had not passed when the call began.
        if poll.is_ready() || pass.timer.poll_later(*pass.deadline, cx.task).is_pending() {
            return poll;
        }
        self.inner.abandon(pass.inner, Ending::Cancelled, cx.now());
        Poll::Ready(self.cut(*pass.hurried))
    }

    /// Always: the service gets ready inside the call, under its limit.
    fn poll_ready(&self, _seat: &mut Seat<S>, _cx: &mut Context<'_>) -> Poll<Result<(), BoxError>> {
        Poll::Ready(Ok(()))
    }
}
