use std::{
    convert::Infallible,
    mem,
    panic::{AssertUnwindSafe, catch_unwind, resume_unwind},
    pin::Pin,
    task::{Context, Poll, ready},
    time::Duration,
};

use pin_project_lite::pin_project;
use tokio::time::Instant;

use super::{
    Hedging,
    config::{HedgeChoice, sealed::Choice},
};
use crate::{
    budget::RetryBudget,
    call::{Call, later},
    class::{Class, Ending},
    error::BoxError,
    event::{AttemptKind, Event, HedgeResult},
    observer::Observer,
    policy::{Answer, Course, Lend, Parcel, Policy, Poller, Seat, Slot, sealed::Sealed},
    repeat::Repeat,
    timer::Timer,
};

/// The policy of a [`HedgeLayer`](super::HedgeLayer). With [`NoHedge`](super::NoHedge) it is nothing but what it wraps.
#[derive(Clone, Debug)]
pub struct HedgePolicy<H, I> {
    pub(super) hedging: H,
    pub(super) observer: Observer,
    pub(super) inner: I,
}

impl<H, I> HedgePolicy<H, I> {
    pub(crate) fn new(hedging: H, observer: Observer, inner: I) -> Self {
        Self { hedging, observer, inner }
    }
}

impl<H, I> Sealed for HedgePolicy<H, I> {}

impl<H, I, S, Req> Lend<S, Req> for HedgePolicy<H, I>
where
    H: HedgeChoice,
    I: Lend<S, Req>,
    Req: Repeat,
{
    type Pass = H::Pass<I::Pass, Req, S>;

    fn pass(&self) -> Self::Pass {
        H::pass(self)
    }

    fn begin(&self, pass: Pin<&mut Self::Pass>, parcel: &mut Parcel<Req>, course: &mut Course) {
        H::begin(self, pass, parcel, course);
    }

    fn abandon(&self, pass: Pin<&mut Self::Pass>, course: &mut Course, ending: Ending, now: Instant) {
        H::abandon(self, pass, course, ending, now);
    }
}

impl<H, I, S, Req> Policy<S, Req> for HedgePolicy<H, I>
where
    H: HedgeChoice,
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
        H::poll(self, pass, parcel, seat, cx, out)
    }

    fn poll_ready(&self, seat: &mut Seat<S>, cx: &mut Context<'_>) -> Poll<Result<(), BoxError>> {
        self.inner.poll_ready(seat, cx)
    }
}

#[derive(Clone, Copy, Debug)]
enum Stage {
    /// The first copy has not got as far as the service.
    Placed,
    /// The first copy is with the service, since then, and a second may follow.
    Alone { since: Instant, due: Option<Instant> },
    /// The second copy was sent.
    Hedged { since: Instant },
    /// The budget granted none.
    Refused { since: Instant },
}

/// The copy whose poll is under way.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Which {
    First,
    Second,
}

pin_project! {
    /// The pass of a [`HedgePolicy`].
    #[project = HedgeProjection]
    #[derive(Debug)]
    pub struct HedgePass<P, Req, S> {
        // As the first copy got it; `None` before it begins.
        call: Option<Call>,
        stage: Stage,
        polled: Which,
        repeatable: bool,
        spare: Option<Req>,
        // The error of the copy that failed while the other one went on.
        failed: Option<Answer<Infallible>>,
        // Few calls are hedged, so this one is made when it is needed.
        second: Option<Pin<Box<Second<P, Req, S>>>>,
        // Whether the first copy is still on its way.
        waits: bool,
        #[pin]
        timer: Timer,
        #[pin]
        first: P,
    }
}

pin_project! {
    /// The second copy, with a service of its own.
    #[project = SecondProjection]
    #[derive(Debug)]
    struct Second<P, Req, S> {
        seat: Seat<S>,
        parcel: Parcel<Req>,
        course: Course,
        #[pin]
        pass: P,
    }
}

impl Choice for Hedging {
    type Pass<P, Req, S> = HedgePass<P, Req, S>;

    fn drawing_on(self, budget: Option<RetryBudget>) -> Self {
        self.sharing(budget)
    }

    fn pass<I, S, Req>(policy: &HedgePolicy<Self, I>) -> HedgePass<I::Pass, Req, S>
    where
        I: Lend<S, Req>,
    {
        HedgePass {
            call: None,
            stage: Stage::Placed,
            polled: Which::First,
            repeatable: false,
            spare: None,
            failed: None,
            second: None,
            waits: true,
            timer: Timer::new(),
            first: policy.inner.pass(),
        }
    }

    fn begin<I, S, Req>(
        policy: &HedgePolicy<Self, I>,
        pass: Pin<&mut HedgePass<I::Pass, Req, S>>,
        parcel: &mut Parcel<Req>,
        course: &mut Course,
    ) where
        I: Lend<S, Req>,
        Req: Repeat,
    {
        let pass = pass.project();
        *pass.call = Some(course.call);
        *pass.spare = parcel.request().again();
        *pass.repeatable = pass.spare.is_some();
        policy.inner.begin(pass.first, parcel, course);
    }

    fn abandon<I, S, Req>(
        policy: &HedgePolicy<Self, I>,
        pass: Pin<&mut HedgePass<I::Pass, Req, S>>,
        course: &mut Course,
        ending: Ending,
        now: Instant,
    ) where
        I: Lend<S, Req>,
    {
        let mut pass = pass.project();
        let hedged = pass.second.is_some();
        // The copy that did not panic is merely dropped.
        let panicked = *pass.polled;
        let ending_of = |which| if which == panicked { ending } else { Ending::Cancelled };
        // What is dropped in there is somebody else's code: the panic of one copy must not cost what the other holds.
        let first = catch_unwind(AssertUnwindSafe(|| {
            policy.drop_first(&mut pass, course, ending_of(Which::First), now);
        }));
        policy.drop_second(&mut pass, ending_of(Which::Second), now);
        if hedged {
            policy.observer.emit(Event::HedgeFinished { result: HedgeResult::Cancelled });
        }
        first.unwrap_or_else(|panic| resume_unwind(panic));
    }

    fn poll<I, S, Req>(
        policy: &HedgePolicy<Self, I>,
        pass: Pin<&mut HedgePass<I::Pass, Req, S>>,
        parcel: &mut Parcel<Req>,
        seat: &mut Seat<S>,
        cx: &mut Poller<'_, '_>,
        out: &mut Slot<I::Response>,
    ) -> Poll<()>
    where
        I: Policy<S, Req>,
        S: Clone,
        Req: Repeat,
    {
        let mut pass = pass.project();
        if *pass.waits {
            *pass.polled = Which::First;
            let placed = matches!(pass.stage, Stage::Placed).then(|| cx.now());
            let poll = policy.inner.poll(pass.first.as_mut(), parcel, seat, cx, out);
            if let (Some(now), true) = (placed, cx.reached()) {
                policy.place(&mut pass, now);
            }
            if poll.is_ready() {
                *pass.waits = false;
                let class = out.class();
                let now = cx.now();
                if let Some(took) = pass.taken(now) {
                    policy.hedging.answered(class, took);
                }
                let goes_on = !settles(class)
                    && (pass.second.is_some()
                        || may_follow_at_once(class) && policy.send(&mut pass, seat, now));
                if !goes_on {
                    policy.finish(&mut pass, cx.course, out, Which::First, now);
                    return Poll::Ready(());
                }
                *pass.failed = error_of(out.take());
            }
        }
        if let Stage::Alone { due: Some(due), .. } = *pass.stage {
            ready!(pass.timer.as_mut().poll_until(due, cx.task));
            policy.send(&mut pass, seat, cx.now());
        }
        if let Some(second) = pass.second.as_mut() {
            *pass.polled = Which::Second;
            let SecondProjection { seat, parcel, course, pass: second } = second.as_mut().project();
            ready!(cx.along(course, |cx| policy.inner.poll(second, parcel, seat, cx, out)));
            *pass.second = None;
            if settles(out.class()) || !*pass.waits {
                let now = cx.now();
                policy.finish(&mut pass, cx.course, out, Which::Second, now);
                return Poll::Ready(());
            }
            *pass.failed = error_of(out.take());
        }
        Poll::Pending
    }
}

impl<I> HedgePolicy<Hedging, I> {
    /// The first copy is with the service.
    fn place<P, Req, S>(&self, pass: &mut HedgeProjection<'_, P, Req, S>, now: Instant) {
        let call = pass.call();
        if call.attempt == 1 {
            self.hedging.deposit(now);
        }
        let deadline = call.deadline;
        let due = self.hedging.delay().filter(|_| *pass.repeatable).map(|delay| later(now, delay));
        let due = due.filter(|due| deadline.is_none_or(|deadline| *due < deadline));
        *pass.stage = Stage::Alone { since: now, due };
    }

    /// Sends the second copy, if there may be one. It begins with its first poll.
    fn send<S, Req>(
        &self,
        pass: &mut HedgeProjection<'_, I::Pass, Req, S>,
        seat: &Seat<S>,
        now: Instant,
    ) -> bool
    where
        I: Lend<S, Req>,
        S: Clone,
        Req: Repeat,
    {
        let Stage::Alone { since, .. } = *pass.stage else { return false };
        *pass.stage = Stage::Alone { since, due: None };
        pass.timer.as_mut().clear();
        if self.hedging.delay().is_none() || pass.call().deadline.is_some_and(|deadline| deadline <= now) {
            return false;
        }
        // A body that is recorded while it is sent knows only now whether it can be sent again.
        let Some(request) = pass.spare.take().filter(Req::still_repeatable) else { return false };
        if !self.hedging.withdraw(now) {
            *pass.stage = Stage::Refused { since };
            return false;
        }
        let mut call = pass.call();
        let attempt = call.attempt + 1;
        (call.attempt, call.kind) = (attempt, AttemptKind::Hedge);
        call.start_at(now);
        let course = Course::new(call);
        let (seat, parcel) = (seat.another(), Parcel::new(request));
        // A box, for only a call that is hedged pays for it: the others carry one pointer.
        let second = pass.second.insert(Box::pin(Second { seat, parcel, course, pass: self.inner.pass() }));
        let second = second.as_mut().project();
        self.inner.begin(second.pass, second.parcel, second.course);
        *pass.stage = Stage::Hedged { since };
        let after = now.saturating_duration_since(since);
        self.observer.emit(Event::HedgeSent { attempt, after });
        true
    }

    /// The end of the call: drops the copy that is left and tells what became of the two.
    fn finish<S, Req, T>(
        &self,
        pass: &mut HedgeProjection<'_, I::Pass, Req, S>,
        course: &mut Course,
        out: &mut Slot<T>,
        by: Which,
        now: Instant,
    ) where
        I: Lend<S, Req>,
    {
        let class = out.class();
        let result = match *pass.stage {
            Stage::Placed | Stage::Alone { .. } => HedgeResult::Unhedged,
            Stage::Refused { .. } => HedgeResult::Refused,
            Stage::Hedged { .. } if !settles(class) => HedgeResult::Failed,
            Stage::Hedged { .. } if by == Which::Second => HedgeResult::Won,
            Stage::Hedged { .. } => HedgeResult::Lost,
        };
        self.drop_first(pass, course, Ending::Cancelled, now);
        self.drop_second(pass, Ending::Cancelled, now);
        if let Stage::Hedged { .. } = pass.stage {
            // The number of the second copy is used up.
            course.call.attempt += 1;
        }
        self.observer.emit(Event::HedgeFinished { result });
        // A refusal on this side hides why the call failed: the dependency's own error says it.
        if let (Class::Neutral, Some(hidden)) = (class, pass.failed.take()) {
            drop(out.take());
            _ = out.put(of_error(hidden));
        }
    }

    fn drop_first<S, Req>(
        &self,
        pass: &mut HedgeProjection<'_, I::Pass, Req, S>,
        course: &mut Course,
        ending: Ending,
        now: Instant,
    ) where
        I: Lend<S, Req>,
    {
        let taken = pass.taken(now);
        if mem::take(pass.waits) {
            if let (Some(after), Ending::Cancelled) = (taken, ending) {
                self.hedging.unanswered(after);
            }
            self.inner.abandon(pass.first.as_mut(), course, ending, now);
            pass.first.set(self.inner.pass());
        }
    }

    fn drop_second<S, Req>(
        &self,
        pass: &mut HedgeProjection<'_, I::Pass, Req, S>,
        ending: Ending,
        now: Instant,
    ) where
        I: Lend<S, Req>,
    {
        if let Some(mut second) = pass.second.take() {
            let second = second.as_mut().project();
            self.inner.abandon(second.pass, second.course, ending, now);
        }
    }
}

impl<P, Req, S> HedgeProjection<'_, P, Req, S> {
    fn call(&self) -> Call {
        self.call.expect("it was kept when the call began")
    }

    /// How long the first copy has been with the service, if that is worth knowing: of first attempts alone, and of
    /// requests that could be hedged.
    fn taken(&self, now: Instant) -> Option<Duration> {
        match *self.stage {
            Stage::Alone { since, .. } | Stage::Hedged { since } | Stage::Refused { since }
                if *self.repeatable && self.call().attempt == 1 =>
            {
                Some(now.saturating_duration_since(since))
            }
            _ => None,
        }
    }
}

/// Whether an answer ends the call, whatever the other copy might say.
const fn settles(class: Class) -> bool {
    matches!(class, Class::Success | Class::CallerFault)
}

/// Whether the second copy need not wait for its delay. Not when the dependency said when to come back.
const fn may_follow_at_once(class: Class) -> bool {
    matches!(class, Class::Transient { retry_after: None })
}

/// Keeps an error; a failed response is dropped, because it may hold a connection.
fn error_of<T>(answer: Answer<T>) -> Option<Answer<Infallible>> {
    let Answer { result, class, outcome, .. } = answer;
    result.err().map(|error| Answer::new(Err(error), class, outcome))
}

fn of_error<T>(answer: Answer<Infallible>) -> Answer<T> {
    let Answer { result, class, outcome, .. } = answer;
    Answer::new(result.map(|never| match never {}), class, outcome)
}
