use std::{
    mem,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll, ready},
    time::Duration,
};

use pin_project_lite::pin_project;
use tokio::time::Instant;

use super::{
    BulkheadHandle,
    config::BulkheadConfig,
    machine::{Machine, Waiter},
    places::{Places, Sample},
};
use crate::{
    call::{Call, later},
    class::Ending,
    error::{BoxError, Reason, Rejected},
    event::Event,
    observer::Observer,
    policy::{Answer, Lend, Policy, Poller, Seat, sealed::Sealed},
    random::Random,
    timer::Timer,
};

/// The policy of a [`BulkheadLayer`](super::BulkheadLayer).
#[derive(Debug)]
pub struct BulkheadPolicy<I> {
    pub(super) config: BulkheadConfig,
    pub(super) observer: Observer,
    /// `None` when it is off.
    places: Option<Arc<Places>>,
    /// When those who are refused come back, where places are kept.
    jitter: Arc<Random>,
    pub(super) inner: I,
}

impl<I> BulkheadPolicy<I> {
    pub(crate) fn new(config: BulkheadConfig, observer: Observer, inner: I) -> Self {
        let places = Arc::new(Places::new(config.limit, config.max_queue));
        Self { config, observer, places: Some(places), jitter: Arc::new(Random::from_entropy()), inner }
    }

    /// The same type without effect: it admits every call and counts none.
    pub(crate) fn off(observer: Observer, inner: I) -> Self {
        let jitter = Arc::new(Random::from_entropy());
        Self { config: BulkheadConfig::default(), observer, places: None, jitter, inner }
    }

    /// The same bulkhead, with the same places, round `inner`.
    pub(super) fn over<J>(&self, observer: Observer, inner: J) -> BulkheadPolicy<J> {
        let (places, jitter) = (self.places.clone(), Arc::clone(&self.jitter));
        BulkheadPolicy { config: self.config, observer, places, jitter, inner }
    }

    /// The same, with places kept for the more important calls.
    #[cfg(feature = "http")]
    pub(crate) fn priorities(mut self) -> Self {
        self.config.priorities = true;
        self
    }

    /// The bulkhead while it runs; `None` when it is off.
    pub(crate) fn handle(&self) -> Option<BulkheadHandle> {
        self.places.clone().map(BulkheadHandle::new)
    }

    /// Gets the call a permit, noted in `permit`, and says how long it had to wait, or refuses it.
    fn admit(
        &self,
        machine: &Machine,
        call: &mut Call,
        wait: &mut Option<Wait>,
        permit: &mut bool,
        cx: &mut Poller<'_, '_>,
    ) -> Poll<Result<Duration, Reason>> {
        if wait.is_none() {
            if let Some(percent) = self.share(call) {
                // Whoever has not all of the places does not queue for them either: it would be in the way of the others.
                *permit = machine.try_acquire_within(percent);
                return Poll::Ready(if *permit { Ok(Duration::ZERO) } else { Err(Reason::Shed) });
            }
            if machine.try_acquire() {
                *permit = true;
                return Poll::Ready(Ok(Duration::ZERO));
            }
            *wait = Some(self.queue(machine, *call, cx.now())?);
        }
        let queued = wait.as_mut().expect("it was set in the lines above");
        if machine.poll_waiter(&mut queued.waiter, cx.task).is_ready() {
            // First the facts, then the telling: a sink may look at the bulkhead.
            *permit = true;
            let now = cx.now();
            let elapsed = now.saturating_duration_since(queued.since);
            *wait = None;
            // What is inside the bulkhead begins only now: an attempt's time does not run while it queues.
            call.started = now;
            self.observer.emit(Event::BulkheadWaited { elapsed });
            return Poll::Ready(Ok(elapsed));
        }
        ready!(queued.timer.as_mut().poll_until(queued.until, cx.task));
        let wait = wait.take().expect("it was used in the lines above");
        machine.give_up(wait.waiter);
        Poll::Ready(Err(wait.reason))
    }

    /// Which percentage of the places the call may fill; `None` for all of them.
    fn share(&self, call: &Call) -> Option<u8> {
        let percent = call.priority.unwrap_or_default().percent();
        (self.config.priorities && percent < 100).then_some(percent)
    }

    fn refuse(&self, reason: Reason) -> Rejected {
        self.observer.emit(match reason {
            Reason::Shed => Event::LoadShed { reason },
            _ => Event::BulkheadRefused { reason },
        });
        let rejected = Rejected::new(self.observer.name(), reason);
        if self.config.priorities {
            // Not all at once, or the next overload is made.
            rejected
                .retry_after_some(self.jitter.duration(Duration::from_millis(500), Duration::from_secs(4)))
        } else {
            rejected
        }
    }

    fn queue(&self, machine: &Machine, call: Call, now: Instant) -> Result<Wait, Reason> {
        let own = later(now, self.config.max_wait);
        let (until, reason) = match call.deadline {
            Some(deadline) if deadline <= own => (deadline, Reason::DeadlineExceeded),
            _ => (own, Reason::BulkheadWait),
        };
        let waiter = machine.enqueue().map_err(|_full| Reason::BulkheadFull)?;
        // The timer in a box, for only a call that queues pays for it.
        Ok(Wait { waiter, since: now, until, reason, timer: Box::pin(Timer::new()) })
    }

    /// Gives back what the call holds, after `work` was dropped: as long as it exists it has its permit.
    fn leave<Req, P>(&self, mut stage: Pin<&mut Stage<Req, P>>, permit: &mut bool) {
        let Some(places) = &self.places else { return stage.set(Stage::Left) };
        let _permit = mem::take(permit).then(|| Permit(&places.machine));
        if let StageProjection::Outside { wait, .. } = stage.as_mut().project() {
            if let Some(wait) = wait.take() {
                places.machine.give_up(wait.waiter);
            }
        }
        stage.set(Stage::Left);
    }
}

/// Returns the permit when it goes, also when the work that is dropped under it panics.
struct Permit<'a>(&'a Machine);

impl Drop for Permit<'_> {
    fn drop(&mut self) {
        self.0.release();
    }
}

/// A call in the queue.
#[derive(Debug)]
struct Wait {
    waiter: Waiter,
    since: Instant,
    until: Instant,
    /// Why the call is refused when `until` has passed.
    reason: Reason,
    timer: Pin<Box<Timer>>,
}

/// A place in a bulkhead that its call has left behind, with what it gave out; free again when this is dropped.
#[derive(Debug)]
#[must_use = "dropped, it gives the place back"]
pub(crate) struct BulkheadPermit {
    places: Arc<Places>,
}

impl Drop for BulkheadPermit {
    fn drop(&mut self) {
        self.places.machine.release();
    }
}

pin_project! {
    /// The pass of a [`BulkheadPolicy`].
    #[project = PassProjection]
    #[derive(Debug)]
    pub struct BulkheadPass<Req, P> {
        // Beside the stage, so that it is known whatever panics between two stages.
        permit: bool,
        sample: Option<Sample>,
        queued: Duration,
        #[pin]
        stage: Stage<Req, P>,
    }
}

pin_project! {
    #[project = StageProjection]
    #[derive(Debug)]
    enum Stage<Req, P> {
        Outside { call: Call, request: Option<Req>, wait: Option<Wait> },
        Inside { #[pin] work: P },
        Left,
    }
}

impl<I> Sealed for BulkheadPolicy<I> {}

impl<I, S, Req> Lend<S, Req> for BulkheadPolicy<I>
where
    I: Lend<S, Req>,
{
    type Pass = BulkheadPass<Req, I::Pass>;

    fn start(&self, call: Call, request: Req) -> Self::Pass {
        BulkheadPass {
            permit: false,
            sample: None,
            queued: Duration::ZERO,
            stage: Stage::Outside { call, request: Some(request), wait: None },
        }
    }

    fn abandon(&self, pass: Pin<&mut Self::Pass>, ending: Ending, now: Instant) {
        let mut pass = pass.project();
        if let StageProjection::Inside { work } = pass.stage.as_mut().project() {
            self.inner.abandon(work, ending, now);
            if let (Some(places), Some(sample)) = (&self.places, pass.sample.take()) {
                places.learn_of_end(sample, ending, now);
            }
        }
        self.leave(pass.stage, pass.permit);
    }
}

impl<I> BulkheadPolicy<I> {
    /// Drives the call, and gives its place out with the answer where `keep` says so and it went well.
    pub(crate) fn poll_keeping<S, Req>(
        &self,
        pass: Pin<&mut BulkheadPass<Req, I::Pass>>,
        seat: &mut Seat<S>,
        cx: &mut Poller<'_, '_>,
        keep: bool,
    ) -> Poll<(Answer<I::Response>, Option<BulkheadPermit>)>
    where
        I: Policy<S, Req>,
    {
        let mut pass = pass.project();
        let answer = ready!(self.poll_inside(&mut pass, seat, cx));
        let kept = match &self.places {
            Some(places) if keep && answer.result.is_ok() && mem::take(pass.permit) => {
                Some(BulkheadPermit { places: Arc::clone(places) })
            }
            _ => None,
        };
        self.leave(pass.stage, pass.permit);
        Poll::Ready((answer, kept))
    }

    /// Drives the call to its answer, when it still has its place.
    fn poll_inside<S, Req>(
        &self,
        pass: &mut PassProjection<'_, Req, I::Pass>,
        seat: &mut Seat<S>,
        cx: &mut Poller<'_, '_>,
    ) -> Poll<Answer<I::Response>>
    where
        I: Policy<S, Req>,
    {
        if let StageProjection::Outside { call, request, wait } = pass.stage.as_mut().project() {
            if let Some(places) = &self.places {
                match ready!(self.admit(&places.machine, call, wait, pass.permit, cx)) {
                    Ok(queued) => {
                        *pass.queued = queued;
                        *pass.sample = places.sample(call);
                    }
                    Err(reason) => {
                        pass.stage.set(Stage::Left);
                        return Poll::Ready(Answer::rejected(self.refuse(reason)));
                    }
                }
            }
            let request = request.take().expect("it is there until the call gets inside");
            let work = self.inner.start(*call, request);
            pass.stage.set(Stage::Inside { work });
        }
        let StageProjection::Inside { work } = pass.stage.as_mut().project() else {
            unreachable!("the call got inside above or before, and is polled until it is answered")
        };
        let mut answer = ready!(self.inner.poll(work, seat, cx));
        if let (Some(places), Some(sample)) = (&self.places, pass.sample.take()) {
            places.learn(sample, &answer, cx.now());
        }
        answer.queued += *pass.queued;
        Poll::Ready(answer)
    }
}

impl<I, S, Req> Policy<S, Req> for BulkheadPolicy<I>
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
        self.poll_keeping(pass, seat, cx, false).map(|(answer, _kept)| answer)
    }

    fn poll_ready(&self, seat: &mut Seat<S>, cx: &mut Context<'_>) -> Poll<Result<(), BoxError>> {
        self.inner.poll_ready(seat, cx)
    }
}
