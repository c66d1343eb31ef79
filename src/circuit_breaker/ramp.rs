//! The way back to full load: a share of the calls that grows with time.

use std::time::Duration;

use crate::{
    sync::{AtomicU32, Ordering},
    window::nanos,
};

/// Lets the share `max(10 %, t / length)` of the calls through, evenly: of ten calls at 10 % the first, and of three at
/// two thirds never two refused in a row.
///
/// Each call adds its share to what the calls before it left over, and passes when that makes a whole ("error
/// diffusion": Floyd, Steinberg, "An Adaptive Algorithm for Spatial Greyscale", 1976). That is one atomic add, and no
/// number of threads at once lets more through than the sum of their shares.
#[derive(Debug)]
pub(super) struct Ramp {
    /// At most what the machine's clock can tell.
    length: Duration,
    /// What is left over, in parts of 2³². A call that slept through to the next ramp adds to that one, a share at most.
    left_over: AtomicU32,
}

impl Ramp {
    /// A tenth of 2³², rounded up, so that every tenth call passes and not every eleventh.
    const LEAST: u32 = u32::MAX / 10 + 1;

    pub(super) fn new(length: Duration) -> Self {
        Self { length: Duration::from_nanos(nanos(length)), left_over: AtomicU32::new(0) }
    }

    /// Whether there is one at all.
    pub(super) fn is_off(&self) -> bool {
        self.length.is_zero()
    }

    pub(super) fn length(&self) -> Duration {
        self.length
    }

    /// Begins anew: the first call passes.
    pub(super) fn restart(&self) {
        // A swap, because loom does not keep plain stores and adds of one word in order.
        self.left_over.swap(Self::LEAST.wrapping_neg(), Ordering::Relaxed);
    }

    /// Takes the turn of a call, with so much of the ramp to come.
    pub(super) fn admits(&self, to_come: Duration) -> bool {
        let share = self.share(to_come);
        self.left_over.fetch_add(share, Ordering::Relaxed).checked_add(share).is_none()
    }

    /// Whether the next call would pass.
    pub(super) fn would_admit(&self, to_come: Duration) -> bool {
        self.left_over.load(Ordering::Relaxed).checked_add(self.share(to_come)).is_none()
    }

    /// In parts of 2³².
    fn share(&self, to_come: Duration) -> u32 {
        // A clock that was set back shows more to come than there is.
        let passed = u128::from(nanos(self.length.saturating_sub(to_come)));
        let share = (passed << 32) / u128::from(nanos(self.length).max(1));
        u32::try_from(share).unwrap_or(u32::MAX).max(Self::LEAST)
    }
}
