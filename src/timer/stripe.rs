//! Those who wait, and the alarms that wake them.

use std::{
    array, mem,
    panic::{AssertUnwindSafe, catch_unwind},
    sync::{Arc, Weak},
    task::{Wake, Waker},
};

use tokio::time::Instant;

use super::{
    alarm::Alarm,
    queue::{LANES, Place, Queue},
};
use crate::sync::{Mutex, lock};

/// Some lanes of timers, which few threads enter.
///
/// A lane belongs to one runtime at a time, and has one alarm of that runtime, which is set no later than to its first
/// deadline. When it rings, whoever drives that runtime *sweeps*: wakes those whose deadlines have passed, and sets the alarm
/// again. So a timer depends on the runtime that it was made in, and on nothing else, as one of tokio's own does.
///
/// No code of others (wakers, tokio) runs under the lock.
#[repr(align(128))]
pub(super) struct Stripe<A: Alarm> {
    inner: Mutex<Inner<A>>,
    /// What the alarm of each lane wakes.
    bells: [Waker; LANES],
}

struct Inner<A: Alarm> {
    queue: Queue<Waker>,
    lanes: [Lane<A>; LANES],
}

struct Lane<A: Alarm> {
    phase: Phase<A>,
    /// Whose it is; unless it is off.
    runtime: Option<A::Runtime>,
    /// What the alarm is set to, or is about to be.
    set_to: Instant,
}

enum Phase<A> {
    /// Nobody waits, and no alarm is set.
    Off,
    /// Somebody has the broom. `again`: the alarm rang meanwhile.
    Swept { again: bool },
    /// The alarm is set.
    On(A),
}

/// How it stands with somebody who joined.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Standing {
    /// It waits.
    Waits,
    /// It was woken because its deadline had passed.
    Rung,
    /// It was woken, and it is not known why.
    Gone,
}

/// The right, and the duty, to sweep a lane: there is one for each.
#[must_use = "those who wait in the lane wait for it"]
pub(super) struct Broom<'a, A: Alarm> {
    stripe: &'a Stripe<A>,
    lane: usize,
}

struct Bell<A: Alarm> {
    stripe: Weak<Stripe<A>>,
    lane: usize,
}

impl<A: Alarm + Send + 'static> Stripe<A>
where
    A::Runtime: Send,
{
    pub(super) fn new() -> Arc<Self> {
        let now = Instant::now();
        let lanes = array::from_fn(|_| Lane { phase: Phase::Off, runtime: None, set_to: now });
        Arc::new_cyclic(|stripe: &Weak<Self>| Self {
            inner: Mutex::new(Inner { queue: Queue::new(), lanes }),
            bells: array::from_fn(|lane| Arc::new(Bell { stripe: stripe.clone(), lane }).into()),
        })
    }
}

impl<A: Alarm> Stripe<A> {
    /// Has a task of this runtime woken at a deadline, unless there is no lane for that. Who gets a broom has to sweep.
    #[inline]
    pub(super) fn join(
        &self,
        runtime: A::Runtime,
        deadline: Instant,
        task: &Waker,
    ) -> Option<(Place, Option<Broom<'_, A>>)> {
        let waker = task.clone();
        let mut inner = lock(&self.inner);
        let Some(lane) = inner.lane(runtime, deadline) else {
            drop(inner);
            return None;
        };
        let place = inner.queue.push(lane, deadline, waker);
        let mut broom = None;
        if let Phase::Off = inner.lanes[lane].phase {
            inner.lanes[lane] =
                Lane { phase: Phase::Swept { again: false }, runtime: Some(runtime), set_to: deadline };
            broom = Some(Broom { stripe: self, lane });
        }
        drop(inner);
        Some((place, broom))
    }

    /// How it stands with who joined. If it still waits, this task is woken, and not the one of before.
    #[inline]
    pub(super) fn look_at(&self, place: Place, task: &Waker) -> Standing {
        let mut inner = lock(&self.inner);
        match inner.queue.waker(place) {
            Some(waker) if waker.will_wake(task) => return Standing::Waits,
            Some(_) => {}
            None => return inner.gone(place),
        }
        drop(inner);
        let mut waker = task.clone();
        let mut inner = lock(&self.inner);
        let standing = match inner.queue.waker(place) {
            Some(old) => {
                mem::swap(old, &mut waker);
                Standing::Waits
            }
            None => inner.gone(place),
        };
        drop(inner);
        standing
    }

    /// Lets somebody go who joined, if it still waits.
    #[inline]
    pub(super) fn leave(&self, place: Place) {
        let mut inner = lock(&self.inner);
        let waker = inner.queue.remove(place);
        drop(inner);
        drop(waker);
    }

    /// The alarm of a lane rings.
    fn ring(&self, lane: usize) {
        let mut inner = lock(&self.inner);
        let Lane { phase, set_to, .. } = &mut inner.lanes[lane];
        match phase {
            Phase::On(alarm) if alarm.has_rung() => {
                let set_to = *set_to;
                let Phase::On(alarm) = mem::replace(phase, Phase::Swept { again: false }) else {
                    unreachable!("it was looked at in the line above")
                };
                drop(inner);
                let broom = Broom { stripe: self, lane };
                // Before its time it rings when its runtime shuts down.
                if Instant::now() >= set_to { broom.sweep(Some(alarm)) } else { drop(broom) }
            }
            // An echo: it is set to another instant by now.
            Phase::On(_) | Phase::Off => {}
            Phase::Swept { again } => *again = true,
        }
    }
}

impl<A: Alarm> Inner<A> {
    /// The lane for a deadline: one that is in order with it, or else one that is off.
    #[inline]
    fn lane(&self, runtime: A::Runtime, deadline: Instant) -> Option<usize> {
        let fits = |lane: usize| {
            let Lane { phase, runtime: owner, set_to } = &self.lanes[lane];
            !matches!(phase, Phase::Off)
                && *owner == Some(runtime)
                && *set_to <= deadline
                && self.queue.last(lane).is_none_or(|last| last <= deadline)
        };
        let is_off = |lane: &usize| matches!(self.lanes[*lane].phase, Phase::Off);
        (0..LANES).find(|&lane| fits(lane)).or_else(|| (0..LANES).find(is_off))
    }

    /// Who waits no more.
    fn gone(&self, place: Place) -> Standing {
        if self.queue.has_rung(place) { Standing::Rung } else { Standing::Gone }
    }
}

impl<A: Alarm> Broom<'_, A> {
    /// Wakes those whose time is over, and sets the alarm for the first of the others. Where nobody is left, the lane is off.
    #[cold]
    pub(super) fn sweep(self, mut alarm: Option<A>) {
        loop {
            let now = Instant::now();
            let next = match self.look(Some(now)) {
                Left::Nobody => return mem::forget(self),
                Left::Some => continue,
                Left::Later(next) => next,
            };
            let (set, has_rung) = A::set(alarm.take(), next, &self.stripe.bells[self.lane]);
            if has_rung && Instant::now() < next {
                // Its runtime shuts down.
                return drop(self);
            }
            let mut inner = lock(&self.stripe.inner);
            match &mut inner.lanes[self.lane].phase {
                phase @ Phase::Swept { again: false } if !has_rung => {
                    *phase = Phase::On(set);
                    drop(inner);
                    return mem::forget(self);
                }
                _ => alarm = Some(set),
            }
        }
    }

    /// Wakes some of those whose deadlines have passed by `now`, or without that of all, and says who is left.
    fn look(&self, now: Option<Instant>) -> Left {
        const SOME: usize = 32;

        let mut wakers = [const { None }; SOME];
        let mut inner = lock(&self.stripe.inner);
        for waker in &mut wakers {
            *waker = inner.queue.pop(self.lane, now);
            if waker.is_none() {
                break;
            }
        }
        let lane = self.lane;
        let left = match inner.queue.first(lane) {
            None => {
                inner.lanes[lane].phase = Phase::Off;
                inner.queue.rest();
                Left::Nobody
            }
            Some(_) if wakers[0].is_some() => Left::Some,
            Some(next) => {
                inner.lanes[lane].phase = Phase::Swept { again: false };
                inner.lanes[lane].set_to = next;
                Left::Later(next)
            }
        };
        drop(inner);
        for waker in wakers.into_iter().flatten() {
            // The panic of one costs none of the others.
            drop(catch_unwind(AssertUnwindSafe(|| waker.wake())));
        }
        left
    }
}

impl<A: Alarm> Drop for Broom<'_, A> {
    /// Nobody will sweep: there was a panic, or the runtime shuts down. Everybody is woken, and finds out what is to be done
    /// where it is polled next.
    fn drop(&mut self) {
        while !matches!(self.look(None), Left::Nobody) {}
    }
}

/// Who still waits in a lane.
enum Left {
    /// Nobody. The lane is off, and the broom is spent.
    Nobody,
    /// Some, whose time may be over, too.
    Some,
    /// Some, the first of them until this instant.
    Later(Instant),
}

impl<A: Alarm + Send + 'static> Wake for Bell<A>
where
    A::Runtime: Send,
{
    fn wake(self: Arc<Self>) {
        self.wake_by_ref();
    }

    /// Called by whoever drives the runtime of the alarm, into which no panic may pass.
    fn wake_by_ref(self: &Arc<Self>) {
        if let Some(stripe) = self.stripe.upgrade() {
            drop(catch_unwind(AssertUnwindSafe(|| stripe.ring(self.lane))));
        }
    }
}

#[cfg(all(test, moneta_loom))]
mod tests {
    use std::time::Duration;

    use loom::{
        lazy_static, model,
        sync::{Arc, Mutex, atomic::AtomicBool},
        thread,
    };

    use super::*;
    use crate::sync::Ordering;

    /// An alarm that rings when the test has it ring.
    struct ByHand;

    lazy_static! {
        static ref RUNG: AtomicBool = AtomicBool::new(false);
        static ref BELL: Mutex<Option<Waker>> = Mutex::new(None);
    }

    impl Alarm for ByHand {
        type Runtime = u8;

        fn set(_: Option<Self>, _: Instant, bell: &Waker) -> (Self, bool) {
            *lock(&BELL) = Some(bell.clone());
            (Self, Self.has_rung())
        }

        fn has_rung(&self) -> bool {
            RUNG.load(Ordering::Acquire)
        }
    }

    /// As tokio does: first it is over, and then whoever asked is woken.
    fn ring() {
        RUNG.store(true, Ordering::Release);
        let bell = lock(&BELL).take();
        if let Some(bell) = bell {
            bell.wake();
        }
    }

    /// All share a lane.
    fn join(stripe: &Stripe<ByHand>, deadline: Instant) -> Place {
        let (place, broom) = stripe.join(1, deadline, Waker::noop()).expect("there are four lanes");
        if let Some(broom) = broom {
            broom.sweep(None);
        }
        place
    }

    fn waits(stripe: &Stripe<ByHand>, place: Place) -> bool {
        stripe.look_at(place, Waker::noop()) == Standing::Waits
    }

    #[test]
    fn loom_whoever_joins_while_the_alarm_is_set_or_rings_is_woken() {
        let far = Instant::now() + Duration::from_secs(3_600);
        model(move || {
            let stripe = Arc::new(Stripe::<ByHand>::new());
            let other = Arc::clone(&stripe);
            let joining = thread::spawn(move || join(&other, far));
            let ringing = thread::spawn(ring);
            let place = join(&stripe, far);
            let joined = joining.join().expect("no panic");
            ringing.join().expect("no panic");
            assert!(!waits(&stripe, place) && !waits(&stripe, joined));
            assert!(lock(&stripe.inner).lanes.iter().all(|lane| matches!(lane.phase, Phase::Off)));
        });
    }

    #[test]
    fn loom_whoever_leaves_while_the_alarm_rings_leaves_nothing_behind() {
        let far = Instant::now() + Duration::from_secs(3_600);
        model(move || {
            let stripe = Arc::new(Stripe::<ByHand>::new());
            let ringing = thread::spawn(ring);
            let (first, second) = (join(&stripe, far), join(&stripe, far));
            stripe.leave(first);
            ringing.join().expect("no panic");
            assert!(!waits(&stripe, second));
            assert!(lock(&stripe.inner).lanes.iter().all(|lane| matches!(lane.phase, Phase::Off)));
        });
    }
}
