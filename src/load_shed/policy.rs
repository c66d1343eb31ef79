use std::{
    pin::Pin,
    sync::Arc,
    task::{Context, Poll},
};

use pin_project_lite::pin_project;
use tokio::time::Instant;

use super::machine::{Machine, ThrottleConfig};
use crate::{
    class::{Class, Ending},
    error::{BoxError, Reason, Rejected},
    event::Event,
    observer::Observer,
    policy::{Answer, Course, Lend, Parcel, Policy, Poller, Seat, Slot, sealed::Sealed},
};

/// The policy of a [`ThrottleLayer`](super::ThrottleLayer).
#[derive(Debug)]
pub struct ThrottlePolicy<I> {
    pub(super) config: ThrottleConfig,
    pub(super) observer: Observer,
    /// `None` when it is off.
    machine: Option<Arc<Machine>>,
    pub(super) inner: I,
}

impl<I> ThrottlePolicy<I> {
    pub(super) fn new(config: ThrottleConfig, observer: Observer, inner: I) -> Self {
        let machine = Arc::new(Machine::new(config, Instant::now()));
        Self { config, observer, machine: Some(machine), inner }
    }

    /// The same type without effect: it sends every call and counts none.
    pub(crate) fn off(observer: Observer, inner: I) -> Self {
        Self { config: ThrottleConfig::default(), observer, machine: None, inner }
    }

    /// The same throttle, which knows the same, round `inner`.
    pub(super) fn over<J>(&self, observer: Observer, inner: J) -> ThrottlePolicy<J> {
        ThrottlePolicy { config: self.config, observer, machine: self.machine.clone(), inner }
    }
}

impl<I> ThrottlePolicy<I> {
    fn poll_throttled<S, Req>(
        &self,
        machine: &Machine,
        pass: PassProjection<'_, I::Pass>,
        parcel: &mut Parcel<Req>,
        seat: &mut Seat<S>,
        cx: &mut Poller<'_, '_>,
        out: &mut Slot<I::Response>,
    ) -> Poll<()>
    where
        I: Policy<S, Req>,
    {
        if !*pass.admitted {
            if !machine.admit(cx.now()) {
                let reason = Reason::Throttled;
                self.observer.emit(Event::LoadShed { reason });
                return out.put(Answer::rejected(Rejected::new(self.observer.name(), reason)));
            }
            *pass.admitted = true;
        }
        let poll = self.inner.poll(pass.inner, parcel, seat, cx, out);
        if poll.is_ready() {
            if let Some(accepted) = accepted(out.class()) {
                machine.answered(accepted, cx.now());
            }
        }
        poll
    }
}

/// Whether the other side took the call on; `None` when it was not asked.
const fn accepted(class: Class) -> Option<bool> {
    match class {
        Class::Neutral => None,
        Class::Throttled { .. } | Class::Transient { retry_after: Some(_) } => Some(false),
        _ => Some(true),
    }
}

pin_project! {
    /// The pass of a [`ThrottlePolicy`].
    #[project = PassProjection]
    #[derive(Debug)]
    pub struct ThrottlePass<P> {
        admitted: bool,
        #[pin]
        inner: P,
    }
}

impl<I> Sealed for ThrottlePolicy<I> {}

impl<I, S, Req> Lend<S, Req> for ThrottlePolicy<I>
where
    I: Lend<S, Req>,
{
    type Pass = ThrottlePass<I::Pass>;

    fn pass(&self) -> Self::Pass {
        ThrottlePass { admitted: false, inner: self.inner.pass() }
    }

    fn begin(&self, pass: Pin<&mut Self::Pass>, parcel: &mut Parcel<Req>, course: &mut Course) {
        self.inner.begin(pass.project().inner, parcel, course);
    }

    fn abandon(&self, pass: Pin<&mut Self::Pass>, course: &mut Course, ending: Ending, now: Instant) {
        self.inner.abandon(pass.project().inner, course, ending, now);
    }
}

impl<I, S, Req> Policy<S, Req> for ThrottlePolicy<I>
where
    I: Policy<S, Req>,
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
        match &self.machine {
            Some(machine) => self.poll_throttled(machine, pass.project(), parcel, seat, cx, out),
            None => self.inner.poll(pass.project().inner, parcel, seat, cx, out),
        }
    }

    fn poll_ready(&self, seat: &mut Seat<S>, cx: &mut Context<'_>) -> Poll<Result<(), BoxError>> {
        self.inner.poll_ready(seat, cx)
    }
}
