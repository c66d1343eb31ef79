use std::{
    fmt,
    panic::{AssertUnwindSafe, catch_unwind, resume_unwind},
    pin::Pin,
    task::{Context, Poll, ready},
};

use futures::future::BoxFuture;
use pin_project_lite::pin_project;
use tokio::time::Instant;

use super::{Faults, Look, arming::Suffering, fault::Effect, injected::Injected};
use crate::{
    call::Call,
    class::Ending,
    error::BoxError,
    observer::Observer,
    policy::{Answer, Lend, Policy, Poller, Seat, sealed::Sealed},
};

/// How requests come in that may be delivered twice.
pub trait Receive<Req>: Look<Req> {
    /// A request, as it is delivered.
    type Received;

    #[doc(hidden)]
    fn receive(&self, request: Req) -> Self::Received;
}

/// How the second copy of a request is made.
pub trait Duplicate<Req>: Receive<Req> {
    /// The request, and its copy if it can be copied.
    #[doc(hidden)]
    fn duplicate(&self, request: Req) -> BoxFuture<'static, (Self::Received, Option<Self::Received>)>;
}

/// Requests that are copied by their `Clone`: messages.
#[derive(Clone, Copy, Debug, Default)]
pub struct ByClone;

impl Sealed for ByClone {}

impl<Req> Look<Req> for ByClone {
    fn look<T>(&self, request: &Req, see: impl FnOnce(&dyn super::Subject) -> T) -> T {
        super::Unseen.look(request, see)
    }
}

impl<Req> Receive<Req> for ByClone {
    type Received = Req;

    fn receive(&self, request: Req) -> Req {
        request
    }
}

impl<Req: Clone + Send + 'static> Duplicate<Req> for ByClone {
    fn duplicate(&self, request: Req) -> BoxFuture<'static, (Req, Option<Req>)> {
        let copy = request.clone();
        Box::pin(std::future::ready((request, Some(copy))))
    }
}

/// Delivers a call twice when a [`Fault::duplicate`](super::Fault::duplicate) hits it.
#[derive(Debug)]
pub struct DuplicatePolicy<I, L> {
    faults: Faults,
    observer: Observer,
    look: L,
    inner: I,
}

impl<I, L> DuplicatePolicy<I, L> {
    pub(crate) fn new(faults: Faults, look: L, observer: Observer, inner: I) -> Self {
        Self { faults, observer, look, inner }
    }
}

pin_project! {
    /// The pass of a [`DuplicatePolicy`]: of a request `Req`, delivered as an `R`.
    pub struct DuplicatePass<P, Req, R, S> {
        #[pin]
        stage: Stage<P, Req, R, S>,
    }
}

pin_project! {
    #[project = StageProjection]
    enum Stage<P, Req, R, S> {
        /// It is delivered once.
        Once { #[pin] inner: P },
        /// It is meant to be delivered twice.
        Drawn { call: Call, request: Option<Req>, injected: Option<Box<Injected>> },
        /// In a box, as what follows: only a call that is hit pays for it.
        Copying { call: Call, copying: BoxFuture<'static, (R, Option<R>)>, injected: Option<Box<Injected>> },
        Twice { copies: Pin<Box<Copies<P, R, S>>> },
        Over,
    }
}

pin_project! {
    /// Both deliveries of a call.
    struct Copies<P, R, S> {
        call: Call,
        seat: Seat<S>,
        polled: Which,
        // Delivered once the first copy was answered.
        waiting: Option<R>,
        #[pin]
        first: Option<P>,
        #[pin]
        second: Option<P>,
        _suffering: Suffering,
    }
}

#[derive(Clone, Copy, PartialEq)]
enum Which {
    First,
    Second,
}

impl<I, L> Sealed for DuplicatePolicy<I, L> {}

impl<I, L, S, Req> Lend<S, Req> for DuplicatePolicy<I, L>
where
    L: Receive<Req>,
    I: Lend<S, L::Received>,
{
    type Pass = DuplicatePass<I::Pass, Req, L::Received, S>;

    #[inline]
    fn start(&self, call: Call, request: Req) -> Self::Pass {
        let injected = self.faults.draw(|hook| {
            self.look.look(&request, |subject| {
                hook.decide(self.observer.name(), &call, subject, |effect| {
                    matches!(effect, Effect::Duplicate { .. })
                })
            })
        });
        let stage = match injected {
            None => Stage::Once { inner: self.inner.start(call, self.look.receive(request)) },
            injected => Stage::Drawn { call, request: Some(request), injected },
        };
        DuplicatePass { stage }
    }

    fn abandon(&self, pass: Pin<&mut Self::Pass>, ending: Ending, now: Instant) {
        let mut stage = pass.project().stage;
        match stage.as_mut().project() {
            StageProjection::Once { inner } => self.inner.abandon(inner, ending, now),
            StageProjection::Twice { copies } => {
                let mut copies = copies.as_mut().project();
                // The copy that did not panic is merely dropped.
                let panicked = *copies.polled;
                let of = |which| if which == panicked { ending } else { Ending::Cancelled };
                // What is dropped in there is somebody else's code: the panic of one copy must not cost what the other holds.
                let first = catch_unwind(AssertUnwindSafe(|| {
                    if let Some(first) = copies.first.as_mut().as_pin_mut() {
                        self.inner.abandon(first, of(Which::First), now);
                    }
                }));
                if let Some(second) = copies.second.as_mut().as_pin_mut() {
                    self.inner.abandon(second, of(Which::Second), now);
                }
                first.unwrap_or_else(|panic| resume_unwind(panic));
            }
            StageProjection::Drawn { .. } | StageProjection::Copying { .. } | StageProjection::Over => {}
        }
    }
}

impl<I, L, S, Req> Policy<S, Req> for DuplicatePolicy<I, L>
where
    L: Duplicate<Req>,
    I: Policy<S, L::Received>,
    S: Clone,
{
    type Response = I::Response;

    fn poll(
        &self,
        pass: Pin<&mut Self::Pass>,
        seat: &mut Seat<S>,
        cx: &mut Poller<'_, '_>,
    ) -> Poll<Answer<Self::Response>> {
        let mut stage = pass.project().stage;
        loop {
            match stage.as_mut().project() {
                StageProjection::Once { inner } => return self.inner.poll(inner, seat, cx),
                StageProjection::Drawn { call, request, injected } => {
                    let request = request.take().expect("it is there until it is delivered");
                    let copying = self.look.duplicate(request);
                    let (call, injected) = (*call, injected.take());
                    stage.set(Stage::Copying { call, copying, injected });
                }
                StageProjection::Copying { call, copying, injected } => {
                    let (request, copy) = ready!(copying.as_mut().poll(cx.task));
                    let now = cx.now();
                    let call = Call { started: now, ..*call };
                    let taken = copy.and_then(|copy| Some((copy, injected.take()?.take(now)?)));
                    let next = match taken {
                        None => Stage::Once { inner: self.inner.start(call, request) },
                        Some((copy, suffering)) => {
                            self.observer.emit(suffering.from().injected());
                            let copies = self.copies(call, request, copy, seat, suffering);
                            Stage::Twice { copies: Box::pin(copies) }
                        }
                    };
                    stage.set(next);
                }
                StageProjection::Twice { copies } => {
                    let answer = ready!(self.poll_copies(copies.as_mut(), seat, cx));
                    stage.set(Stage::Over);
                    return Poll::Ready(answer);
                }
                StageProjection::Over => unreachable!("it is polled until it has answered"),
            }
        }
    }

    fn poll_ready(&self, seat: &mut Seat<S>, cx: &mut Context<'_>) -> Poll<Result<(), BoxError>> {
        self.inner.poll_ready(seat, cx)
    }
}

impl<I, L> DuplicatePolicy<I, L> {
    fn copies<S: Clone, R>(
        &self,
        call: Call,
        request: R,
        copy: R,
        seat: &Seat<S>,
        suffering: Suffering,
    ) -> Copies<I::Pass, R, S>
    where
        I: Lend<S, R>,
    {
        let first = Some(self.inner.start(call, request));
        let (second, waiting) = match suffering.from().fault.effect {
            Effect::Duplicate { at_once: true } => (Some(self.inner.start(call, copy)), None),
            _ => (None, Some(copy)),
        };
        let seat = seat.another();
        Copies { call, seat, polled: Which::First, waiting, first, second, _suffering: suffering }
    }

    /// The answer of the copy that ends last.
    fn poll_copies<S: Clone, R>(
        &self,
        copies: Pin<&mut Copies<I::Pass, R, S>>,
        seat: &mut Seat<S>,
        cx: &mut Poller<'_, '_>,
    ) -> Poll<Answer<I::Response>>
    where
        I: Policy<S, R>,
    {
        let mut copies = copies.project();
        if let Some(first) = copies.first.as_mut().as_pin_mut() {
            *copies.polled = Which::First;
            if let Poll::Ready(answer) = self.inner.poll(first, seat, cx) {
                copies.first.set(None);
                match copies.waiting.take() {
                    Some(copy) => {
                        let call = Call { started: cx.now(), ..*copies.call };
                        copies.second.set(Some(self.inner.start(call, copy)));
                    }
                    None if copies.second.is_none() => return Poll::Ready(answer),
                    None => {}
                }
            }
        }
        if let Some(second) = copies.second.as_mut().as_pin_mut() {
            *copies.polled = Which::Second;
            let answer = ready!(self.inner.poll(second, copies.seat, cx));
            copies.second.set(None);
            if copies.first.is_none() {
                return Poll::Ready(answer);
            }
        }
        Poll::Pending
    }
}

impl<P, Req, R, S> fmt::Debug for DuplicatePass<P, Req, R, S> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("DuplicatePass").finish_non_exhaustive()
    }
}
