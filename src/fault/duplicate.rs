use std::{
    fmt, mem,
    panic::{AssertUnwindSafe, catch_unwind, resume_unwind},
    pin::Pin,
    task::{Context, Poll, ready},
};

use futures::future::BoxFuture;
use pin_project_lite::pin_project;
use tokio::time::Instant;

use super::{Faults, Look, arming::Suffering, fault::Effect, injected::Injected};
use crate::{
    class::Ending,
    error::BoxError,
    observer::Observer,
    policy::{Course, Lend, Parcel, Policy, Poller, Seat, Slot, sealed::Sealed},
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
    /// The pass of a [`DuplicatePolicy`], for a request that is delivered as an `R`.
    #[project = DuplicateProjection]
    pub struct DuplicatePass<P, R, S> {
        stage: Stage<R>,
        parcel: Parcel<R>,
        answered: bool,
        // In a box, as all that a call needs which is hit: the others pay for a pointer.
        second: Option<Pin<Box<Second<P, R, S>>>>,
        // The one delivery of most calls.
        #[pin]
        first: P,
    }
}

enum Stage<R> {
    /// It is delivered, once or twice.
    Delivered,
    /// It is meant to be delivered twice.
    Drawn(Option<Box<Injected>>),
    Copying(BoxFuture<'static, (R, Option<R>)>, Option<Box<Injected>>),
}

pin_project! {
    /// The second delivery, with a service of its own.
    #[project = SecondProjection]
    struct Second<P, R, S> {
        seat: Seat<S>,
        parcel: Parcel<R>,
        course: Course,
        progress: Progress,
        _suffering: Suffering,
        #[pin]
        pass: P,
    }
}

#[derive(Clone, Copy, PartialEq)]
enum Progress {
    /// It is delivered once the first copy was answered.
    Waiting,
    /// It is delivered with the next poll.
    Due,
    Begun,
    /// Inside a poll; found by `abandon` only when that poll unwinds.
    Polling,
    Answered,
}

impl<I, L> Sealed for DuplicatePolicy<I, L> {}

impl<I, L, S, Req> Lend<S, Req> for DuplicatePolicy<I, L>
where
    L: Receive<Req>,
    I: Lend<S, L::Received>,
{
    type Pass = DuplicatePass<I::Pass, L::Received, S>;

    fn pass(&self) -> Self::Pass {
        let (parcel, first) = (Parcel::EMPTY, self.inner.pass());
        DuplicatePass { stage: Stage::Delivered, parcel, answered: false, second: None, first }
    }

    #[inline]
    fn begin(&self, pass: Pin<&mut Self::Pass>, parcel: &mut Parcel<Req>, course: &mut Course) {
        let pass = pass.project();
        let injected = self.faults.draw(|hook| {
            self.look.look(parcel.request(), |subject| {
                hook.decide(self.observer.name(), &course.call, subject, |effect| {
                    matches!(effect, Effect::Duplicate { .. })
                })
            })
        });
        if let Some(injected) = injected {
            *pass.stage = Stage::Drawn(Some(injected));
        } else {
            pass.parcel.put(self.look.receive(parcel.take()));
            self.inner.begin(pass.first, pass.parcel, course);
        }
    }

    fn abandon(&self, pass: Pin<&mut Self::Pass>, course: &mut Course, ending: Ending, now: Instant) {
        let pass = pass.project();
        let second = pass.second.take();
        let second_panicked = second.as_ref().is_some_and(|second| second.progress == Progress::Polling);
        // The copy that did not panic is merely dropped.
        let of = |panicked| if panicked { ending } else { Ending::Cancelled };
        // What is dropped in there is somebody else's code: the panic of one copy must not cost what the other holds.
        let first = catch_unwind(AssertUnwindSafe(|| {
            self.inner.abandon(pass.first, course, of(!second_panicked), now);
        }));
        if let Some(mut second) = second {
            let second = second.as_mut().project();
            self.inner.abandon(second.pass, second.course, of(second_panicked), now);
        }
        first.unwrap_or_else(|panic| resume_unwind(panic));
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
        parcel: &mut Parcel<Req>,
        seat: &mut Seat<S>,
        cx: &mut Poller<'_, '_>,
        out: &mut Slot<Self::Response>,
    ) -> Poll<()> {
        let mut pass = pass.project();
        if !matches!(pass.stage, Stage::Delivered) {
            ready!(self.poll_copying(&mut pass, parcel, seat, cx));
        }
        if pass.second.is_some() {
            return self.poll_both(pass, seat, cx, out);
        }
        self.inner.poll(pass.first, pass.parcel, seat, cx, out)
    }

    fn poll_ready(&self, seat: &mut Seat<S>, cx: &mut Context<'_>) -> Poll<Result<(), BoxError>> {
        self.inner.poll_ready(seat, cx)
    }
}

impl<I, L> DuplicatePolicy<I, L> {
    /// Ready once the call is delivered, twice if its request could be copied.
    fn poll_copying<S, Req>(
        &self,
        pass: &mut DuplicateProjection<'_, I::Pass, L::Received, S>,
        parcel: &mut Parcel<Req>,
        seat: &Seat<S>,
        cx: &mut Poller<'_, '_>,
    ) -> Poll<()>
    where
        L: Duplicate<Req>,
        I: Lend<S, L::Received>,
        S: Clone,
    {
        if let Stage::Drawn(injected) = pass.stage {
            let copying = self.look.duplicate(parcel.take());
            *pass.stage = Stage::Copying(copying, injected.take());
        }
        let Stage::Copying(copying, injected) = pass.stage else { return Poll::Ready(()) };
        let (request, copy) = ready!(copying.as_mut().poll(cx.task));
        let now = cx.now();
        cx.course.call.start_at(now);
        if let Some((copy, suffering)) = copy.and_then(|copy| Some((copy, injected.take()?.take(now)?))) {
            let injected = suffering.from();
            injected.tell(&self.observer, cx.course);
            let progress = match injected.fault.effect {
                Effect::Duplicate { at_once: true } => Progress::Due,
                _ => Progress::Waiting,
            };
            *pass.second = Some(Box::pin(Second {
                seat: seat.another(),
                parcel: Parcel::new(copy),
                course: Course::new(cx.course.call),
                progress,
                _suffering: suffering,
                pass: self.inner.pass(),
            }));
        }
        *pass.stage = Stage::Delivered;
        pass.parcel.put(request);
        self.inner.begin(pass.first.as_mut(), pass.parcel, cx.course);
        Poll::Ready(())
    }

    /// The answer of the copy that ends last.
    fn poll_both<S, R>(
        &self,
        mut pass: DuplicateProjection<'_, I::Pass, R, S>,
        seat: &mut Seat<S>,
        cx: &mut Poller<'_, '_>,
        out: &mut Slot<I::Response>,
    ) -> Poll<()>
    where
        I: Policy<S, R>,
    {
        let second = pass.second.as_mut().expect("there are two copies").as_mut().project();
        if !*pass.answered {
            match self.inner.poll(pass.first.as_mut(), pass.parcel, seat, cx, out) {
                Poll::Ready(()) if *second.progress == Progress::Answered => {
                    *pass.second = None;
                    return Poll::Ready(());
                }
                Poll::Ready(()) => {
                    drop(out.take());
                    *pass.answered = true;
                }
                Poll::Pending if *second.progress == Progress::Waiting => return Poll::Pending,
                Poll::Pending => {}
            }
        }
        let SecondProjection { seat, parcel, course, progress, pass: mut inner, .. } = second;
        match mem::replace(progress, Progress::Polling) {
            Progress::Answered => {
                *progress = Progress::Answered;
                return Poll::Pending;
            }
            Progress::Waiting | Progress::Due => {
                course.call.start_at(cx.now());
                self.inner.begin(inner.as_mut(), parcel, course);
            }
            Progress::Begun | Progress::Polling => {}
        }
        let poll = cx.along(course, |cx| self.inner.poll(inner, parcel, seat, cx, out));
        *progress = if poll.is_ready() { Progress::Answered } else { Progress::Begun };
        ready!(poll);
        if *pass.answered {
            *pass.second = None;
            return Poll::Ready(());
        }
        drop(out.take());
        Poll::Pending
    }
}

impl<P, R, S> fmt::Debug for DuplicatePass<P, R, S> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("DuplicatePass").finish_non_exhaustive()
    }
}
