use std::{
    pin::Pin,
    task::{Context, Poll, ready},
};

use tokio::time::Instant;

use super::Why;
use crate::{
    call::Call,
    class::{Class, Ending},
    error::BoxError,
    event::{Event, Observer, Outcome},
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
    I: Lend<S, Req>,
{
    type Pass = I::Pass;

    fn start(&self, call: Call, request: Req) -> Self::Pass {
        self.inner.start(call, request)
    }

    fn abandon(&self, pass: Pin<&mut Self::Pass>, ending: Ending, now: Instant) {
        self.inner.abandon(pass, ending, now);
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

/// Puts the answer of `fallback` in the place of a failed one.
pub(crate) fn serve<T, U>(
    failed: Answer<T>,
    fallback: impl FnOnce(Why) -> Result<U, BoxError>,
    observer: &Observer,
) -> Answer<U> {
    let Answer { result, class, outcome, .. } = failed;
    let result = fallback(Why::new(class, result.err()));
    observer.emit(Event::Fallback { served: result.is_ok() });
    match result {
        Ok(response) => Answer::new(Ok(response), Class::Success, Outcome::Degraded),
        Err(error) => Answer::new(Err(error), class, outcome),
    }
}
