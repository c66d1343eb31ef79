use std::sync::{Arc, LazyLock, Weak};

use super::faults::Hook;
use crate::sync::{AtomicBool, Mutex, Ordering, lock};

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
    /// Those under which something was armed.
    hooks: Mutex<Vec<Weak<Hook>>>,
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
        let hooks: Vec<_> = lock(&self.shared.hooks).iter().filter_map(Weak::upgrade).collect();
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

    pub(super) fn enlist(&self, hook: &Arc<Hook>) {
        let mut hooks = lock(&self.shared.hooks);
        hooks.retain(|known| known.strong_count() > 0);
        if !hooks.iter().any(|known| known.as_ptr() == Arc::as_ptr(hook)) {
            hooks.push(Arc::downgrade(hook));
        }
    }
}
