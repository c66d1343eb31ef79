//! A tower service of policies, and the one future of its calls.

use std::{
    fmt, mem,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll},
};

use pin_project_lite::pin_project;
use tokio::time::Instant;
use tower::Service;

#[cfg(feature = "idempotency")]
use super::Answer;
use super::{Course, Lend, Parcel, Policy, Poller, Seat, Slot};
use crate::{
    call::{Call, Carried},
    class::Ending,
    error::BoxError,
};

/// A tower service with policies in front of it: what every layer of the crate makes.
///
/// Clones share the policies and clone the service. The policies are borrowed by each call through one shared
/// pointer.
///
/// # Cancellation
///
/// Dropping a call's future at any point gives back all that the call holds (permits, places in a queue, probes) and is
/// told to the observers once.
pub struct Stack<P, S> {
    policy: Arc<P>,
    seat: Seat<S>,
}

impl<P, S> Stack<P, S> {
    pub(crate) fn new(policy: Arc<P>, service: S) -> Self {
        Self { policy, seat: Seat::new(service) }
    }

    /// Makes a call on a clone of the service, which gets ready inside the call's future.
    pub(crate) fn send<Req>(&self, request: Req) -> StackFuture<P, S, Req>
    where
        P: Policy<S, Req>,
        S: Clone,
    {
        StackFuture::new(Arc::clone(&self.policy), self.seat.another(), request)
    }
}

impl<P, S: Clone> Clone for Stack<P, S> {
    /// The clone shares the policies; its service has yet to say that it is ready.
    fn clone(&self) -> Self {
        Self { policy: Arc::clone(&self.policy), seat: self.seat.another() }
    }
}

impl<P, S: fmt::Debug> fmt::Debug for Stack<P, S> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Stack").field("seat", &self.seat).finish_non_exhaustive()
    }
}

impl<P, S, Req> Service<Req> for Stack<P, S>
where
    P: Policy<S, Req>,
    S: Clone,
{
    type Response = P::Response;
    type Error = BoxError;
    type Future = StackFuture<P, S, Req>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), BoxError>> {
        self.policy.poll_ready(&mut self.seat, cx)
    }

    fn call(&mut self, request: Req) -> Self::Future {
        let fresh = self.seat.another();
        let seat = mem::replace(&mut self.seat, fresh);
        StackFuture::new(Arc::clone(&self.policy), seat, request)
    }
}

#[derive(Clone, Copy, Debug)]
enum State {
    /// It was not polled, and nothing has happened.
    Made,
    /// Between two polls.
    Waiting,
    /// Inside a poll; found by the drop only when that poll unwinds.
    Polling,
    /// The answer was given.
    Done,
}

pin_project! {
    /// The future of a [`Stack`].
    #[must_use = "futures do nothing unless polled"]
    pub struct StackFuture<P: Lend<S, Req>, S, Req> {
        policy: Arc<P>,
        seat: Seat<S>,
        state: State,
        course: Course,
        parcel: Parcel<Req>,
        #[pin]
        pass: P::Pass,
    }

    impl<P: Lend<S, Req>, S, Req> PinnedDrop for StackFuture<P, S, Req> {
        fn drop(this: Pin<&mut Self>) {
            let this = this.project();
            let ending = match this.state {
                State::Waiting => Ending::Cancelled,
                State::Polling => Ending::Panicked,
                State::Made | State::Done => return,
            };
            this.policy.abandon(this.pass, this.course, ending, Instant::now());
        }
    }
}

impl<P: Policy<S, Req>, S, Req> StackFuture<P, S, Req> {
    pub(crate) fn new(policy: Arc<P>, seat: Seat<S>, request: Req) -> Self {
        let (parcel, course) = (Parcel::new(request), Course::new(Call::new(Carried::current())));
        // Last: nothing that could panic comes between, so that it is put together where it stays.
        let pass = policy.pass();
        Self { policy, seat, state: State::Made, course, parcel, pass }
    }

    /// Whether a fault hook has done something to the call by now.
    #[cfg(feature = "idempotency")]
    pub(crate) fn is_injected(&self) -> bool {
        self.course.injected
    }

    /// Drives the call to its answer. `reached` becomes true when it gets as far as the service; while it never did, it had no
    /// effect.
    #[cfg(feature = "idempotency")]
    pub(crate) fn poll_answer(
        self: Pin<&mut Self>,
        task: &mut Context<'_>,
        reached: &mut bool,
    ) -> Poll<Answer<P::Response>> {
        let mut out = Slot::new();
        self.poll_into(task, reached, &mut out).map(|()| out.into_answer())
    }

    #[inline]
    fn poll_into(
        self: Pin<&mut Self>,
        task: &mut Context<'_>,
        reached: &mut bool,
        out: &mut Slot<P::Response>,
    ) -> Poll<()> {
        let mut this = self.project();
        assert!(!matches!(this.state, State::Done), "a future is not polled again once it is ready");
        let mut now = None;
        if let State::Made = mem::replace(this.state, State::Polling) {
            // A call begins here: the time that its future lay around is neither its own nor the dependency's.
            this.course.call.begin_in(Carried::current());
            this.policy.begin(this.pass.as_mut(), this.parcel, this.course);
            now = this.course.call.known_start();
        }
        let mut poller = Poller::new(task, this.course, now);
        let poll = this.policy.poll(this.pass, this.parcel, this.seat, &mut poller, out);
        *reached |= poller.reached();
        *this.state = if poll.is_ready() { State::Done } else { State::Waiting };
        poll
    }
}

impl<P: Policy<S, Req>, S, Req> Future for StackFuture<P, S, Req> {
    type Output = Result<P::Response, BoxError>;

    fn poll(self: Pin<&mut Self>, task: &mut Context<'_>) -> Poll<Self::Output> {
        let mut out = Slot::new();
        match self.poll_into(task, &mut false, &mut out) {
            Poll::Ready(()) => Poll::Ready(out.into_result()),
            Poll::Pending => Poll::Pending,
        }
    }
}

impl<P: Lend<S, Req>, S, Req> fmt::Debug for StackFuture<P, S, Req> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("StackFuture").field("state", &self.state).finish_non_exhaustive()
    }
}
