use std::{error::Error, fmt, sync::Arc};

use super::{Fault, arming::Arming};
use crate::ratio::Ratio;

/// How much may be armed at once under a [kill switch](super::KillSwitch), over all hooks and experiments.
///
/// Looked at when a fault is armed, and when its share [changes](super::Armed::set_share). What was armed before limits became
/// narrower stays.
///
/// ```
/// use moneta_resilience::{Class, Ratio, fault::{ArmError, Fault, Faults, KillSwitch, FaultLimits}};
///
/// let switch = KillSwitch::new();
/// switch.limit(FaultLimits::new().share(Ratio::percent(10)));
/// let faults = Faults::under(&switch);
/// let slow = Fault::latency(std::time::Duration::from_millis(300)).experiment("slow").on(Ratio::percent(8));
/// let slow = faults.try_arm(slow).expect("there is room for 8 %");
///
/// let down = Fault::error(Class::TRANSIENT).on(Ratio::percent(5));
/// assert!(matches!(faults.try_arm(down), Err(ArmError::TooMuch { .. })));
/// assert!(slow.is_live());
/// ```
///
/// # Defaults
///
/// | setting | default |
/// |---|---|
/// | [`active`](Self::active) | 64 faults |
/// | [`share`](Self::share) | no bound |
#[derive(Clone, Copy, Debug, PartialEq)]
#[must_use = "limits do nothing until a switch has them"]
pub struct FaultLimits {
    active: usize,
    share: Option<Ratio>,
}

impl Default for FaultLimits {
    fn default() -> Self {
        Self { active: 64, share: None }
    }
}

impl FaultLimits {
    /// The default ones.
    pub fn new() -> Self {
        Self::default()
    }

    /// At most so many faults are armed at once. Default: 64.
    pub fn active(mut self, faults: usize) -> Self {
        self.active = faults;
        self
    }

    /// The shares of all that is armed come to this at most. Faults of one [experiment](Fault::experiment) hit the same calls and
    /// count once, with the largest share. Each share is of the calls that its target matches, so the sum is never less than the
    /// share of all calls that is hit. Default: no bound.
    pub fn share(mut self, share: Ratio) -> Self {
        self.share = Some(share);
        self
    }

    /// Whether `fault` may be armed, with this share, beside these.
    pub(super) fn check<'a>(
        self,
        fault: &'a Fault,
        share: Ratio,
        others: impl Iterator<Item = &'a Arc<Arming>> + Clone,
    ) -> Result<(), ArmError> {
        if others.clone().count() >= self.active {
            return Err(ArmError::TooMany { limit: self.active });
        }
        let Some(limit) = self.share else { return Ok(()) };
        let mut shares: Vec<(&str, Ratio)> = Vec::new();
        let armed = others.map(|arming| (&*arming.fault.experiment, arming.share()));
        for (experiment, share) in armed.chain([(&*fault.experiment, share)]) {
            match shares.iter_mut().find(|(name, _)| !name.is_empty() && *name == experiment) {
                Some((_, largest)) if largest.value() < share.value() => *largest = share,
                Some(_) => {}
                None => shares.push((experiment, share)),
            }
        }
        let sum: f64 = shares.iter().map(|(_, share)| share.value()).sum();
        // Shares are whole buckets; what a sum of fractions is off by is less.
        if sum > limit.value() + 1e-9 { Err(ArmError::TooMuch { sum, limit }) } else { Ok(()) }
    }
}

/// Why a fault was not armed, or its share not changed.
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub enum ArmError {
    /// The kill switch is engaged.
    Killed,
    /// As many faults are armed as may be.
    TooMany {
        /// How many that is.
        limit: usize,
    },
    /// The shares of what is armed would come to more than may be.
    TooMuch {
        /// What they would come to.
        sum: f64,
        /// What they may.
        limit: Ratio,
    },
    /// Another experiment is armed in this hook whose [target](Fault::target) may match the same calls: what becomes of them could
    /// not be told apart.
    Taken {
        /// Its name.
        experiment: Arc<str>,
    },
    /// It was armed and is over.
    Over,
}

impl fmt::Display for ArmError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Killed => f.write_str("the kill switch is engaged"),
            Self::TooMany { limit } => write!(f, "{limit} faults are armed already, which is the limit"),
            Self::TooMuch { sum, limit } => write!(
                f,
                "the shares of all faults would come to {:.4} %, over the limit of {:.4} %",
                100.0 * sum,
                100.0 * limit.value()
            ),
            Self::Taken { experiment } => {
                write!(f, "the experiment `{experiment}` is armed for calls that this one may hit as well")
            }
            Self::Over => f.write_str("the fault is over"),
        }
    }
}

impl Error for ArmError {}
