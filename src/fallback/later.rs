use std::{
    fmt,
    marker::PhantomData,
    pin::Pin,
    task::{Poll, ready},
    time::Duration,
};

use pin_project_lite::pin_project;
use tokio::time::Instant;

use super::{
    Why,
    policy::{FallbackKind, served},
};
use crate::{
    call::{Call, Deadline, later},
    class::Class,
    error::{BoxError, Reason, Rejected},
    event::{Event, Outcome},
    observer::Observer,
    policy::{Answer, Poller, sealed::Sealed},
    timer::Timer,
};

/// A fallback that takes its time: a future answers.
pub struct AnsweringAsync<G, Fut> {
    answer: G,
    /// The limit of the whole call, the fallback included; `None` when only the work in hand has one.
    limit: Option<Duration>,
    _future: PhantomData<fn() -> Fut>,
}

/// Whose answer it is.
pub(crate) enum Answered<T, U> {
    ByDependency(Answer<T>),
    ByFallback(Answer<U>),
}

impl<G, Fut> AnsweringAsync<G, Fut> {
    pub(crate) fn new(answer: G) -> Self {
        Self { answer, limit: None, _future: PhantomData }
    }

    pub(crate) fn within(self, limit: Duration) -> Self {
        Self { limit: Some(limit), ..self }
    }

    /// Drives the call to its answer, the dependency's or the fallback's.
    pub(crate) fn poll<P, T, U>(
        &self,
        pass: Pin<&mut AsyncPass<P, Fut>>,
        inner: impl FnOnce(Pin<&mut P>, &mut Poller<'_, '_>) -> Poll<Answer<T>>,
        observer: &Observer,
        cx: &mut Poller<'_, '_>,
    ) -> Poll<Answered<T, U>>
    where
        G: Fn(Why) -> Fut,
        Fut: Future<Output = Result<U, BoxError>>,
    {
        let mut pass = pass.project();
        let deadline = *pass.deadline;
        if let Some(waiting) = pass.inner.as_mut().as_pin_mut() {
            let answer = ready!(inner(waiting, cx));
            if !answer.class.wants_fallback() {
                return Poll::Ready(Answered::ByDependency(answer));
            }
            // What the call holds goes before the fallback begins: a failed response may hold a connection.
            pass.inner.set(None);
            let Answer { result, class, outcome, .. } = answer;
            *pass.failed = (class, outcome);
            let why = Why::new(class, result.err());
            pass.answer.set(Some(within(deadline, || (self.answer)(why))));
        }
        let answer = pass.answer.as_mut().as_pin_mut().expect("the fallback was asked above or before");
        let (class, outcome) = *pass.failed;
        if let Poll::Ready(result) = within(deadline, || answer.poll(cx.task)) {
            return Poll::Ready(Answered::ByFallback(served(result, class, outcome, observer)));
        }
        let Some(deadline) = deadline else { return Poll::Pending };
        ready!(pass.timer.poll_until(deadline, cx.task));
        pass.answer.set(None);
        observer.emit(Event::TimedOut { reason: Reason::DeadlineExceeded });
        observer.emit(Event::Fallback { served: false });
        let rejected = Rejected::new(observer.name(), Reason::DeadlineExceeded);
        Poll::Ready(Answered::ByFallback(Answer::rejected(rejected)))
    }
}

/// Does a piece of work that sees this deadline as its own.
fn within<T>(deadline: Option<Instant>, work: impl FnOnce() -> T) -> T {
    match deadline {
        Some(deadline) => Deadline::at(deadline).enter(work),
        None => work(),
    }
}

pin_project! {
    /// The pass of a fallback that takes its time.
    #[derive(Debug)]
    pub struct AsyncPass<P, Fut> {
        deadline: Option<Instant>,
        // How the call failed that the fallback answers.
        failed: (Class, Outcome),
        #[pin]
        timer: Timer,
        #[pin]
        inner: Option<P>,
        #[pin]
        answer: Option<Fut>,
    }
}

impl<G, Fut> Sealed for AnsweringAsync<G, Fut> {}
impl<G, Fut> FallbackKind for AnsweringAsync<G, Fut> {
    type Pass<P> = AsyncPass<P, Fut>;

    fn begin<P>(&self, call: Call, inner: impl FnOnce(Call) -> P) -> Self::Pass<P> {
        let own = self.limit.map(|limit| later(call.started, limit));
        AsyncPass {
            deadline: own.into_iter().chain(call.deadline).min(),
            failed: (Class::Neutral, Outcome::Rejected),
            timer: Timer::new(),
            inner: Some(inner(call)),
            answer: None,
        }
    }

    fn inner<P>(pass: Pin<&mut Self::Pass<P>>) -> Option<Pin<&mut P>> {
        pass.project().inner.as_pin_mut()
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
