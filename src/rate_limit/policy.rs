use std::{
    fmt,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll, ready},
    time::Duration,
};

use arc_swap::ArcSwap;
use pin_project_lite::pin_project;
use tokio::time::Instant;

use super::{
    KeyOf, RateLimitHandle, Unkeyed,
    bucket::{Entry, Place},
    keys::Buckets,
};
use crate::{
    call::{Call, later},
    class::Ending,
    error::{BoxError, Reason, Rejected},
    event::{Event, RateLimitResult},
    observer::Observer,
    policy::{Answer, Course, Lend, Parcel, Policy, Poller, Seat, Slot, sealed::Sealed},
    quota::Quota,
    timer::Timer,
};

/// The numbers of a rate limit.
#[derive(Clone, Copy, Debug)]
pub(super) struct RateLimitConfig {
    /// What it begins with; the handle may change it.
    pub(super) quota: Quota,
    /// How long a call may wait for its turn.
    pub(super) max_wait: Duration,
    /// How many keys are told apart.
    pub(super) max_keys: usize,
}

/// What all calls of a rate limit share.
#[derive(Debug)]
pub(super) struct State {
    buckets: ArcSwap<Buckets>,
    max_keys: usize,
}

impl State {
    pub(super) fn quota(&self) -> Quota {
        self.buckets.load().quota
    }

    pub(super) fn set_quota(&self, quota: Quota) {
        if self.quota() != quota {
            self.buckets.store(Arc::new(Buckets::new(quota, self.max_keys)));
        }
    }
}

/// The policy of a [`RateLimitLayer`](super::RateLimitLayer).
#[derive(Debug)]
pub struct RateLimitPolicy<I, K = Unkeyed> {
    pub(super) config: RateLimitConfig,
    pub(super) observer: Observer,
    pub(super) key: K,
    /// `None` when it is off.
    state: Option<Arc<State>>,
    inner: I,
}

impl<I, K> RateLimitPolicy<I, K> {
    pub(super) fn new(config: RateLimitConfig, observer: Observer, key: K, inner: I) -> Self {
        let RateLimitConfig { quota, max_keys, .. } = config;
        let state = State { buckets: ArcSwap::from_pointee(Buckets::new(quota, max_keys)), max_keys };
        Self { config, observer, key, state: Some(Arc::new(state)), inner }
    }

    /// The same type without effect: it admits every call and counts none.
    pub(crate) fn off(observer: Observer, inner: I) -> Self
    where
        K: Default,
    {
        let config = RateLimitConfig { quota: Quota::per_second(1), max_wait: Duration::ZERO, max_keys: 1 };
        Self { config, observer, key: K::default(), state: None, inner }
    }

    /// The same limit, with the same buckets, round `inner`.
    pub(super) fn over<J, L>(&self, key: L, observer: Observer, inner: J) -> RateLimitPolicy<J, L> {
        RateLimitPolicy { config: self.config, observer, key, state: self.state.clone(), inner }
    }

    /// The rate limit while it runs; `None` when it is off.
    pub(crate) fn handle(&self) -> Option<RateLimitHandle> {
        self.state.clone().map(RateLimitHandle::new)
    }

    /// Gets the call a cell, and says how long it had to wait, or refuses it.
    fn admit(
        &self,
        state: &State,
        key: Option<u64>,
        wait: &mut Option<Pin<Box<Wait>>>,
        cx: &mut Poller<'_, '_>,
    ) -> Poll<Result<Duration, Rejected>> {
        if wait.is_none() {
            let now = cx.now();
            let until = self.until(&cx.course.call, now);
            let buckets = state.buckets.load();
            match buckets.enter(key, now, until) {
                Entry::Admitted => return Poll::Ready(Ok(Duration::ZERO)),
                Entry::Refused(at) => {
                    let wait = at.saturating_duration_since(now);
                    return Poll::Ready(Err(self
                        .refusal(Reason::RateLimited)
                        .over_quota(buckets.quota, wait)));
                }
                Entry::InLine(place) => *wait = Some(Box::pin(Wait::new(place, now, until.unwrap_or(now)))),
            }
        }
        let waiting = wait.as_mut().expect("it was set in the lines above").as_mut().project();
        if waiting.served.as_mut().poll(cx.task).is_ready() {
            let now = cx.now();
            let elapsed = now.saturating_duration_since(*waiting.since);
            *wait = None;
            // What is inside begins only now: an attempt's time does not run while it waits.
            cx.course.call.start_at(now);
            return Poll::Ready(Ok(elapsed));
        }
        // A call is let into the line when its turn comes in time, so this passes only when the clock was wrong about that.
        ready!(waiting.timer.poll_until(*waiting.until, cx.task));
        *wait = None;
        let now = cx.now();
        let expired = cx.course.call.deadline.is_some_and(|deadline| deadline <= now);
        let reason = if expired { Reason::DeadlineExceeded } else { Reason::RateLimited };
        Poll::Ready(Err(self.refusal(reason)))
    }

    /// Until when the call may wait; `None` when it may not.
    fn until(&self, call: &Call, now: Instant) -> Option<Instant> {
        let until = (!self.config.max_wait.is_zero()).then(|| later(now, self.config.max_wait))?;
        Some(call.deadline.map_or(until, |deadline| deadline.min(until)))
    }

    fn refusal(&self, reason: Reason) -> Rejected {
        Rejected::new(self.observer.name(), reason)
    }

    fn tell(&self, result: RateLimitResult) {
        self.observer.emit(Event::RateLimiterCall { result });
    }
}

pin_project! {
    /// A call in the line.
    struct Wait {
        // Of a type that has no name.
        served: Pin<Box<dyn Future<Output = ()> + Send>>,
        #[pin]
        timer: Timer,
        since: Instant,
        until: Instant,
    }
}

impl Wait {
    fn new(place: Place, since: Instant, until: Instant) -> Self {
        Self { served: Box::pin(place.wait()), timer: Timer::new(), since, until }
    }
}

impl fmt::Debug for Wait {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Wait").field("since", &self.since).field("until", &self.until).finish_non_exhaustive()
    }
}

pin_project! {
    /// The pass of a [`RateLimitPolicy`].
    #[derive(Debug)]
    pub struct RateLimitPass<P> {
        key: Option<u64>,
        inside: bool,
        // In a box, for only a call that waits pays for it.
        wait: Option<Pin<Box<Wait>>>,
        #[pin]
        inner: P,
    }
}

impl<I, K> Sealed for RateLimitPolicy<I, K> {}

impl<I, K, S, Req> Lend<S, Req> for RateLimitPolicy<I, K>
where
    I: Lend<S, Req>,
    K: KeyOf<Req>,
{
    type Pass = RateLimitPass<I::Pass>;

    fn pass(&self) -> Self::Pass {
        RateLimitPass { key: None, inside: false, wait: None, inner: self.inner.pass() }
    }

    fn begin(&self, pass: Pin<&mut Self::Pass>, parcel: &mut Parcel<Req>, course: &mut Course) {
        let pass = pass.project();
        // One that is off asks nobody for a key, and has no outside.
        if self.state.is_some() {
            *pass.key = self.key.key_of(parcel.request());
        } else {
            self.inner.begin(pass.inner, parcel, course);
        }
    }

    fn abandon(&self, pass: Pin<&mut Self::Pass>, course: &mut Course, ending: Ending, now: Instant) {
        let pass = pass.project();
        if pass.wait.take().is_some() {
            self.tell(RateLimitResult::Cancelled);
        }
        self.inner.abandon(pass.inner, course, ending, now);
    }
}

impl<I, K, S, Req> Policy<S, Req> for RateLimitPolicy<I, K>
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
        if let (Some(state), false) = (&self.state, *pass.inside) {
            match ready!(self.admit(state, *pass.key, pass.wait, cx)) {
                Ok(queued) => {
                    let waited = !queued.is_zero();
                    self.tell(if waited { RateLimitResult::Waited } else { RateLimitResult::Admitted });
                }
                Err(rejected) => {
                    self.tell(RateLimitResult::Rejected);
                    return out.put(Answer::rejected(rejected));
                }
            }
            *pass.inside = true;
            self.inner.begin(pass.inner.as_mut(), parcel, cx.course);
        }
        self.inner.poll(pass.inner, parcel, seat, cx, out)
    }

    fn poll_ready(&self, seat: &mut Seat<S>, cx: &mut Context<'_>) -> Poll<Result<(), BoxError>> {
        self.inner.poll_ready(seat, cx)
    }
}
