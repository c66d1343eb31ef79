use std::{
    mem,
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
    event::{AttemptKind, Event, GaveUp, Outcome, RetryResult},
    latency::Quantile,
    observer::Observer,
    policy::{Answer, Course, Lend, Parcel, Policy, Poller, Seat, Slot, sealed::Sealed},
    random::Random,
    ratio::Ratio,
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
    /// What half of the attempts that succeed take.
    latency: Quantile,
    pub(super) inner: I,
}

impl<I> RetryPolicy<I> {
    pub(crate) fn new(config: RetryConfig, observer: Observer, inner: I) -> Self {
        let budget = config.budget.clone().unwrap_or_default();
        let random = config.seed.map_or_else(Random::from_entropy, Random::seeded);
        let latency = Quantile::new(Ratio::percent(50));
        Self { enabled: true, config, observer, budget, random, latency, inner }
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

    pub(super) fn shared_budget(&self) -> RetryBudget {
        self.budget.clone()
    }

    /// Asks for the copy that the attempt after the `made`th will need, if there may be one.
    fn spare<Req: Repeat>(&self, made: u32, request: &Req) -> Spare<Req> {
        if made >= self.config.attempts {
            return Spare::None;
        }
        match request.again() {
            Some(copy) => Spare::Repeat(copy),
            // Once: a service that refuses every connection is asked a second time and no third.
            None if made == 1 => request.if_unprocessed().map_or(Spare::None, Spare::IfUnprocessed),
            None => Spare::None,
        }
    }

    /// Whether the `made`th attempt, which failed, may be followed by another that sends the same.
    fn repeatable<T, Req: Repeat>(
        &self,
        spare: &Spare<Req>,
        made: u32,
        result: &Result<T, BoxError>,
    ) -> bool {
        match spare {
            // For the last attempt no copy was made, and it does not matter.
            Spare::None => made >= self.config.attempts,
            // A body that was recorded knows only now whether it can be sent again.
            Spare::Repeat(request) => request.still_repeatable(),
            Spare::IfUnprocessed(request) => {
                result.as_ref().is_err_and(|error| self.config.never_processed.says(error))
                    && request.still_repeatable()
            }
        }
    }

    /// Learns how long an attempt takes that succeeds. One in eight is enough, and most calls are spared the cost.
    fn learn(&self, latency: Duration) {
        if latency.subsec_nanos() % 8 == 0 {
            self.latency.record(latency);
        }
    }

    /// The end of a call that failed, with the answer that its caller gets.
    fn give_up<T>(
        &self,
        answer: Answer<T>,
        why: GaveUp,
        made: u32,
        again: &mut Option<Pin<Box<Again>>>,
    ) -> Answer<T> {
        let result = match why {
            GaveUp::Class | GaveUp::NotRepeatable if made == 1 => RetryResult::First,
            GaveUp::Class | GaveUp::NotRepeatable | GaveUp::Exhausted | GaveUp::Deadline => {
                RetryResult::Exhausted
            }
            GaveUp::Budget => RetryResult::BudgetExhausted,
        };
        self.observer.emit(Event::RetryFinished { result, gave_up: Some(why) });
        // A refusal on this side hides why the call failed: the dependency's own error says it.
        let again = again.as_mut().filter(|again| answer.class == Class::Neutral && !again.has_acted());
        let hidden = again.and_then(|again| again.as_mut().project().earlier.take());
        hidden.map_or(answer, Failure::into_answer)
    }
}

/// The copy of a request that the next attempt will need.
#[derive(Debug)]
enum Spare<Req> {
    /// None was made.
    None,
    /// It may be sent twice.
    Repeat(Req),
    /// It may be sent again only when the service has not even begun.
    IfUnprocessed(Req),
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
        // As the latest attempt got it; `None` before the first.
        call: Option<Call>,
        // How many attempts this policy has made. The number that the call carries counts those of a hedge as well.
        made: u32,
        stage: Stage,
        spare: Spare<Req>,
        // In a box, for only a call that fails pays for it.
        again: Option<Pin<Box<Again>>>,
        #[pin]
        inner: P,
    }
}

pin_project! {
    /// What a call keeps of its failures.
    #[derive(Debug)]
    #[project = AgainProjection]
    struct Again {
        // The latest wait.
        delay: Duration,
        earlier: Option<Failure>,
        // Whether the latest attempt was made only because the one before it had not even begun.
        once: bool,
        // Whether it got as far as the service.
        reached: bool,
        #[pin]
        timer: Timer,
    }
}

impl Again {
    fn new() -> Self {
        Self { delay: Duration::ZERO, earlier: None, once: false, reached: false, timer: Timer::new() }
    }

    /// Whether something may have been done that must not be done twice: then no earlier error, by which nothing was, may stand
    /// for the latest, though that be a refusal. It is one that the service was given by somebody else.
    fn has_acted(&self) -> bool {
        self.once && self.reached
    }
}

impl<I> Sealed for RetryPolicy<I> {}

impl<I, S, Req> Lend<S, Req> for RetryPolicy<I>
where
    I: Lend<S, Req>,
    Req: Repeat,
{
    type Pass = RetryPass<I::Pass, Req>;

    fn pass(&self) -> Self::Pass {
        let (spare, inner) = (Spare::None, self.inner.pass());
        RetryPass { call: None, made: 1, stage: Stage::Placed, spare, again: None, inner }
    }

    fn begin(&self, pass: Pin<&mut Self::Pass>, parcel: &mut Parcel<Req>, course: &mut Course) {
        let pass = pass.project();
        if course.call.deadline.is_some() {
            // What an attempt may have of the time is learned from those before it.
            course.call.started();
        }
        *pass.call = Some(course.call);
        *pass.spare = self.spare(1, parcel.request());
        self.inner.begin(pass.inner, parcel, course);
    }

    fn abandon(&self, pass: Pin<&mut Self::Pass>, course: &mut Course, ending: Ending, now: Instant) {
        self.inner.abandon(pass.project().inner, course, ending, now);
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
        parcel: &mut Parcel<Req>,
        seat: &mut Seat<S>,
        cx: &mut Poller<'_, '_>,
        out: &mut Slot<Self::Response>,
    ) -> Poll<()> {
        let mut pass = pass.project();
        if !self.enabled {
            return self.inner.poll(pass.inner, parcel, seat, cx, out);
        }
        let call = pass.call.as_mut().expect("it was kept when the call began");
        loop {
            match *pass.stage {
                Stage::Placed | Stage::Trying => {}
                Stage::Waiting(until) => {
                    let again = pass.again.as_mut().expect("a wait begins with a failure");
                    let AgainProjection { mut timer, once, reached, .. } = again.as_mut().project();
                    ready!(timer.as_mut().poll_until(until, cx.task));
                    timer.clear();
                    (*once, *reached) = (matches!(pass.spare, Spare::IfUnprocessed(_)), false);
                    let (Spare::Repeat(request) | Spare::IfUnprocessed(request)) =
                        mem::replace(pass.spare, Spare::None)
                    else {
                        unreachable!("a wait begins only with a request to send after it")
                    };
                    *pass.made += 1;
                    *pass.spare = self.spare(*pass.made, &request);
                    parcel.put(request);
                    call.start_at(cx.now());
                    cx.course.call = *call;
                    self.inner.begin(pass.inner.as_mut(), parcel, cx.course);
                    *pass.stage = Stage::Trying;
                }
            }

            let made = *pass.made;
            let placed = matches!(pass.stage, Stage::Placed);
            let earns = (placed && self.budget.is_limited()).then(|| cx.now());
            let inner = pass.inner.as_mut();
            let (poll, reached) = cx.apart(|cx| self.inner.poll(inner, parcel, seat, cx, out));
            if let Some(again) = pass.again {
                *again.as_mut().project().reached |= reached;
            }
            if placed && cx.reached() {
                // Calls that are refused on this side earn nothing: the first seconds after an outage would be paid from
                // what an open circuit has turned away.
                if let Some(now) = earns {
                    self.budget.deposit(now);
                }
                *pass.stage = Stage::Trying;
            }
            ready!(poll);
            if let Class::Success = out.class() {
                // Asked for only where there is a deadline, and a look at the clock.
                if call.deadline.is_some() {
                    self.learn(cx.since(call.started()));
                }
                let result = if made == 1 { RetryResult::First } else { RetryResult::Recovered };
                self.observer.emit(Event::RetryFinished { result, gave_up: None });
                return Poll::Ready(());
            }

            let answer = out.take();
            let failed = Failed {
                class: answer.class,
                made,
                repeatable: self.repeatable(pass.spare, made, &answer.result),
                previous: pass.again.as_ref().map_or(Duration::ZERO, |again| again.delay),
                now: cx.now(),
                deadline: call.deadline,
            };
            let delay = match self.config.next(&failed, &self.budget, &self.random, &self.latency) {
                Ok(delay) => delay,
                Err(why) => return out.put(self.give_up(answer, why, made, pass.again)),
            };
            // After the copy that a hedge has sent meanwhile, if it did.
            let attempt = cx.course.call.attempt + 1;
            // All that the failed attempt holds goes before the wait: its response, its future, its service.
            let again = pass.again.get_or_insert_with(|| Box::pin(Again::new()));
            let again = again.as_mut().project();
            *again.delay = delay;
            if let Some(failure) = Failure::of(answer) {
                *again.earlier = Some(failure);
            }
            pass.inner.set(self.inner.pass());
            seat.renew();
            (call.attempt, call.kind) = (attempt, AttemptKind::Retry);
            *pass.stage = Stage::Waiting(later(failed.now, delay));
            self.observer.emit(Event::RetryScheduled { attempt, delay });
        }
    }

    fn poll_ready(&self, seat: &mut Seat<S>, cx: &mut Context<'_>) -> Poll<Result<(), BoxError>> {
        self.inner.poll_ready(seat, cx)
    }
}
