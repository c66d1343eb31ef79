use std::{
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use tokio::{
    sync::{Notify, futures::OwnedNotified},
    time::Instant,
};

use super::{ArmError, Fault, KillSwitch, Outcomes, faults::Hook, sample::Group};
use crate::{
    call::later,
    event::{Event, Experiment},
    observer::Observer,
    policy::Course,
    ratio::Ratio,
    sync::{AtomicBool, AtomicU64},
    trial::{self, Enrolled, Trial},
};

/// One fault that was armed: the grip on it. Clones are the same grip; dropping it disarms nothing.
#[derive(Clone, Debug)]
pub struct Armed {
    pub(super) arming: Arc<Arming>,
    /// The kill switch ends what is armed in the hooks that it finds alive, and who holds this looks whether it did.
    pub(super) hook: Arc<Hook>,
    pub(super) switch: KillSwitch,
}

impl Armed {
    /// What was armed.
    pub fn fault(&self) -> &Fault {
        &self.arming.fault
    }

    /// Whether it hits calls still: it was not disarmed, no kill switch was pulled, and its time is not over.
    pub fn is_live(&self) -> bool {
        self.arming.is_live(Instant::now())
    }

    /// Whether its time is over, and nobody ended it before.
    #[cfg(feature = "fault-file")]
    pub(crate) fn has_lapsed(&self) -> bool {
        !self.arming.over.load(Ordering::Acquire) && !self.is_live()
    }

    /// Ends it, as [`Faults::disarm`](super::Faults::disarm) ends all.
    pub fn disarm(&self) {
        self.arming.end();
    }

    /// Begins its [lease](Fault::lease) anew, which never lengthens the time that it [lasts](Fault::lasting). False where it is
    /// over: that does not bring it back.
    pub fn renew(&self) -> bool {
        self.arming.renew(Instant::now())
    }

    /// Hits another share of the calls, from the next one on. A larger one only adds [units](Fault::sticky).
    ///
    /// # Errors
    ///
    /// When it is over, or a larger share would go over the [limits](super::FaultLimits): the share stays what it was.
    pub fn set_share(&self, share: Ratio) -> Result<(), ArmError> {
        let set = || self.arming.share.store(share.value().to_bits(), Ordering::Relaxed);
        if !self.is_live() {
            return Err(ArmError::Over);
        }
        if share <= self.arming.share() {
            // Less is always allowed, also while what is armed is more than it might be.
            set();
            return Ok(());
        }
        self.switch.admit(&self.hook, &self.arming.fault, share, set)
    }

    /// How many calls it hit.
    pub fn hit(&self) -> u64 {
        self.arming.hit.load(Ordering::Relaxed)
    }

    /// How many calls it left alone to compare with.
    pub fn control(&self) -> u64 {
        self.arming.control.load(Ordering::Relaxed)
    }

    /// Whether it ended by itself, and nobody disarmed it.
    #[cfg(feature = "chaos")]
    pub(crate) fn has_expired(&self) -> bool {
        !self.arming.over.load(Ordering::Acquire) && self.arming.ends() <= Instant::now()
    }

    /// When it last hit a call.
    #[cfg(feature = "chaos")]
    pub(crate) fn last_hit(&self) -> Option<Instant> {
        let last = self.arming.last.load(Ordering::Relaxed);
        (self.hit() > 0).then(|| later(self.arming.armed, Duration::from_nanos(last)))
    }

    /// What became of the calls that it is meant for, as their callers saw it; `None` of a fault that is for no
    /// [experiment](Fault::experiment).
    ///
    /// Counted are the calls of golden stacks, by what is known of them when they begin, and whether or not they come as far as the
    /// fault: one that an open breaker refuses is in its group, too.
    pub fn hit_outcomes(&self) -> Option<Outcomes> {
        self.arming.trial.as_ref().map(|trial| trial.outcomes(trial::Group::Hit))
    }

    /// The same of the calls that it leaves alone to compare with.
    pub fn control_outcomes(&self) -> Option<Outcomes> {
        self.arming.trial.as_ref().map(|trial| trial.outcomes(trial::Group::Control))
    }
}

/// A fault from its arming to its end.
#[derive(Debug)]
pub(super) struct Arming {
    pub(super) fault: Fault,
    armed: Instant,
    /// When its lease ends, in nanoseconds after its arming.
    leased: AtomicU64,
    over: AtomicBool,
    /// Wakes the calls that are held.
    end: Arc<Notify>,
    suffering: AtomicUsize,
    hit: AtomicU64,
    control: AtomicU64,
    /// Which share of the calls is hit: the bits of a [`Ratio`].
    share: AtomicU64,
    /// Where the calls that it is meant for are counted, if it is an experiment's.
    trial: Option<Arc<Trial>>,
    /// Whether nothing is done to the calls that it is meant for: all are its control.
    watches: bool,
    /// When it last hit a call, in nanoseconds after its arming.
    last: AtomicU64,
}

impl Arming {
    pub(super) fn new(fault: Fault) -> Self {
        let trial = (!fault.experiment.is_empty()).then(Arc::default);
        Self::counting(fault, trial, false)
    }

    pub(super) fn counting(fault: Fault, trial: Option<Arc<Trial>>, watches: bool) -> Self {
        let share = AtomicU64::new(fault.share.value().to_bits());
        let leased = AtomicU64::new(fault.lease.map_or(u64::MAX, nanos));
        Self {
            fault,
            armed: Instant::now(),
            leased,
            over: AtomicBool::new(false),
            end: Arc::default(),
            suffering: AtomicUsize::new(0),
            hit: AtomicU64::new(0),
            control: AtomicU64::new(0),
            share,
            trial,
            watches,
            last: AtomicU64::new(0),
        }
    }

    /// Tells that it hits a call, and marks the call.
    pub(super) fn tell(&self, observer: &Observer, course: &mut Course) {
        let Fault { effect, experiment, .. } = &self.fault;
        course.injected = true;
        observer.emit(Event::FaultInjected { fault: effect.kind(), experiment: Experiment::of(experiment) });
    }

    /// In which group a call is, or its unit.
    pub(super) fn group(&self, bucket: u32) -> Group {
        if self.watches {
            return Group::Control;
        }
        Group::of(bucket, self.share())
    }

    /// Enrols a call that begins.
    pub(super) fn enrol(&self, group: Group, enrolled: &mut Enrolled) {
        let group = match group {
            Group::Hit => trial::Group::Hit,
            Group::Control => trial::Group::Control,
            Group::Rest => return,
        };
        if let Some(trial) = &self.trial {
            enrolled.add(trial, group);
        }
    }

    /// Which share of the calls is hit.
    pub(super) fn share(&self) -> Ratio {
        Ratio::new(f64::from_bits(self.share.load(Ordering::Relaxed))).expect("a ratio was stored")
    }

    /// When it ends by itself, unless it is renewed.
    pub(super) fn ends(&self) -> Instant {
        let leased = Duration::from_nanos(self.leased.load(Ordering::Relaxed));
        later(self.armed, leased.min(self.fault.lasts))
    }

    pub(super) fn is_live(&self, now: Instant) -> bool {
        !self.over.load(Ordering::Acquire) && now < self.ends()
    }

    pub(super) fn end(&self) {
        // In this order: who is about to wait hears the bell, or sees that it is over.
        self.over.store(true, Ordering::Release);
        self.end.notify_waiters();
    }

    fn renew(&self, now: Instant) -> bool {
        if let Some(lease) = self.fault.lease {
            if !self.is_live(now) {
                return false;
            }
            let until = now.saturating_duration_since(self.armed).saturating_add(lease);
            self.leased.fetch_max(nanos(until), Ordering::Relaxed);
        }
        self.is_live(now)
    }

    /// Ready once it was ended; not when its time is over.
    pub(super) fn ended(&self) -> OwnedNotified {
        let ended = Arc::clone(&self.end).notified_owned();
        if self.over.load(Ordering::Acquire) {
            // It ended between the look of the caller and the line above.
            self.end.notify_waiters();
        }
        ended
    }

    /// Takes a call of this group in. `None` when it goes on as if there was nothing.
    pub(super) fn take(self: &Arc<Self>, group: Group, now: Instant) -> Option<Suffering> {
        if !self.is_live(now) {
            return None;
        }
        match group {
            Group::Hit => {
                let suffering = Suffering::enter(self)?;
                self.hit.fetch_add(1, Ordering::Relaxed);
                self.last.fetch_max(nanos(now.saturating_duration_since(self.armed)), Ordering::Relaxed);
                Some(suffering)
            }
            Group::Control => {
                self.control.fetch_add(1, Ordering::Relaxed);
                None
            }
            Group::Rest => None,
        }
    }
}

fn nanos(length: Duration) -> u64 {
    u64::try_from(length.as_nanos()).unwrap_or(u64::MAX)
}

/// A call that suffers a fault, among those that may at once.
#[derive(Debug)]
pub(super) struct Suffering(Arc<Arming>);

impl Suffering {
    fn enter(arming: &Arc<Arming>) -> Option<Self> {
        let room = |calls: usize| (calls < arming.fault.at_most).then_some(calls + 1);
        arming.suffering.fetch_update(Ordering::Relaxed, Ordering::Relaxed, room).ok()?;
        Some(Self(Arc::clone(arming)))
    }

    pub(super) fn from(&self) -> &Arc<Arming> {
        &self.0
    }
}

impl Drop for Suffering {
    fn drop(&mut self) {
        self.0.suffering.fetch_sub(1, Ordering::Relaxed);
    }
}
