use std::{mem, sync::Arc};

use arc_swap::ArcSwap;
use tokio::time::Instant;

use super::{
    ArmError, Armed, Fault, KillSwitch, Subject, Target, Unit,
    arming::Arming,
    fault::Effect,
    injected::{Drawn, Injected},
    sample::{BUCKETS, Group, bucket},
    subject::instance,
    target::Seen,
};
use crate::{
    call::Call,
    name::Name,
    policy::Course,
    random::Random,
    sync::{AtomicBool, Mutex, Ordering, lock},
};
#[cfg(feature = "chaos")]
use crate::{ratio::Ratio, trial::Trial};

/// The switch of a fault hook: arms and disarms it while calls run. Clones are the same switch.
///
/// One switch may serve several layers.
#[derive(Clone, Debug)]
pub struct Faults {
    hook: Arc<Hook>,
    switch: KillSwitch,
}

#[derive(Debug)]
pub(super) struct Hook {
    /// Whether it is worth to look. What decides is `armings`.
    armed: AtomicBool,
    armings: ArcSwap<Vec<Arc<Arming>>>,
    denied: ArcSwap<Vec<Target>>,
    /// Held by who changes `armings`.
    changing: Mutex<()>,
    random: Random,
}

impl Faults {
    /// A switch with nothing armed, under the [kill switch](KillSwitch) of the process.
    pub fn new() -> Self {
        Self::with(Random::from_entropy(), KillSwitch::process())
    }

    /// The same, under another kill switch.
    pub fn under(switch: &KillSwitch) -> Self {
        Self::with(Random::from_entropy(), switch)
    }

    /// The same, drawing always the same calls for the same seed: for tests.
    pub fn seeded(seed: u64) -> Self {
        Self::with(Random::seeded(seed), KillSwitch::process())
    }

    /// Arms a fault, from the next call on, beside those that are armed: each is decided on its own, and a call that is hit by
    /// several suffers them in the order of their arming.
    ///
    /// What [may not](ArmError) be armed is over at once.
    pub fn arm(&self, fault: Fault) -> Armed {
        let armed = self.grip(Arc::new(Arming::new(fault)));
        if self.admit(&armed).is_err() {
            armed.disarm();
        }
        armed
    }

    /// The same, for who wants to know why a fault may not be armed.
    ///
    /// # Errors
    ///
    /// The kill switch is engaged; the [limits](super::FaultLimits) leave no room; or another [experiment](Fault::experiment) is
    /// armed here for calls that this one may hit as well.
    pub fn try_arm(&self, fault: Fault) -> Result<Armed, ArmError> {
        let armed = self.grip(Arc::new(Arming::new(fault)));
        self.admit(&armed).map(|()| armed)
    }

    /// Arms a fault of an experiment, whose calls are counted in its trial; or, to watch, one that does nothing and has no lease, and
    /// has all calls that it is meant for counted as control.
    #[cfg(feature = "chaos")]
    pub(crate) fn arm_counting(
        &self,
        mut fault: Fault,
        trial: &Arc<Trial>,
        watches: bool,
    ) -> Result<Armed, ArmError> {
        if watches {
            (fault.lease, fault.share) = (None, Ratio::ZERO);
        }
        let armed = self.grip(Arc::new(Arming::counting(fault, Some(Arc::clone(trial)), watches)));
        self.admit(&armed).map(|()| armed)
    }

    /// Ends all that is armed: once it returns no call is hit any more, and those that were held go on to the service.
    pub fn disarm(&self) {
        self.hook.disarm();
    }

    /// What is armed, in the order of arming.
    pub fn armed(&self) -> Vec<Armed> {
        self.hook.live(Instant::now()).into_iter().map(|arming| self.grip(arming)).collect()
    }

    /// Calls that no fault may hit, whatever it is meant for; in the place of those that were named before. Calls that a fault
    /// holds stay held. Default: none.
    pub fn deny(&self, targets: impl IntoIterator<Item = Target>) {
        self.hook.denied.store(Arc::new(targets.into_iter().collect()));
    }

    /// Whether both are the same switch.
    #[cfg(feature = "fault-file")]
    pub(crate) fn is(&self, other: &Self) -> bool {
        Arc::ptr_eq(&self.hook, &other.hook)
    }

    /// Decides over one call. Disarmed it is one relaxed load.
    #[inline]
    pub(super) fn draw(&self, decide: impl FnOnce(&Hook) -> Option<Injected>) -> Option<Box<Injected>> {
        // A thread may see an old value for a moment: then it passes a call that could have been hit, or looks at a list from
        // which a fault that was disarmed is gone.
        if self.may_be_armed() { decide(&self.hook).map(Box::new) } else { None }
    }

    /// False while nothing is armed.
    #[inline]
    pub(super) fn may_be_armed(&self) -> bool {
        self.hook.armed.load(Ordering::Relaxed)
    }

    /// Enrols a call that begins for the experiments that are armed here.
    pub(super) fn enrol(&self, pipeline: &Name, course: &mut Course, subject: &dyn Subject) {
        let (armings, now) = (self.hook.armings.load(), Instant::now());
        let seen = Seen { pipeline, instance: instance(), call: &course.call, subject };
        if !self.hook.denies(&seen) {
            for arming in armings.iter().filter(|arming| arming.is_live(now)) {
                arming.enrol(self.hook.group(arming, &seen), &mut course.enrolled);
            }
        }
    }

    pub(super) fn random(&self) -> &Random {
        &self.hook.random
    }

    fn grip(&self, arming: Arc<Arming>) -> Armed {
        Armed { arming, hook: Arc::clone(&self.hook), switch: self.switch.clone() }
    }

    fn admit(&self, Armed { arming, .. }: &Armed) -> Result<(), ArmError> {
        let arm = || self.hook.change(|armings| armings.push(Arc::clone(arming)));
        self.switch.admit(&self.hook, &arming.fault, arming.share(), arm)
    }

    fn with(random: Random, switch: &KillSwitch) -> Self {
        let hook = Hook {
            armed: AtomicBool::new(false),
            armings: ArcSwap::default(),
            denied: ArcSwap::default(),
            changing: Mutex::new(()),
            random,
        };
        Self { hook: Arc::new(hook), switch: switch.clone() }
    }
}

impl Default for Faults {
    fn default() -> Self {
        Self::new()
    }
}

impl Hook {
    /// Says which faults are meant for a call.
    #[cold]
    pub(super) fn decide(
        &self,
        pipeline: &Name,
        call: &Call,
        subject: &dyn Subject,
        concerns: impl Fn(&Effect) -> bool,
    ) -> Option<Injected> {
        let armings = self.armings.load();
        let now = Instant::now();
        if armings.iter().any(|arming| !arming.is_live(now)) {
            // Also so that a hook whose faults are over costs one load again.
            self.change(|armings| armings.retain(|arming| arming.is_live(now)));
        }
        let seen = Seen { pipeline, instance: instance(), call, subject };
        if self.denies(&seen) {
            return None;
        }
        let concerned = armings.iter().filter(|arming| concerns(&arming.fault.effect));
        let drawn: Vec<_> = concerned
            .map(|arming| (arming, self.group(arming, &seen)))
            .filter(|&(_, group)| group != Group::Rest)
            .map(|(arming, group)| Drawn::new(Arc::clone(arming), group))
            .collect();
        (!drawn.is_empty()).then(|| Injected::new(drawn))
    }

    fn denies(&self, seen: &Seen<'_>) -> bool {
        self.denied.load().iter().any(|target| target.matches(seen))
    }

    /// In which group of a fault a call is.
    fn group(&self, arming: &Arming, seen: &Seen<'_>) -> Group {
        let fault = &arming.fault;
        if !fault.target.matches(seen) || (seen.subject.is_delicate() && !fault.delicate) {
            return Group::Rest;
        }
        let unit = fault.unit.as_ref().and_then(|unit| unit.of(seen.subject));
        let lot = seen.call.lot.filter(|_| !fault.experiment.is_empty()).map(|lot| lot.get().to_le_bytes());
        let bucket = match unit.or(lot.as_ref().map(<[u8; 4]>::as_slice)) {
            Some(unit) => bucket(&fault.experiment, unit),
            None => self.random.below(BUCKETS),
        };
        arming.group(bucket)
    }

    /// What is armed and not over, in the order of arming.
    pub(super) fn live(&self, now: Instant) -> Vec<Arc<Arming>> {
        self.armings.load().iter().filter(|arming| arming.is_live(now)).cloned().collect()
    }

    pub(super) fn disarm(&self) {
        let before = self.change(mem::take);
        // Outside the lock: wakers are somebody else's code.
        for arming in before {
            arming.end();
        }
    }

    fn change<T>(&self, change: impl FnOnce(&mut Vec<Arc<Arming>>) -> T) -> T {
        let _changing = lock(&self.changing);
        let mut armings = Vec::clone(&self.armings.load());
        let changed = change(&mut armings);
        self.armed.store(!armings.is_empty(), Ordering::Relaxed);
        self.armings.store(Arc::new(armings));
        changed
    }
}

impl Unit {
    fn of<'a>(&self, subject: &'a dyn Subject) -> Option<&'a [u8]> {
        match self {
            Self::Header(name) => subject.header(name),
            Self::Caller => subject.caller().map(str::as_bytes),
            Self::Tenant => subject.tenant().map(str::as_bytes),
        }
    }
}
