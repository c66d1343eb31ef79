use std::{
    pin::Pin,
    task::{Context, Poll, ready},
};

use http::Response;
use tokio::time::Instant;

use super::AnswerBody;
use crate::{
    call::Call,
    class::Ending,
    error::BoxError,
    event::Outcome,
    fallback::{Answered, Answering, AnsweringAsync, FallbackKind, NoFallback, Why, serve},
    observer::Observer,
    policy::{Answer, Lend, Policy, Poller, Seat, sealed::Sealed},
};

/// Stands in the extensions of a response that a fallback gave.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Degraded;

/// A fallback whose response may have another type of body than the transport's, and is marked as [`Degraded`].
#[derive(Clone, Debug)]
pub struct HttpFallbackPolicy<F, I> {
    fallback: F,
    observer: Observer,
    inner: I,
}

impl<F, I> HttpFallbackPolicy<F, I> {
    pub(crate) fn new(fallback: F, observer: Observer, inner: I) -> Self {
        Self { fallback, observer, inner }
    }
}

impl<F, I> Sealed for HttpFallbackPolicy<F, I> {}

impl<F, I, S, Req> Lend<S, Req> for HttpFallbackPolicy<F, I>
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

impl<G, I, S, Req, B, FB> Policy<S, Req> for HttpFallbackPolicy<Answering<G>, I>
where
    I: Policy<S, Req, Response = Response<B>>,
    G: Fn(Why) -> Result<Response<FB>, BoxError>,
{
    type Response = Response<AnswerBody<B, FB>>;

    fn poll(
        &self,
        pass: Pin<&mut Self::Pass>,
        seat: &mut Seat<S>,
        cx: &mut Poller<'_, '_>,
    ) -> Poll<Answer<Self::Response>> {
        let answer = ready!(self.inner.poll(pass, seat, cx));
        if !answer.class.wants_fallback() {
            return Poll::Ready(with_body(answer, AnswerBody::of_dependency));
        }
        Poll::Ready(degraded(serve(answer, &self.fallback.0, &self.observer)))
    }

    fn poll_ready(&self, seat: &mut Seat<S>, cx: &mut Context<'_>) -> Poll<Result<(), BoxError>> {
        self.inner.poll_ready(seat, cx)
    }
}

impl<G, Fut, I, S, Req, B, FB> Policy<S, Req> for HttpFallbackPolicy<AnsweringAsync<G, Fut>, I>
where
    I: Policy<S, Req, Response = Response<B>>,
    G: Fn(Why) -> Fut,
    Fut: Future<Output = Result<Response<FB>, BoxError>>,
{
    type Response = Response<AnswerBody<B, FB>>;

    fn poll(
        &self,
        pass: Pin<&mut Self::Pass>,
        seat: &mut Seat<S>,
        cx: &mut Poller<'_, '_>,
    ) -> Poll<Answer<Self::Response>> {
        let inner = |inner: Pin<&mut I::Pass>, cx: &mut Poller<'_, '_>| self.inner.poll(inner, seat, cx);
        Poll::Ready(match ready!(self.fallback.poll(pass, inner, &self.observer, cx)) {
            Answered::ByDependency(answer) => with_body(answer, AnswerBody::of_dependency),
            Answered::ByFallback(answer) => degraded(answer),
        })
    }

    fn poll_ready(&self, seat: &mut Seat<S>, cx: &mut Context<'_>) -> Poll<Result<(), BoxError>> {
        self.inner.poll_ready(seat, cx)
    }
}

impl<I, S, Req> Policy<S, Req> for HttpFallbackPolicy<NoFallback, I>
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

/// The answer of a fallback, marked as that.
fn degraded<B, FB>(mut answer: Answer<Response<FB>>) -> Answer<Response<AnswerBody<B, FB>>> {
    if let (Outcome::Degraded, Ok(response)) = (answer.outcome, &mut answer.result) {
        response.extensions_mut().insert(Degraded);
    }
    with_body(answer, AnswerBody::of_fallback)
}

/// The same verdict on a response with another body.
fn with_body<B, C>(answer: Answer<Response<B>>, body: impl FnOnce(B) -> C) -> Answer<Response<C>> {
    let Answer { result, class, outcome, .. } = answer;
    Answer::new(result.map(|response| response.map(body)), class, outcome)
}
