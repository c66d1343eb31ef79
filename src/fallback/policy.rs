use std::{
    pin::Pin,
    task::{Context, Poll, ready},
};

use tokio::time::Instant;

use super::{AnsweringAsync, Why, later::Answered};
use crate::{
    call::Call,
    class::{Class, Ending},
    error::BoxError,
    event::{Event, Outcome},
    observer::Observer,
    policy::{Answer, Lend, Policy, Poller, Seat, sealed::Sealed},
};

/// A fallback that a closure answers.
#[derive(Clone, Copy, Debug)]
pub struct Answering<G>(pub(crate) G);

/// No fallback, said aloud: a failure stays a failure.
#[derive(Clone, Copy, Debug)]
pub struct NoFallback;

/// The policy of a [`FallbackLayer`](super::FallbackLayer).
#[derive(Clone, Debug)]
pub struct FallbackPolicy<F, I> {
    pub(super) fallback: F,
    pub(super) observer: Observer,
    inner: I,
}

impl<F, I> FallbackPolicy<F, I> {
    pub(crate) fn new(fallback: F, observer: Observer, inner: I) -> Self {
        Self { fallback, observer, inner }
    }
}

impl<F, I> Sealed for FallbackPolicy<F, I> {}

impl<F, I, S, Req> Lend<S, Req> for FallbackPolicy<F, I>
where
    F: FallbackKind,
    I: Lend<S, Req>,
{
    type Pass = F::Pass<I::Pass>;

    fn start(&self, call: Call, request: Req) -> Self::Pass {
        self.fallback.begin(call, |call| self.inner.start(call, request))
    }

    fn abandon(&self, pass: Pin<&mut Self::Pass>, ending: Ending, now: Instant) {
        if let Some(inner) = F::inner(pass) {
            self.inner.abandon(inner, ending, now);
        }
    }
}

impl<G, I, S, Req> Policy<S, Req> for FallbackPolicy<Answering<G>, I>
where
    I: Policy<S, Req>,
    G: Fn(Why) -> Result<I::Response, BoxError>,
{
    type Response = I::Response;

    fn poll(
        &self,
        pass: Pin<&mut Self::Pass>,
        seat: &mut Seat<S>,
        cx: &mut Poller<'_, '_>,
    ) -> Poll<Answer<Self::Response>> {
        let answer = ready!(self.inner.poll(pass, seat, cx));
        Poll::Ready(if answer.class.wants_fallback() {
            serve(answer, &self.fallback.0, &self.observer)
        } else {
            answer
        })
    }

    fn poll_ready(&self, seat: &mut Seat<S>, cx: &mut Context<'_>) -> Poll<Result<(), BoxError>> {
        self.inner.poll_ready(seat, cx)
    }
}

impl<G, Fut, I, S, Req> Policy<S, Req> for FallbackPolicy<AnsweringAsync<G, Fut>, I>
where
    I: Policy<S, Req>,
    G: Fn(Why) -> Fut,
    Fut: Future<Output = Result<I::Response, BoxError>>,
{
    type Response = I::Response;

    fn poll(
        &self,
        pass: Pin<&mut Self::Pass>,
        seat: &mut Seat<S>,
        cx: &mut Poller<'_, '_>,
    ) -> Poll<Answer<Self::Response>> {
        let inner = |inner: Pin<&mut I::Pass>, cx: &mut Poller<'_, '_>| self.inner.poll(inner, seat, cx);
        match ready!(self.fallback.poll(pass, inner, &self.observer, cx)) {
            Answered::ByDependency(answer) | Answered::ByFallback(answer) => Poll::Ready(answer),
        }
    }

    fn poll_ready(&self, seat: &mut Seat<S>, cx: &mut Context<'_>) -> Poll<Result<(), BoxError>> {
        self.inner.poll_ready(seat, cx)
    }
}

impl<I, S, Req> Policy<S, Req> for FallbackPolicy<NoFallback, I>
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
        self.inner.poll(pass, seat, cx)
    }

    fn poll_ready(&self, seat: &mut Seat<S>, cx: &mut Context<'_>) -> Poll<Result<(), BoxError>> {
        self.inner.poll_ready(seat, cx)
    }
}

/// What a kind of fallback adds to the pass of what it wraps.
pub trait FallbackKind: Sealed {
    /// The pass.
    type Pass<P>;

    /// Makes the pass.
    fn begin<P>(&self, call: Call, inner: impl FnOnce(Call) -> P) -> Self::Pass<P>;

    /// The pass of what it wraps, as long as there is one.
    fn inner<P>(pass: Pin<&mut Self::Pass<P>>) -> Option<Pin<&mut P>>;
}

impl<G> Sealed for Answering<G> {}
impl<G> FallbackKind for Answering<G> {
    type Pass<P> = P;

    fn begin<P>(&self, call: Call, inner: impl FnOnce(Call) -> P) -> P {
        inner(call)
    }

    fn inner<P>(pass: Pin<&mut P>) -> Option<Pin<&mut P>> {
        Some(pass)
    }
}

impl Sealed for NoFallback {}
impl FallbackKind for NoFallback {
    type Pass<P> = P;

    fn begin<P>(&self, call: Call, inner: impl FnOnce(Call) -> P) -> P {
        inner(call)
    }

    fn inner<P>(pass: Pin<&mut P>) -> Option<Pin<&mut P>> {
        Some(pass)
    }
}

/// Puts the answer of `fallback` in the place of a failed one.
pub(crate) fn serve<T, U>(
    failed: Answer<T>,
    fallback: impl FnOnce(Why) -> Result<U, BoxError>,
    observer: &Observer,
) -> Answer<U> {
    let Answer { result, class, outcome, .. } = failed;
    let result = fallback(Why::new(class, result.err()));
    served(result, class, outcome, observer)
}

/// The answer of a fallback in the place of a failed one, which was of this class.
pub(super) fn served<U>(
    result: Result<U, BoxError>,
    class: Class,
    outcome: Outcome,
    observer: &Observer,
) -> Answer<U> {
    observer.emit(Event::Fallback { served: result.is_ok() });
    match result {
        Ok(response) => Answer::new(Ok(response), Class::Success, Outcome::Degraded),
        Err(error) => Answer::new(Err(error), class, outcome),
    }
}
