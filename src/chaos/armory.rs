//! What a run has armed.

use std::{
    mem,
    num::NonZeroU64,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use tokio::time::Instant;

use super::{Experiment, Lab, lab::Ask};
use crate::{
    fault::{ArmError, Armed, Fault, Outcomes, Place},
    ratio::Ratio,
    sync::{Mutex, lock},
    trial::{Group, Trial},
};

pub(super) struct Armory {
    /// Tells its faults from those of another run of the same experiment.
    run: NonZeroU64,
    inner: Mutex<Inner>,
}

impl Default for Armory {
    fn default() -> Self {
        static RUNS: AtomicU64 = AtomicU64::new(0);
        let run = RUNS.fetch_add(1, Ordering::Relaxed).saturating_add(1);
        Self { run: NonZeroU64::new(run).unwrap_or(NonZeroU64::MAX), inner: Mutex::default() }
    }
}

#[derive(Default)]
struct Inner {
    /// Nothing is armed any more.
    closed: bool,
    watching: bool,
    armed: Vec<Armed>,
    /// What was armed with this experiment before.
    gone: Vec<Armed>,
    trial: Arc<Trial>,
    undo: Option<Ask>,
}

impl Armory {
    /// Counts all calls that the experiment is about, and does nothing to them.
    pub(super) fn watch(&self, lab: &Lab, experiment: &Experiment) -> Result<(), ArmError> {
        let nothing = Fault::hang();
        let injected = experiment.faults.iter();
        let injected = injected.map(|one| (one.stack.as_str(), one.hook, &one.fault));
        let acting =
            experiment.action.iter().map(|action| (action.watching.as_str(), Place::Service, &nothing));
        let mut inner = lock(&self.inner);
        (inner.watching, inner.trial) = (true, Arc::default());
        for (stack, hook, fault) in injected.chain(acting) {
            let fault = fault.clone().experiment(&experiment.name).of_run(self.run).lasting(Duration::MAX);
            inner.arm(lab, stack, hook, &fault)?;
        }
        Ok(())
    }

    /// Arms the faults of the experiment.
    pub(super) fn inject(
        &self,
        lab: &Lab,
        experiment: &Experiment,
        share: Ratio,
        lasting: Duration,
    ) -> Result<(), ArmError> {
        let mut inner = lock(&self.inner);
        (inner.watching, inner.trial) = (false, Arc::default());
        for injection in &experiment.faults {
            let fault = injection.fault.clone().experiment(&experiment.name).of_run(self.run).on(share);
            let fault = fault.lasting(lasting).lease(lab.leased_for());
            inner.arm(lab, &injection.stack, injection.hook, &fault)?;
        }
        Ok(())
    }

    pub(super) fn set_share(&self, share: Ratio) -> Result<(), ArmError> {
        lock(&self.inner).armed.iter().try_for_each(|armed| armed.set_share(share))
    }

    /// Renews what is armed. An error says whether it has ended by itself.
    pub(super) fn renew(&self) -> Result<(), bool> {
        let inner = lock(&self.inner);
        match inner.armed.iter().find(|armed| !armed.renew()) {
            Some(armed) => Err(armed.has_expired()),
            None => Ok(()),
        }
    }

    /// Disarms everything.
    pub(super) fn clear(&self) {
        let armed = {
            let mut inner = lock(&self.inner);
            let armed = mem::take(&mut inner.armed);
            if !inner.watching {
                inner.gone.extend(armed.iter().cloned());
            }
            armed
        };
        // Outside the lock: wakers are somebody else's code.
        armed.iter().for_each(Armed::disarm);
    }

    /// Disarms everything for good.
    pub(super) fn close(&self) {
        let armed = {
            let mut inner = lock(&self.inner);
            inner.closed = true;
            inner.armed.clone()
        };
        armed.iter().for_each(Armed::disarm);
    }

    /// What became of the calls that are hit, or watched, and of those that they are compared with.
    pub(super) fn outcomes(&self) -> (Outcomes, Outcomes) {
        let inner = lock(&self.inner);
        let control = inner.trial.outcomes(Group::Control);
        if inner.watching {
            (control, Outcomes::default())
        } else {
            (inner.trial.outcomes(Group::Hit), control)
        }
    }

    /// How many injections there were.
    pub(super) fn hit(&self) -> u64 {
        lock(&self.inner).all().map(Armed::hit).sum()
    }

    /// When the last one was.
    pub(super) fn last_hit(&self) -> Option<Instant> {
        lock(&self.inner).all().filter_map(Armed::last_hit).max()
    }

    pub(super) fn set_undo(&self, undo: Ask) {
        lock(&self.inner).undo = Some(undo);
    }

    pub(super) fn take_undo(&self) -> Option<Ask> {
        lock(&self.inner).undo.take()
    }
}

impl Inner {
    fn arm(&mut self, lab: &Lab, stack: &str, hook: Place, fault: &Fault) -> Result<(), ArmError> {
        if self.closed {
            return Err(ArmError::Over);
        }
        for place in lab.places(stack) {
            let hook = match hook {
                Place::Service => Some(&place.faults),
                Place::Ingress => place.ingress.as_ref(),
            };
            if let Some(faults) = hook {
                self.armed.push(faults.arm_counting(fault.clone(), &self.trial, self.watching)?);
            }
        }
        Ok(())
    }

    fn all(&self) -> impl Iterator<Item = &Armed> {
        self.armed.iter().chain(&self.gone)
    }
}
