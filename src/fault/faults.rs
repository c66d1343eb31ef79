use std::{mem, sync::Arc, time::Duration};

use tokio::sync::{Notify, futures::OwnedNotified};

use crate::{
    class::Class,
    event::FaultKind,
    random::Random,
    ratio::Ratio,
    sync::{AtomicBool, Mutex, Ordering, lock},
};

/// What is done to calls, and to which share of them.
///
/// ```
/// use std::time::Duration;
/// use moneta_resilience::{Class, Ratio, fault::Fault};
///
/// let slow = Fault::latency(Duration::from_millis(300)).on(Ratio::percent(5));
/// let down = Fault::error(Class::TRANSIENT);
/// # assert_ne!(slow, down);
/// ```
#[derive(Clone, Copy, Debug, PartialEq)]
#[must_use = "a fault does nothing until it is armed"]
pub struct Fault {
    effect: Effect,
    share: Ratio,
}

#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) enum Effect {
    Latency(Duration),
    Error(Class),
    Hang,
}

impl Effect {
    pub(super) fn kind(self) -> FaultKind {
        match self {
            Self::Latency(_) => FaultKind::Latency,
            Self::Error(_) => FaultKind::Error,
            Self::Hang => FaultKind::Hang,
        }
    }
}

impl Fault {
    /// The call waits for `delay`, then goes on to the service.
    pub const fn latency(delay: Duration) -> Self {
        Self::all(Effect::Latency(delay))
    }

    /// The call is answered with an [`InjectedFault`](crate::InjectedFault) that stands for `class`; the
    /// service is not called.
    ///
    /// # Panics
    ///
    /// When `class` is `Success`: no error stands for that.
    #[track_caller]
    pub const fn error(class: Class) -> Self {
        assert!(!matches!(class, Class::Success), "an injected error cannot stand for success");
        Self::all(Effect::Error(class))
    }

    /// The call hangs, as a dependency does that never answers: until a limit further out drops it.
    pub const fn hang() -> Self {
        Self::all(Effect::Hang)
    }

    /// Only this share of the calls is hit, each drawn on its own. Default: all.
    pub const fn on(mut self, share: Ratio) -> Self {
        self.share = share;
        self
    }

    const fn all(effect: Effect) -> Self {
        Self { effect, share: Ratio::ONE }
    }
}

/// The switch of a fault hook: arms and disarms it while calls run. Clones are the same switch.
///
/// One switch may serve several layers.
#[derive(Clone, Debug)]
pub struct Faults {
    hook: Arc<Hook>,
}

#[derive(Debug)]
struct Hook {
    /// Whether it is worth the lock to look. What decides is `arming`.
    armed: AtomicBool,
    arming: Mutex<Option<Arming>>,
    random: Random,
}

/// A fault from its arming to its end. The next one has a bell of its own, so that the end of one fault never
/// lets go what the next one holds.
#[derive(Debug)]
struct Arming {
    fault: Fault,
    /// Wakes the calls that are held.
    end: Arc<Notify>,
}

/// What a call has to suffer, and the end of it.
pub(super) struct Injection {
    pub(super) effect: Effect,
    /// Ready once the fault is disarmed.
    pub(super) released: OwnedNotified,
}

impl Faults {
    /// A switch with nothing armed.
    pub fn new() -> Self {
        Self::with(Random::from_entropy())
    }

    /// The same, drawing always the same calls for the same seed: for tests.
    pub fn seeded(seed: u64) -> Self {
        Self::with(Random::seeded(seed))
    }

    /// Arms a fault, from the next call on, in the place of the one that was armed; calls which that one
    /// holds go on.
    pub fn arm(&self, fault: Fault) {
        self.set(Some(fault));
    }

    /// The kill switch: once it returns no call is hit any more, and those that were held go on to the
    /// service.
    pub fn disarm(&self) {
        self.set(None);
    }

    /// What is armed.
    pub fn armed(&self) -> Option<Fault> {
        lock(&self.hook.arming).as_ref().map(|arming| arming.fault)
    }

    /// Decides over one call. Disarmed it is one relaxed load.
    #[inline]
    pub(super) fn draw(&self) -> Option<Injection> {
        // A thread may see an old value for a moment: then it passes a call that could have been hit, or
        // looks under the lock, where a fault that was disarmed is gone.
        if self.hook.armed.load(Ordering::Relaxed) { self.draw_armed() } else { None }
    }

    #[cold]
    fn draw_armed(&self) -> Option<Injection> {
        let arming = lock(&self.hook.arming);
        let Arming { fault: Fault { effect, share }, end } = arming.as_ref()?;
        if self.hook.random.unit() >= share.value() {
            return None;
        }
        // Made under the lock, so before the end of this fault, which reaches all that were made before it.
        Some(Injection { effect: *effect, released: Arc::clone(end).notified_owned() })
    }

    fn set(&self, fault: Option<Fault>) {
        let before = {
            let mut arming = lock(&self.hook.arming);
            self.hook.armed.store(fault.is_some(), Ordering::Relaxed);
            mem::replace(&mut *arming, fault.map(|fault| Arming { fault, end: Arc::default() }))
        };
        // Outside the lock: wakers are somebody else's code.
        if let Some(before) = before {
            before.end.notify_waiters();
        }
    }

    fn with(random: Random) -> Self {
        Self { hook: Arc::new(Hook { armed: AtomicBool::new(false), arming: Mutex::new(None), random }) }
    }
}

impl Default for Faults {
    fn default() -> Self {
        Self::new()
    }
}
