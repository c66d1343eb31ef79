use std::{
    mem,
    panic::{AssertUnwindSafe, catch_unwind, resume_unwind},
    pin::Pin,
    sync::Arc,
    task::{Context, Poll},
};

use pin_project_lite::pin_project;
use tokio::time::Instant;

use super::{
    CircuitBreakerHandle,
    config::CircuitBreakerConfig,
    machine::{Admission, Counted, Denied, Machine, Transition},
};
use crate::{
    class::Ending,
    error::{BoxError, Reason, Rejected},
    event::{BreakerResult, CircuitState, Event},
    observer::Observer,
    policy::{Answer, Course, Lend, Parcel, Policy, Poller, Seat, Slot, sealed::Sealed},
    random::Random,
};

/// The policy of a [`CircuitBreakerLayer`](super::CircuitBreakerLayer), or of a [`PerKeyLayer`](super::PerKeyLayer) with
/// [`PerKey`](super::PerKey) for `B`.
#[derive(Debug)]
pub struct CircuitBreakerPolicy<I, B = OneBreaker> {
    /// `None` when it is off.
    pub(super) breaker: Option<Breaker<B>>,
    pub(super) inner: I,
}

impl<I> CircuitBreakerPolicy<I> {
    /// A breaker of its own, closed and empty, around `inner`.
    pub(crate) fn new(config: CircuitBreakerConfig, observer: Observer, inner: I) -> Self {
        let machine = Machine::new(config, Random::from_entropy(), Instant::now());
        Self { breaker: Some(Breaker { choice: OneBreaker { machine: Arc::new(machine) }, observer }), inner }
    }

    /// The same type without effect: it admits every call and counts none.
    pub(crate) fn off(inner: I) -> Self {
        Self { breaker: None, inner }
    }

    /// The breaker while it runs; `None` when it is off.
    pub(crate) fn handle(&self) -> Option<CircuitBreakerHandle> {
        self.breaker.as_ref().map(Breaker::handle)
    }
}

impl<I, B: Clone> CircuitBreakerPolicy<I, B> {
    /// The same breakers round another policy, told to another observer.
    pub(super) fn over<J>(&self, observer: Observer, inner: J) -> CircuitBreakerPolicy<J, B> {
        let choice = self.breaker.as_ref().map(|breaker| breaker.choice.clone());
        CircuitBreakerPolicy { breaker: choice.map(|choice| Breaker { choice, observer }), inner }
    }
}

/// Which machine guards a call.
#[expect(unnameable_types, reason = "nobody else can implement it")]
pub trait Choice<Req> {
    /// What a call has to hold to find its machine.
    type Held;

    /// Looks at the request of a call.
    fn hold(&self, request: &Req) -> Self::Held;

    /// The machine of that call.
    fn machine<'a>(&'a self, held: &'a Self::Held) -> &'a Machine;

    /// Whether the next call, whatever its request, would be refused or may have to be.
    fn may_refuse(&self) -> bool;
}

/// One breaker for all calls.
#[derive(Clone, Debug)]
pub struct OneBreaker {
    pub(super) machine: Arc<Machine>,
}

impl<Req> Choice<Req> for OneBreaker {
    type Held = ();

    fn hold(&self, _request: &Req) {}

    #[inline]
    fn machine<'a>(&'a self, (): &'a ()) -> &'a Machine {
        &self.machine
    }

    fn may_refuse(&self) -> bool {
        // Whether an open one has waited long enough is found out in the call, by the clock of the call.
        self.machine.word().state() == CircuitState::Open || self.machine.is_open_now(Instant::now)
    }
}

/// How machines are chosen, and whom they are told of.
#[derive(Clone, Debug)]
pub(super) struct Breaker<B> {
    pub(super) choice: B,
    pub(super) observer: Observer,
}

impl Breaker<OneBreaker> {
    pub(super) fn handle(&self) -> CircuitBreakerHandle {
        CircuitBreakerHandle::new(Arc::clone(&self.choice.machine), self.observer.clone())
    }
}

impl<B> Breaker<B> {
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

/// Tells what a call was counted as, and what came of it.
#[inline]
pub(super) fn count(observer: &Observer, machine: &Machine, Counted { result, transition }: Counted) {
    if let Some(result) = result {
        observer.emit(Event::BreakerCall { result });
    }
    tell(observer, machine, transition);
}

/// Tells of a transition, if there was one, whoever listens.
#[inline]
pub(super) fn tell(observer: &Observer, machine: &Machine, transition: Option<Transition>) {
    if let Some(transition) = transition {
        tell_of(observer, machine, transition);
    }
}

#[cold]
fn tell_of(observer: &Observer, machine: &Machine, Transition { from, to }: Transition) {
    observer.emit(Event::BreakerTransition { from, to });
    machine.wake_listeners();
}

pin_project! {
    /// The pass of a [`CircuitBreakerPolicy`].
    #[derive(Debug)]
    pub struct CircuitBreakerPass<P, H = ()> {
        stage: Stage,
        // `None` where nobody asks a breaker.
        held: Option<H>,
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

impl<I, B> Sealed for CircuitBreakerPolicy<I, B> {}

impl<I, B, S, Req> Lend<S, Req> for CircuitBreakerPolicy<I, B>
where
    I: Lend<S, Req>,
    B: Choice<Req>,
{
    type Pass = CircuitBreakerPass<I::Pass, B::Held>;

    fn pass(&self) -> Self::Pass {
        CircuitBreakerPass { stage: Stage::Outside, held: None, inner: self.inner.pass() }
    }

    fn begin(&self, pass: Pin<&mut Self::Pass>, parcel: &mut Parcel<Req>, course: &mut Course) {
        let pass = pass.project();
        if let Some(breaker) = &self.breaker {
            *pass.held = Some(breaker.choice.hold(parcel.request()));
            course.call.started();
        }
        self.inner.begin(pass.inner, parcel, course);
    }

    fn abandon(&self, pass: Pin<&mut Self::Pass>, course: &mut Course, ending: Ending, now: Instant) {
        let pass = pass.project();
        // What is dropped in there is somebody else's code: its panic goes on, and costs no probe.
        let inner = catch_unwind(AssertUnwindSafe(|| self.inner.abandon(pass.inner, course, ending, now)));
        if let (Some(breaker), Some(held), Stage::Admitted(admission)) =
            (&self.breaker, &*pass.held, mem::replace(pass.stage, Stage::Left))
        {
            let machine = breaker.choice.machine(held);
            count(&breaker.observer, machine, machine.abandon(admission, ending, now));
        }
        inner.unwrap_or_else(|panic| resume_unwind(panic));
    }
}

impl<I, B, S, Req> Policy<S, Req> for CircuitBreakerPolicy<I, B>
where
    I: Policy<S, Req>,
    B: Choice<Req>,
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
        let pass = pass.project();
        let (Some(breaker), Some(held)) = (&self.breaker, &*pass.held) else {
            return self.inner.poll(pass.inner, parcel, seat, cx, out);
        };
        let machine = breaker.choice.machine(held);
        if matches!(pass.stage, Stage::Outside) {
            // First the facts, then the telling: a sink may look at the breaker.
            let (admission, transition) = machine.admit(|| (cx.now(), cx.course.call.deadline));
            match admission {
                Ok(admission) => {
                    *pass.stage = Stage::Admitted(admission);
                    tell(&breaker.observer, machine, transition);
                }
                Err(denied) => {
                    *pass.stage = Stage::Left;
                    tell(&breaker.observer, machine, transition);
                    return out.put(Answer::rejected(breaker.reject(denied)));
                }
            }
        }
        let poll = self.inner.poll(pass.inner, parcel, seat, cx, out);
        if poll.is_ready() {
            if let Stage::Admitted(admission) = mem::replace(pass.stage, Stage::Left) {
                let now = cx.now();
                let call = &mut cx.course.call;
                let counted = if call.hurried {
                    machine.abandon(admission, Ending::Cancelled, now)
                } else {
                    // As it left the last queue of this side: what it waited there says nothing about the dependency.
                    let started = call.started();
                    let elapsed = || cx.since(started);
                    machine.record(admission, out.class(), elapsed, now)
                };
                count(&breaker.observer, machine, counted);
            }
        }
        poll
    }

    /// An open breaker answers without the service. When it lets the call through after all, because it has closed
    /// meanwhile, the service gets ready inside the call.
    fn poll_ready(&self, seat: &mut Seat<S>, cx: &mut Context<'_>) -> Poll<Result<(), BoxError>> {
        match &self.breaker {
            Some(breaker) if breaker.choice.may_refuse() => Poll::Ready(Ok(())),
            _ => self.inner.poll_ready(seat, cx),
        }
    }
}
