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
    BulkheadHandle, KeyOf, Unkeyed,
    config::BulkheadConfig,
    held::{Held, Wait},
    machine::Machine,
    places::{Places, Sample},
};
use crate::{
    call::{Call, later},
    class::Ending,
    dial::Dial,
    error::{BoxError, Reason, Rejected},
    event::Event,
    observer::Observer,
    policy::{Answer, Course, Lend, Parcel, Policy, Poller, Seat, Slot, sealed::Sealed},
    priority::Priority,
    random::Random,
    timer::Timer,
};

/// The policy of a [`BulkheadLayer`](super::BulkheadLayer).
#[derive(Debug)]
pub struct BulkheadPolicy<I, K = Unkeyed> {
    pub(super) config: BulkheadConfig,
    pub(super) key: K,
    pub(super) observer: Observer,
    /// `None` when it is off.
    places: Option<Arc<Places>>,
    /// When those who are refused come back, where places are kept.
    jitter: Arc<Random>,
    /// Which part of their share those calls get that may be shed; `None` for all of it.
    dial: Option<Dial>,
    pub(super) inner: I,
}

impl<I, K> BulkheadPolicy<I, K> {
    pub(crate) fn new(config: BulkheadConfig, key: K, observer: Observer, inner: I) -> Self {
        let (places, jitter) = (Some(Arc::new(Places::new(config))), Arc::new(Random::from_entropy()));
        Self { config, key, observer, places, jitter, dial: None, inner }
    }

    /// The same type without effect: it admits every call and counts none.
    pub(crate) fn off(observer: Observer, inner: I) -> Self
    where
        K: Default,
    {
        let (config, jitter) = (BulkheadConfig::default(), Arc::new(Random::from_entropy()));
        Self { config, key: K::default(), observer, places: None, jitter, dial: None, inner }
    }

    /// The same bulkhead, with the same places, round `inner`.
    pub(super) fn over<J>(&self, observer: Observer, inner: J) -> BulkheadPolicy<J, K>
    where
        K: Clone,
    {
        let (config, key, places) = (self.config, self.key.clone(), self.places.clone());
        let (jitter, dial) = (Arc::clone(&self.jitter), self.dial.clone());
        BulkheadPolicy { config, key, observer, places, jitter, dial, inner }
    }

    /// The same, with places kept for the more important calls.
    #[cfg(feature = "http")]
    pub(crate) fn priorities(mut self) -> Self {
        self.config.priorities = true;
        self
    }

    /// The same, with fewer of them for calls that may be shed, as the dial stands.
    #[cfg(feature = "http")]
    pub(crate) fn shedding_by(self, dial: Option<Dial>) -> Self {
        Self { dial, ..self }
    }

    /// The same bulkhead, with the same places, and another way to the key.
    #[cfg(feature = "http")]
    pub(super) fn with_key<L>(self, key: L) -> BulkheadPolicy<I, L> {
        let Self { config, observer, places, jitter, dial, inner, .. } = self;
        BulkheadPolicy { config, key, observer, places, jitter, dial, inner }
    }

    /// The bulkhead while it runs; `None` when it is off.
    pub(crate) fn handle(&self) -> Option<BulkheadHandle> {
        self.places.clone().map(BulkheadHandle::new)
    }

    /// Gets the call all permits that it needs, noted in `held`, or refuses it.
    fn admit(
        &self,
        places: &Places,
        wait: &mut Option<Pin<Box<Wait>>>,
        held: &mut Held,
        cx: &mut Poller<'_, '_>,
    ) -> Poll<Result<(), Reason>> {
        while let Some(door) = held.door(places) {
            ready!(self.wait_at(door, cx.course.call, wait, cx))?;
            held.enter();
        }
        // First the facts, then the telling: a sink may look at the bulkhead.
        let Some(waited) = wait.take() else { return Poll::Ready(Ok(())) };
        let now = cx.now();
        let elapsed = now.saturating_duration_since(waited.since);
        // What is inside the bulkhead begins only now: an attempt's time does not run while it queues.
        cx.course.call.start_at(now);
        self.observer.emit(Event::BulkheadWaited { elapsed });
        Poll::Ready(Ok(()))
    }

    /// Which percentage of the places the call may fill; `None` for all of them.
    fn share(&self, call: &Call) -> Option<u8> {
        if !self.config.priorities {
            return None;
        }
        let priority = call.priority.unwrap_or_default();
        let mut percent = priority.percent();
        if let Some(dial) = self.dial.as_ref().filter(|_| priority < Priority::Critical) {
            percent = u8::try_from(dial.of(percent.into())).unwrap_or(percent);
        }
        (percent < 100).then_some(percent)
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

    /// Gets the call one permit. However many it needs, it waits no longer than once.
    fn wait_at(
        &self,
        door: &Machine,
        call: Call,
        wait: &mut Option<Pin<Box<Wait>>>,
        cx: &mut Poller<'_, '_>,
    ) -> Poll<Result<(), Reason>> {
        if wait.as_ref().is_none_or(|wait| wait.waiter.is_none()) {
            if let Some(percent) = self.share(&call) {
                // Whoever has not all of the places does not queue for them either: it would be in the way of the others.
                let entered = door.try_acquire_within(percent);
                return Poll::Ready(entered.then_some(()).ok_or(Reason::Shed));
            }
            if door.try_acquire() {
                return Poll::Ready(Ok(()));
            }
            let waiter = door.enqueue().map_err(|_full| Reason::BulkheadFull)?;
            let wait = wait.get_or_insert_with(|| Box::pin(self.begin_waiting(call, cx.now())));
            *wait.as_mut().project().waiter = Some(waiter);
        }
        let queued = wait.as_mut().expect("it was set in the lines above").as_mut().project();
        let waiter = queued.waiter.as_mut().expect("it was set in the lines above");
        if door.poll_waiter(waiter, cx.task).is_ready() {
            *queued.waiter = None;
            return Poll::Ready(Ok(()));
        }
        ready!(queued.timer.poll_until(*queued.until, cx.task));
        if let Some(waiter) = queued.waiter.take() {
            door.give_up(waiter);
        }
        Poll::Ready(Err(*queued.reason))
    }

    fn begin_waiting(&self, call: Call, now: Instant) -> Wait {
        let own = later(now, self.config.max_wait);
        let (until, reason) = match call.deadline {
            Some(deadline) if deadline <= own => (deadline, Reason::DeadlineExceeded),
            _ => (own, Reason::BulkheadWait),
        };
        Wait { waiter: None, since: now, until, reason, timer: Timer::new() }
    }
}

pin_project! {
    /// The pass of a [`BulkheadPolicy`].
    #[project = PassProjection]
    #[derive(Debug)]
    pub struct BulkheadPass<P> {
        stage: Stage,
        held: Held,
        // In a box, for only a call that queues pays for it.
        wait: Option<Pin<Box<Wait>>>,
        sample: Option<Sample>,
        #[pin]
        inner: P,
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Stage {
    Outside,
    Inside,
    Left,
}

impl<I, K> Sealed for BulkheadPolicy<I, K> {}

impl<I, K, S, Req> Lend<S, Req> for BulkheadPolicy<I, K>
where
    I: Lend<S, Req>,
{
    type Pass = BulkheadPass<I::Pass>;

    fn pass(&self) -> Self::Pass {
        let (stage, held, inner) = (Stage::Outside, Held::default(), self.inner.pass());
        BulkheadPass { stage, held, wait: None, sample: None, inner }
    }

    /// What is inside begins when the call gets there.
    fn begin(&self, _pass: Pin<&mut Self::Pass>, _parcel: &mut Parcel<Req>, course: &mut Course) {
        if self.places.as_ref().is_some_and(|places| places.adapts()) {
            course.call.started();
        }
    }

    fn abandon(&self, pass: Pin<&mut Self::Pass>, course: &mut Course, ending: Ending, now: Instant) {
        let mut pass = pass.project();
        let left = self.places.as_deref().map(|places| pass.held.leave(pass.wait, places));
        if let Stage::Inside = mem::replace(pass.stage, Stage::Left) {
            self.inner.abandon(pass.inner.as_mut(), course, ending, now);
            if let (Some(places), Some(sample)) = (&self.places, pass.sample.take()) {
                places.learn_of_end(sample, ending, now);
            }
            pass.inner.set(self.inner.pass());
        }
        drop(left);
    }
}

impl<I, K> BulkheadPolicy<I, K> {
    /// Drives the call, and gives its place out beside the answer where `keep` says so and it went well.
    #[cfg(feature = "http")]
    pub(crate) fn poll_keeping<S, Req>(
        &self,
        pass: Pin<&mut BulkheadPass<I::Pass>>,
        parcel: &mut Parcel<Req>,
        seat: &mut Seat<S>,
        cx: &mut Poller<'_, '_>,
        out: &mut Slot<I::Response>,
        keep: bool,
    ) -> Poll<Option<super::BulkheadPermit>>
    where
        I: Policy<S, Req>,
        K: KeyOf<Req>,
    {
        let mut pass = pass.project();
        ready!(self.poll_inside(&mut pass, parcel, seat, cx, out));
        let Some(places) = &self.places else { return Poll::Ready(None) };
        let kept = (keep && out.result().is_ok()).then(|| pass.held.keep(places)).flatten();
        pass.held.give_back(pass.wait, places);
        Poll::Ready(kept)
    }

    /// Drives the call to its answer, when it still has its place.
    fn poll_inside<S, Req>(
        &self,
        pass: &mut PassProjection<'_, I::Pass>,
        parcel: &mut Parcel<Req>,
        seat: &mut Seat<S>,
        cx: &mut Poller<'_, '_>,
        out: &mut Slot<I::Response>,
    ) -> Poll<()>
    where
        I: Policy<S, Req>,
        K: KeyOf<Req>,
    {
        if *pass.stage == Stage::Outside {
            if let Some(places) = &self.places {
                if pass.wait.is_none() {
                    if let Some(compartment) = places.compartment(|| self.key.key_of(parcel.request())) {
                        pass.held.go_by(compartment);
                    }
                }
                match ready!(self.admit(places, pass.wait, pass.held, cx)) {
                    Ok(()) => *pass.sample = places.sample(&cx.course.call),
                    Err(reason) => return out.put(Answer::rejected(self.refuse(reason))),
                }
            }
            *pass.stage = Stage::Inside;
            self.inner.begin(pass.inner.as_mut(), parcel, cx.course);
        }
        let poll = self.inner.poll(pass.inner.as_mut(), parcel, seat, cx, out);
        if poll.is_ready() {
            if let (Some(places), Some(sample)) = (&self.places, pass.sample.take()) {
                places.learn(sample, out, cx);
            }
        }
        poll
    }
}

impl<I, K, S, Req> Policy<S, Req> for BulkheadPolicy<I, K>
where
    I: Policy<S, Req>,
    K: KeyOf<Req>,
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
        let poll = self.poll_inside(&mut pass, parcel, seat, cx, out);
        if poll.is_ready() {
            *pass.stage = Stage::Left;
            if let Some(places) = &self.places {
                pass.held.give_back(pass.wait, places);
            }
        }
        poll
    }

    fn poll_ready(&self, seat: &mut Seat<S>, cx: &mut Context<'_>) -> Poll<Result<(), BoxError>> {
        self.inner.poll_ready(seat, cx)
    }
}
