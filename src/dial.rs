//! A share that is moved while the process runs: what an error budget turns, and others go by.

use std::{fmt, sync::Arc};

use crate::{
    ratio::Ratio,
    sync::{AtomicU32, Ordering},
};

const MILLION: u32 = 1_000_000;

/// A share between 0 and 1 that is moved while the process runs, and that others go by: a
/// [`RetryBudget`](crate::RetryBudget::scaled_by), the places for calls that may be shed.
///
/// Clones are the same dial. Reading it is one load.
///
/// ```
/// use moneta_resilience::{Dial, Ratio, RetryBudget};
///
/// let dial = Dial::new(Ratio::ONE);
/// let budget = RetryBudget::new().scaled_by(&dial);
/// dial.set(Ratio::ZERO); // no more retries, for now
/// assert_eq!(budget.remaining(tokio::time::Instant::now()), Some(0));
/// ```
#[derive(Clone)]
pub struct Dial(Arc<AtomicU32>);

impl Dial {
    /// A dial that stands at this share.
    pub fn new(share: Ratio) -> Self {
        Self(Arc::new(AtomicU32::new(millionths(share))))
    }

    /// Moves it. It is kept to a millionth.
    pub fn set(&self, share: Ratio) {
        // Relaxed: nothing but the number itself is read.
        self.0.store(millionths(share), Ordering::Relaxed);
    }

    /// Where it stands.
    pub fn get(&self) -> Ratio {
        Ratio::new(f64::from(self.millionths()) / f64::from(MILLION)).unwrap_or(Ratio::ONE)
    }

    /// That share of a number, rounded down.
    #[inline]
    pub(crate) fn of(&self, number: u32) -> u32 {
        let share = u64::from(number) * u64::from(self.millionths()) / u64::from(MILLION);
        u32::try_from(share).unwrap_or(number)
    }

    fn millionths(&self) -> u32 {
        self.0.load(Ordering::Relaxed)
    }
}

#[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "a ratio is 0 to 1")]
fn millionths(share: Ratio) -> u32 {
    (share.value() * f64::from(MILLION)).round() as u32
}

impl fmt::Debug for Dial {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Dial").field(&self.get()).finish()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_dial_gives_its_share_of_every_number() {
        let dial = Dial::new(Ratio::ONE);
        assert_eq!((dial.of(u32::MAX), dial.of(0)), (u32::MAX, 0));
        dial.set(Ratio::percent(50));
        assert_eq!((dial.of(10), dial.of(1), dial.clone().get()), (5, 0, Ratio::percent(50)));
        dial.set(Ratio::ZERO);
        assert_eq!(dial.of(u32::MAX), 0);
    }
}
