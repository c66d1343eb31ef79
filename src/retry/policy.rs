use std::{
    pin::Pin,
    task::{Context, Poll, ready},
    time::Duration,
};

use pin_project_lite::pin_project;
use tokio::time::Instant;

use super::config::{Failed, RetryConfig};
use crate::{
    budget::RetryBudget,
    call::{Call, later},
    class::{Class, Ending},
    error::BoxError,
    event::{Event, Observer, Outcome, RetryResult},
    policy::{Answer, Lend, Policy, Poller, Seat, sealed::Sealed},
    random::Random,
    repeat::Repeat,
    timer::Timer,
};

/// The policy of a [`RetryLayer`](super::RetryLayer).
#[derive(Debug)]
pub struct RetryPolicy<I> {
    enabled: bool,
    pub(super) config: RetryConfig,
    pub(super) observer: Observer,
    budget: RetryBudget,
    random: Random,
    pub(super) inner: I,
}

impl<I> RetryPolicy<I> {
    pub(crate) fn new(config: RetryConfig, observer: Observer, inner: I) -> Self {
        let budget = config.budget.clone().unwrap_or_default();
        let random = config.seed.map_or_else(Random::from_entropy, Random::seeded);
        Self { enabled: true, config, observer, budget, random, inner }
    }

    /// The same type without effect: every call is one attempt, and nothing is told.
    pub(crate) fn off(observer: Observer, inner: I) -> Self {
        let config = RetryConfig { attempts: 1, ..RetryConfig::default() };
        Self { enabled: false, ..Self::new(config, observer, inner) }
    }

    /// The same retries, paid from the same budget, round `inner`.
    pub(super) fn over<J>(&self, observer: Observer, inner: J) -> RetryPolicy<J> {
        let config = RetryConfig { budget: Some(self.budget.clone()), ..self.config.clone() };
        RetryPolicy::new(config, observer, inner)
    }

    /// Asks for the copy that the attempt after this one will need, if there may be one.
    fn spare<Req: Repeat>(&self, attempt: u32, request: &Req) -> Option<Req> {
        if attempt < self.config.attempts { request.again() } else { None }
    }

    /// The end of a call, with the answer that its caller gets.
    fn finish<T>(
        &self,
        answer: Answer<T>,
        result: RetryResult,
        earlier: &mut Option<Failure>,
    ) -> Poll<Answer<T>> {
        self.observer.emit(Event::RetryFinished { result });
        // A refusal on this side hides why the call failed: the dependency's own error says it.
        let hidden = if answer.class == Class::Neutral { earlier.take() } else { None };
        Poll::Ready(hidden.map_or(answer, Failure::into_answer))
    }
}

/// The error of an attempt that was followed by another.
#[derive(Debug)]
struct Failure {
    error: BoxError,
    class: Class,
    outcome: Outcome,
}

impl Failure {
    /// Keeps an error; a failed response is dropped, because it may hold a connection.
    fn of<T>(answer: Answer<T>) -> Option<Self> {
        let Answer { result, class, outcome, .. } = answer;
        result.err().map(|error| Self { error, class, outcome })
    }

    fn into_answer<T>(self) -> Answer<T> {
        Answer::new(Err(self.error), self.class, self.outcome)
    }
}

#[derive(Clone, Copy, Debug)]
enum Stage {
    /// The first attempt has not got as far as the service.
    Placed,
    /// An attempt is on its way.
    Trying,
    /// The next attempt starts then.
    Waiting(Instant),
}

pin_project! {
    /// The pass of a [`RetryPolicy`].
    #[derive(Debug)]
    pub struct RetryPass<P, Req> {
        call: Call,
        stage: Stage,
        delay: Duration,
        spare: Option<Req>,
        earlier: Option<Failure>,
        #[pin]
        timer: Timer,
        #[pin]
        inner: Option<P>,
    }
}

impl<I> Sealed for RetryPolicy<I> {}

impl<I, S, Req> Lend<S, Req> for RetryPolicy<I>
where
    I: Lend<S, Req>,
    Req: Repeat,
{
    type Pass = RetryPass<I::Pass, Req>;

    fn start(&self, call: Call, request: Req) -> Self::Pass {
        RetryPass {
            call,
            stage: Stage::Placed,
            delay: Duration::ZERO,
            spare: self.spare(call.attempt, &request),
            earlier: None,
            timer: Timer::new(),
            inner: Some(self.inner.start(call, request)),
        }
    }

    fn abandon(&self, pass: Pin<&mut Self::Pass>, ending: Ending, now: Instant) {
        if let Some(inner) = pass.project().inner.as_pin_mut() {
            self.inner.abandon(inner, ending, now);
        }
    }
}

impl<I, S, Req> Policy<S, Req> for RetryPolicy<I>
where
    I: Policy<S, Req>,
    S: Clone,
    Req: Repeat,
{
    type Response = I::Response;

    fn poll(
        &self,
        pass: Pin<&mut Self::Pass>,
        seat: &mut Seat<S>,
        cx: &mut Poller<'_, '_>,
    ) -> Poll<Answer<Self::Response>> {
        let mut pass = pass.project();
        if !self.enabled {
            let inner = pass.inner.as_pin_mut().expect("the only attempt was placed by `start`");
            return self.inner.poll(inner, seat, cx);
        }
        loop {
            match *pass.stage {
                Stage::Placed | Stage::Trying => {}
                Stage::Waiting(until) => {
                    ready!(pass.timer.as_mut().poll_until(until, cx.task));
                    pass.timer.as_mut().clear();
                    let request =
                        pass.spare.take().expect("a wait begins only with a request to send after it");
                    *pass.spare = self.spare(pass.call.attempt, &request);
                    let call = Call { started: cx.now(), ..*pass.call };
                    pass.inner.set(Some(self.inner.start(call, request)));
                    *pass.stage = Stage::Trying;
                }
            }

            let attempt = pass.call.attempt;
            let placed = matches!(pass.stage, Stage::Placed).then(|| cx.now());
            let inner = pass.inner.as_mut().as_pin_mut().expect("an attempt was started above or before");
            let poll = self.inner.poll(inner, seat, cx);
            if let (Some(now), true) = (placed, cx.reached()) {
                // Calls that are refused on this side earn nothing: the first seconds after an outage would be paid from
                // what an open circuit has turned away.
                self.budget.deposit(now);
                *pass.stage = Stage::Trying;
            }
            let answer = ready!(poll);
            if answer.class == Class::Success {
                let result = if attempt == 1 { RetryResult::First } else { RetryResult::Recovered };
                return self.finish(answer, result, pass.earlier);
            }

            let failed = Failed {
                class: answer.class,
                attempt,
                // For the last attempt no copy was made, and it does not matter. A body that was recorded knows only
                // now whether it can be sent again.
                repeatable: pass
                    .spare
                    .as_ref()
                    .map_or(attempt >= self.config.attempts, Req::still_repeatable),
                previous: *pass.delay,
                now: cx.now(),
                deadline: pass.call.deadline,
            };
            let delay = match self.config.next(&failed, &self.budget, &self.random) {
                Ok(delay) => delay,
                Err(why) => return self.finish(answer, why.result(attempt), pass.earlier),
            };
            // All that the failed attempt holds goes before the wait: its response, its future, its service.
            if let Some(failure) = Failure::of(answer) {
                *pass.earlier = Some(failure);
            }
            pass.inner.set(None);
            seat.renew();
            pass.call.attempt = attempt + 1;
            *pass.delay = delay;
            *pass.stage = Stage::Waiting(later(failed.now, delay));
            self.observer.emit(Event::RetryScheduled { attempt: attempt + 1, delay });
        }
    }

    fn poll_ready(&self, seat: &mut Seat<S>, cx: &mut Context<'_>) -> Poll<Result<(), BoxError>> {
        self.inner.poll_ready(seat, cx)
    }
}
