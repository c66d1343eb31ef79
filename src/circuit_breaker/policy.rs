use std::{
    mem,
    panic::{AssertUnwindSafe, catch_unwind, resume_unwind},
    pin::Pin,
    sync::Arc,
    task::{Context, Poll, ready},
};

use pin_project_lite::pin_project;
use tokio::time::Instant;

use super::{
    CircuitBreakerHandle,
    config::CircuitBreakerConfig,
    machine::{Admission, Counted, Denied, Machine, Transition},
};
use crate::{
    call::Call,
    class::Ending,
    error::{BoxError, Reason, Rejected},
    event::{BreakerResult, Event},
    observer::Observer,
    policy::{Answer, Lend, Policy, Poller, Seat, sealed::Sealed},
    random::Random,
};

/// The policy of a [`CircuitBreakerLayer`](super::CircuitBreakerLayer).
#[derive(Debug)]
pub struct CircuitBreakerPolicy<I> {
    /// `None` when it is off.
    pub(super) breaker: Option<Breaker>,
    pub(super) inner: I,
}

impl<I> CircuitBreakerPolicy<I> {
    /// A breaker of its own, closed and empty, around `inner`.
    pub(crate) fn new(config: CircuitBreakerConfig, observer: Observer, inner: I) -> Self {
        Self { breaker: Some(Breaker::new(config, observer)), inner }
    }

    /// The same type without effect: it admits every call and counts none.
    pub(crate) fn off(inner: I) -> Self {
        Self { breaker: None, inner }
    }

    /// The same breaker round another policy, told to another observer.
    pub(super) fn over<J>(&self, observer: Observer, inner: J) -> CircuitBreakerPolicy<J> {
        let machine = self.breaker.as_ref().map(|breaker| Arc::clone(&breaker.machine));
        CircuitBreakerPolicy { breaker: machine.map(|machine| Breaker { machine, observer }), inner }
    }

    /// The breaker while it runs; `None` when it is off.
    pub(crate) fn handle(&self) -> Option<CircuitBreakerHandle> {
        self.breaker.clone().map(CircuitBreakerHandle::new)
    }
}

/// A machine, and whom it is told of.
#[derive(Clone, Debug)]
pub(super) struct Breaker {
    pub(super) machine: Arc<Machine>,
    pub(super) observer: Observer,
}

impl Breaker {
    fn new(config: CircuitBreakerConfig, observer: Observer) -> Self {
        let machine = Machine::new(config, Random::from_entropy(), Instant::now());
        Self { machine: Arc::new(machine), observer }
    }

    pub(super) fn tell(&self, transition: Option<Transition>) {
        if let Some(Transition { from, to }) = transition {
            self.observer.emit(Event::BreakerTransition { from, to });
        }
    }

    fn count(&self, Counted { result, transition }: Counted) {
        if let Some(result) = result {
            self.observer.emit(Event::BreakerCall { result });
        }
        self.tell(transition);
    }

    #[cold]
    fn reject(&self, Denied { retry_after }: Denied) -> Rejected {
        self.observer.emit(Event::BreakerCall { result: BreakerResult::Rejected });
        let rejected = Rejected::new(self.observer.name(), Reason::CircuitOpen);
        match retry_after {
            Some(wait) => rejected.retry_after_some(wait),
            None => rejected,
        }
    }
}

pin_project! {
    /// The pass of a [`CircuitBreakerPolicy`].
    #[derive(Debug)]
    pub struct CircuitBreakerPass<P> {
        started: Instant,
        stage: Stage,
        #[pin]
        inner: P,
    }
}

#[derive(Debug)]
enum Stage {
    /// The breaker has not been asked.
    Outside,
    /// It waits to hear how the call ends.
    Admitted(Admission),
    /// It knows, or nobody asked it.
    Left,
}

impl<I> Sealed for CircuitBreakerPolicy<I> {}

impl<I, S, Req> Lend<S, Req> for CircuitBreakerPolicy<I>
where
    I: Lend<S, Req>,
{
    type Pass = CircuitBreakerPass<I::Pass>;

    fn start(&self, call: Call, request: Req) -> Self::Pass {
        CircuitBreakerPass {
            started: call.started,
            stage: Stage::Outside,
            inner: self.inner.start(call, request),
        }
    }

    fn abandon(&self, pass: Pin<&mut Self::Pass>, ending: Ending, now: Instant) {
        let pass = pass.project();
        // What is dropped in there is somebody else's code: its panic goes on, and costs no probe.
        let inner = catch_unwind(AssertUnwindSafe(|| self.inner.abandon(pass.inner, ending, now)));
        if let (Some(breaker), Stage::Admitted(admission)) =
            (&self.breaker, mem::replace(pass.stage, Stage::Left))
        {
            breaker.count(breaker.machine.abandon(admission, ending, now));
        }
        inner.unwrap_or_else(|panic| resume_unwind(panic));
    }
}

impl<I, S, Req> Policy<S, Req> for CircuitBreakerPolicy<I>
where
    I: Policy<S, Req>,
{
    type Response = I::Response;

    fn poll(
        &self,
        pass: Pin<&mut Self::Pass>,
        seat: &mut Seat<S>,
        cx: &mut Poller<'_, '_>,
    ) -> Poll<Answer<Self::Response>> {
        let pass = pass.project();
        let Some(breaker) = &self.breaker else { return self.inner.poll(pass.inner, seat, cx) };
        if matches!(pass.stage, Stage::Outside) {
            // First the facts, then the telling: a sink may look at the breaker.
            let (admission, transition) = breaker.machine.admit(|| cx.now());
            match admission {
                Ok(admission) => {
                    *pass.stage = Stage::Admitted(admission);
                    breaker.tell(transition);
                }
                Err(denied) => {
                    *pass.stage = Stage::Left;
                    breaker.tell(transition);
                    return Poll::Ready(Answer::rejected(breaker.reject(denied)));
                }
            }
        }
        let answer = ready!(self.inner.poll(pass.inner, seat, cx));
        if let Stage::Admitted(admission) = mem::replace(pass.stage, Stage::Left) {
            let now = cx.now();
            if answer.hurried {
                breaker.count(breaker.machine.abandon(admission, Ending::Cancelled, now));
                return Poll::Ready(answer);
            }
            let elapsed = || now.saturating_duration_since(*pass.started).saturating_sub(answer.queued);
            breaker.count(breaker.machine.record(admission, answer.class, elapsed, now));
        }
        Poll::Ready(answer)
    }

    /// An open breaker answers without the service. When it lets the call through after all, because it has closed
    /// meanwhile, the service gets ready inside the call.
    fn poll_ready(&self, seat: &mut Seat<S>, cx: &mut Context<'_>) -> Poll<Result<(), BoxError>> {
        match &self.breaker {
            Some(breaker) if breaker.machine.is_open_now(Instant::now) => Poll::Ready(Ok(())),
            _ => self.inner.poll_ready(seat, cx),
        }
    }
}
