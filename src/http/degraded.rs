use std::{
    pin::Pin,
    task::{Context, Poll},
};

use http::Response;
use tokio::time::Instant;

use crate::{
    call::Call,
    class::Ending,
    error::BoxError,
    event::Outcome,
    policy::{Answer, Policy, Poller, Seat, sealed::Sealed},
};

/// Stands in the extensions of a response that a fallback gave.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Degraded;

/// Marks the responses of a fallback as [`Degraded`].
#[derive(Clone, Copy, Debug)]
pub struct MarkDegradedPolicy<I> {
    inner: I,
}

impl<I> MarkDegradedPolicy<I> {
    pub(crate) fn new(inner: I) -> Self {
        Self { inner }
    }
}

impl<I> Sealed for MarkDegradedPolicy<I> {}

impl<I, S, Req, B> Policy<S, Req> for MarkDegradedPolicy<I>
where
    I: Policy<S, Req, Response = Response<B>>,
{
    type Response = Response<B>;
    type Pass = I::Pass;

    fn start(&self, call: Call, request: Req) -> Self::Pass {
        self.inner.start(call, request)
    }

    fn poll(
        &self,
        pass: Pin<&mut Self::Pass>,
        seat: &mut Seat<S>,
        cx: &mut Poller<'_, '_>,
    ) -> Poll<Answer<Self::Response>> {
        self.inner.poll(pass, seat, cx).map(|mut answer| {
            if let (Outcome::Degraded, Ok(response)) = (answer.outcome, &mut answer.result) {
                response.extensions_mut().insert(Degraded);
            }
            answer
        })
    }

    fn abandon(&self, pass: Pin<&mut Self::Pass>, ending: Ending, now: Instant) {
        self.inner.abandon(pass, ending, now);
    }

    fn poll_ready(&self, seat: &mut Seat<S>, cx: &mut Context<'_>) -> Poll<Result<(), BoxError>> {
        self.inner.poll_ready(seat, cx)
    }
}
