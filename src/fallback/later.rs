use std::{
    fmt,
    marker::PhantomData,
    pin::Pin,
    task::{Poll, ready},
    time::Duration,
};

use pin_project_lite::pin_project;
use tokio::time::Instant;

use super::{Answers, End, Failed, FallbackKind, Join, Kind, Why, kind::Verdict};
use crate::{
    call::{Deadline, later},
    error::{BoxError, Reason, Rejected},
    event::Event,
    observer::Observer,
    policy::{Answer, Course, Poller, Slot, sealed::Sealed},
    timer::Timer,
};

/// A fallback that takes its time: a future answers.
pub struct AnsweringAsync<G, Fut> {
    answer: G,
    limit: Option<Duration>,
    _future: PhantomData<fn() -> Fut>,
}

impl<G, Fut> AnsweringAsync<G, Fut> {
    pub(crate) fn new(answer: G) -> Self {
        Self { answer, limit: None, _future: PhantomData }
    }
}

impl<G, Fut> Sealed for AnsweringAsync<G, Fut> {}
impl<G, Fut> Kind for AnsweringAsync<G, Fut> {
    fn within(self, limit: Duration) -> Self {
        Self { limit: Some(limit), ..self }
    }
}

impl<G, Fut, Req> FallbackKind<Req> for AnsweringAsync<G, Fut> {
    type Pass<P> = AsyncPass<P, Fut>;

    fn pass<P>(inner: P) -> Self::Pass<P> {
        AsyncPass::new(inner)
    }

    fn begin<P>(&self, pass: Pin<&mut Self::Pass<P>>, _request: &Req, course: &mut Course) {
        pass.begin(self.limit, course);
    }

    fn inner<P>(pass: Pin<&mut Self::Pass<P>>) -> Option<Pin<&mut P>> {
        pass.inner()
    }
}

impl<G, Fut, Req, T, U, J> Answers<Req, T, J> for AnsweringAsync<G, Fut>
where
    G: Fn(Why) -> Fut,
    Fut: Future<Output = Result<U, BoxError>>,
    J: Join<T, U>,
{
    type Response = J::Joined;

    fn poll<P>(
        &self,
        pass: Pin<&mut Self::Pass<P>>,
        inner: impl FnOnce(Pin<&mut P>, &mut Poller<'_, '_>, &mut Slot<T>) -> Poll<End<T>>,
        observer: &Observer,
        cx: &mut Poller<'_, '_>,
        out: &mut Slot<J::Joined>,
    ) -> Poll<()> {
        let ask = |failed: Failed<T>| {
            let (why, verdict) = failed.into_why();
            Ok(((self.answer)(why), verdict))
        };
        pass.poll::<_, _, _, J>(inner, ask, observer, cx, out)
    }
}

impl<G: Clone, Fut> Clone for AnsweringAsync<G, Fut> {
    fn clone(&self) -> Self {
        Self { answer: self.answer.clone(), limit: self.limit, _future: PhantomData }
    }
}

impl<G, Fut> fmt::Debug for AnsweringAsync<G, Fut> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("AnsweringAsync").field("limit", &self.limit).finish_non_exhaustive()
    }
}

pin_project! {
    /// The pass of a fallback that takes its time.
    #[derive(Debug)]
    pub struct AsyncPass<P, Fut> {
        deadline: Option<Instant>,
        // What was said of the answer that the fallback replaces, once it was asked.
        verdict: Option<Verdict>,
        #[pin]
        timer: Timer,
        #[pin]
        inner: Option<P>,
        #[pin]
        answer: Option<Fut>,
    }
}

impl<P, Fut> AsyncPass<P, Fut> {
    pub(super) fn new(inner: P) -> Self {
        Self { deadline: None, verdict: None, timer: Timer::new(), inner: Some(inner), answer: None }
    }

    /// A call begins that has this limit, the fallback included, or only that of the work in hand.
    pub(super) fn begin(self: Pin<&mut Self>, limit: Option<Duration>, course: &mut Course) {
        let own = limit.map(|limit| later(course.call.started(), limit));
        *self.project().deadline = own.into_iter().chain(course.call.deadline).min();
        course.call.keep_reserve();
    }

    pub(super) fn inner(self: Pin<&mut Self>) -> Option<Pin<&mut P>> {
        self.project().inner.as_pin_mut()
    }

    /// Drives the call to its answer. `ask` gives the future that answers in the place of a failure, or the failure back.
    pub(super) fn poll<T, U, E, J>(
        self: Pin<&mut Self>,
        inner: impl FnOnce(Pin<&mut P>, &mut Poller<'_, '_>, &mut Slot<T>) -> Poll<End<T>>,
        ask: impl FnOnce(Failed<T>) -> Result<(Fut, Verdict), Answer<T>>,
        observer: &Observer,
        cx: &mut Poller<'_, '_>,
        out: &mut Slot<J::Joined>,
    ) -> Poll<()>
    where
        Fut: Future<Output = Result<U, E>>,
        E: Into<BoxError>,
        J: Join<T, U>,
    {
        let mut pass = self.project();
        let deadline = *pass.deadline;
        if let Some(waiting) = pass.inner.as_mut().as_pin_mut() {
            let failed = match ready!(J::poll_into(out, |slot| inner(waiting, cx, slot))) {
                End::Stands => return Poll::Ready(()),
                End::Failed(failed) => failed,
            };
            // What the call holds goes before the fallback begins.
            pass.inner.set(None);
            match within(deadline, || ask(failed)) {
                Ok((answer, verdict)) => {
                    pass.answer.set(Some(answer));
                    *pass.verdict = Some(verdict);
                }
                Err(answer) => return out.put(answer.map(J::of_dependency)),
            }
        }
        let answer = pass.answer.as_mut().as_pin_mut().expect("the fallback was asked above or before");
        if let Poll::Ready(result) = within(deadline, || answer.poll(cx.task)) {
            let verdict = pass.verdict.expect("it was kept when the fallback was asked");
            let answer = verdict.replaced(result.map_err(Into::into), observer);
            return out.put(answer.map(J::of_fallback));
        }
        let Some(deadline) = deadline else { return Poll::Pending };
        ready!(pass.timer.poll_until(deadline, cx.task));
        pass.answer.set(None);
        observer.emit(Event::TimedOut { reason: Reason::DeadlineExceeded });
        observer.emit(Event::Fallback { served: false });
        out.put(Answer::rejected(Rejected::new(observer.name(), Reason::DeadlineExceeded)))
    }
}

/// Does a piece of work that sees this deadline as its own.
fn within<T>(deadline: Option<Instant>, work: impl FnOnce() -> T) -> T {
    match deadline {
        Some(deadline) => Deadline::at(deadline).enter(work),
        None => work(),
    }
}
