use std::{
    pin::Pin,
    task::{Context, Poll, ready},
    time::Duration,
};

use pin_project_lite::pin_project;
use tokio::{sync::futures::OwnedNotified, time::Instant};

use super::{
    Faults,
    faults::{Effect, Injection},
};
use crate::{
    call::{Call, later},
    class::Ending,
    error::{BoxError, InjectedFault},
    event::Event,
    observer::Observer,
    policy::{Answer, Lend, Policy, Poller, Seat, sealed::Sealed},
    timer::Timer,
};

/// The policy of a [`FaultLayer`](super::FaultLayer).
#[derive(Clone, Debug)]
pub struct FaultPolicy<I> {
    pub(super) faults: Faults,
    pub(super) observer: Observer,
    inner: I,
}

impl<I> FaultPolicy<I> {
    pub(crate) fn new(faults: Faults, observer: Observer, inner: I) -> Self {
        Self { faults, observer, inner }
    }
}

pin_project! {
    /// The pass of a [`FaultPolicy`].
    #[derive(Debug)]
    pub struct FaultPass<P> {
        drawn: bool,
        held: Option<Pin<Box<Held>>>,
        #[pin]
        inner: P,
    }
}

pin_project! {
    /// A call on its way to the service, kept from it.
    #[derive(Debug)]
    struct Held {
        // `None`: for ever.
        until: Option<Instant>,
        #[pin]
        timer: Timer,
        #[pin]
        released: OwnedNotified,
    }
}

impl Held {
    fn new(delay: Option<Duration>, released: OwnedNotified, now: Instant) -> Pin<Box<Self>> {
        // A box, for only a call that is held pays for it: the others carry one pointer.
        Box::pin(Self { until: delay.map(|delay| later(now, delay)), timer: Timer::new(), released })
    }
}

impl Future for Held {
    type Output = ();

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<()> {
        let held = self.project();
        if held.released.poll(cx).is_ready() {
            return Poll::Ready(());
        }
        match *held.until {
            Some(until) => held.timer.poll_until(until, cx),
            None => Poll::Pending,
        }
    }
}

impl<I> Sealed for FaultPolicy<I> {}

impl<I, S, Req> Lend<S, Req> for FaultPolicy<I>
where
    I: Lend<S, Req>,
{
    type Pass = FaultPass<I::Pass>;

    fn start(&self, call: Call, request: Req) -> Self::Pass {
        FaultPass { drawn: false, held: None, inner: self.inner.start(call, request) }
    }

    fn abandon(&self, pass: Pin<&mut Self::Pass>, ending: Ending, now: Instant) {
        let pass = pass.project();
        *pass.held = None;
        self.inner.abandon(pass.inner, ending, now);
    }
}

impl<I, S, Req> Policy<S, Req> for FaultPolicy<I>
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
        if !*pass.drawn {
            *pass.drawn = true;
            if let Some(Injection { effect, released }) = self.faults.draw() {
                cx.reach();
                self.observer.emit(Event::FaultInjected { fault: effect.kind() });
                let delay = match effect {
                    Effect::Error(class) => {
                        let error = InjectedFault::new(class).into();
                        return Poll::Ready(Answer::judged(Err(error), class));
                    }
                    Effect::Latency(delay) => Some(delay),
                    Effect::Hang => None,
                };
                *pass.held = Some(Held::new(delay, released, cx.now()));
            }
        }
        if let Some(held) = pass.held {
            ready!(held.as_mut().poll(cx.task));
            *pass.held = None;
        }
        self.inner.poll(pass.inner, seat, cx)
    }

    fn poll_ready(&self, seat: &mut Seat<S>, cx: &mut Context<'_>) -> Poll<Result<(), BoxError>> {
        self.inner.poll_ready(seat, cx)
    }
}
