use std::sync::{Arc, LazyLock, Weak};

use super::{ArmError, Fault, FaultLimits, faults::Hook};
use tokio::time::Instant;

use crate::{
    ratio::Ratio,
    sync::{AtomicBool, Mutex, Ordering, lock},
};

static PROCESS: LazyLock<KillSwitch> = LazyLock::new(KillSwitch::new);

/// Ends all faults at once, whoever armed them. Clones are the same switch.
///
/// Every [`Faults`](super::Faults) stands under that of the [process](Self::process), unless it was made
/// [under](super::Faults::under) another.
///
/// ```
/// use moneta_resilience::fault::{Fault, Faults, KillSwitch};
///
/// let switch = KillSwitch::new();
/// let faults = Faults::under(&switch);
/// let armed = faults.arm(Fault::hang());
///
/// switch.engage();
/// assert!(!armed.is_live());
/// assert!(!faults.arm(Fault::hang()).is_live(), "nothing can be armed while it is engaged");
/// ```
#[derive(Clone, Debug, Default)]
pub struct KillSwitch {
    shared: Arc<Shared>,
}

#[derive(Debug, Default)]
struct Shared {
    engaged: AtomicBool,
    under: Mutex<Under>,
}

#[derive(Debug, Default)]
struct Under {
    limits: FaultLimits,
    /// Those in which something was armed.
    hooks: Vec<Weak<Hook>>,
}

impl KillSwitch {
    /// A switch of one's own.
    pub fn new() -> Self {
        Self::default()
    }

    /// The switch of the process.
    pub fn process() -> &'static Self {
        &PROCESS
    }

    /// Disarms all that is armed under it, and lets nothing be armed until it is [released](Self::release). Once it returns no
    /// call is hit any more, and those that were held go on.
    pub fn engage(&self) {
        self.shared.engaged.store(true, Ordering::SeqCst);
        // Those that are armed meanwhile see that it is engaged.
        let hooks: Vec<_> = lock(&self.shared.under).hooks.iter().filter_map(Weak::upgrade).collect();
        for hook in hooks {
            hook.disarm();
        }
    }

    /// Lets faults be armed again. Those that were ended stay so.
    pub fn release(&self) {
        self.shared.engaged.store(false, Ordering::SeqCst);
    }

    /// Whether it is engaged.
    pub fn is_engaged(&self) -> bool {
        self.shared.engaged.load(Ordering::SeqCst)
    }

    /// How much may be armed at once under it, from now on.
    pub fn limit(&self, limits: FaultLimits) {
        lock(&self.shared.under).limits = limits;
    }

    /// Arms a fault in this hook, or changes its share, if that may be.
    pub(super) fn admit<T>(
        &self,
        hook: &Arc<Hook>,
        fault: &Fault,
        share: Ratio,
        arm: impl FnOnce() -> T,
    ) -> Result<T, ArmError> {
        // Dropped after the lock: a fault may have somebody else's code in it.
        let mut hooks: Vec<Arc<Hook>> = Vec::new();
        let mut under = lock(&self.shared.under);
        // Whoever engages it from here on waits for the lock, and finds the hook.
        if self.is_engaged() {
            return Err(ArmError::Killed);
        }
        let now = Instant::now();
        hooks.extend(under.hooks.iter().filter_map(Weak::upgrade));
        let live: Vec<_> = hooks.iter().flat_map(|hook| hook.live(now)).collect();
        if let Some(taken) = hook.live(now).iter().find(|arming| arming.fault.shuts_out(fault)) {
            return Err(ArmError::Taken { experiment: Arc::clone(&taken.fault.experiment) });
        }
        let others = live.iter().filter(|arming| !std::ptr::eq(&raw const arming.fault, fault));
        under.limits.check(fault, share, others)?;
        if !hooks.iter().any(|known| Arc::ptr_eq(known, hook)) {
            hooks.push(Arc::clone(hook));
        }
        under.hooks = hooks.iter().map(Arc::downgrade).collect();
        Ok(arm())
    }
}
