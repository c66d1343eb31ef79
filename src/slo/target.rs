use std::fmt;

/// Which share of the events is to be good, in steps of a millionth: 99.9 %.
///
/// It is kept in whole millionths, because budgets are computed from it and printed: `1.0 - 0.999` of floats is
/// 0.0010000000000000009.
///
/// ```
/// use moneta_resilience::slo::Target;
///
/// let target = Target::percent(99.95)?;
/// assert_eq!((target.to_string(), target.budget().to_string()), ("99.95 %".into(), "0.0005".into()));
/// assert!(Target::percent(100.0).is_err());
/// # Ok::<(), moneta_resilience::slo::InvalidTarget>(())
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Target(u32);

/// A share in whole millionths, which is shown as the decimal number that it is: `0.001`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Millionths(u32);

const MILLION: u32 = 1_000_000;

impl Target {
    /// 99.9 %.
    pub(super) const DEFAULT: Self = Self(999_000);

    /// A target from percent, with four decimals at most.
    ///
    /// # Errors
    ///
    /// [`InvalidTarget`] when it does not lie between 0 and 100, neither included, or has more than four decimals.
    pub fn percent(percent: f64) -> Result<Self, InvalidTarget> {
        // Not `!(a && b)`: the same is false for what is not a number.
        if !(percent > 0.0 && percent < 100.0) {
            return Err(InvalidTarget::OutOfRange { percent });
        }
        let millionths = percent * 10_000.0;
        // What a float makes of four decimals is off by less than a billionth of that.
        if (millionths - millionths.round()).abs() > 1e-6 || millionths.round() < 1.0 {
            return Err(InvalidTarget::TooFine { percent });
        }
        #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "from 1 to a million")]
        let millionths = millionths.round() as u32;
        Ok(Self(millionths))
    }

    /// Which share is to be good.
    pub fn good(self) -> Millionths {
        Millionths(self.0)
    }

    /// Which share may be bad: the error budget.
    pub fn budget(self) -> Millionths {
        Millionths(MILLION - self.0)
    }
}

impl fmt::Display for Target {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        decimal(f, self.0, 4)?;
        f.write_str(" %")
    }
}

impl Millionths {
    /// How many.
    pub fn count(self) -> u32 {
        self.0
    }

    /// The share as a number between 0 and 1, for arithmetic; as text it is exact.
    pub fn value(self) -> f64 {
        f64::from(self.0) / f64::from(MILLION)
    }
}

impl fmt::Display for Millionths {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        decimal(f, self.0, 6)
    }
}

/// Writes a number of so many decimals without those at its end that are zeros.
fn decimal(f: &mut fmt::Formatter<'_>, number: u32, mut decimals: u32) -> fmt::Result {
    let unit = 10_u32.pow(decimals);
    let (whole, mut fraction) = (number / unit, number % unit);
    if fraction == 0 {
        return write!(f, "{whole}");
    }
    while fraction % 10 == 0 {
        fraction /= 10;
        decimals -= 1;
    }
    write!(f, "{whole}.{fraction:0width$}", width = decimals as usize)
}

/// The error of [`Target::percent`].
#[derive(Clone, Copy, Debug, PartialEq, thiserror::Error)]
#[non_exhaustive]
pub enum InvalidTarget {
    /// It is no share that leaves a budget.
    #[error("a target lies between 0 and 100 percent, neither included, and not at {percent}")]
    OutOfRange {
        /// What was given.
        percent: f64,
    },
    /// It is finer than a millionth.
    #[error("a target has at most four decimals, 99.9999 percent, and not {percent}")]
    TooFine {
        /// What was given.
        percent: f64,
    },
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn a_budget_is_exact_to_the_last_digit() {
        for (percent, budget) in [
            (99.9, "0.001"),
            (99.0, "0.01"),
            (99.99, "0.0001"),
            (99.9999, "0.000001"),
            (50.0, "0.5"),
            (0.1, "0.999"),
        ] {
            let target = Target::percent(percent).expect("a good target");
            assert_eq!(target.budget().to_string(), budget);
            assert_eq!(target.to_string(), format!("{percent} %"));
        }
    }

    #[test]
    fn what_leaves_no_budget_and_what_is_too_fine_is_refused() {
        for percent in [0.0, -0.0, -1.0, 100.0, 100.1, 999.0, f64::NAN, f64::INFINITY, f64::NEG_INFINITY] {
            let refused = Target::percent(percent).expect_err("it is out of range");
            assert!(matches!(refused, InvalidTarget::OutOfRange { .. }), "{percent}: {refused:?}");
        }
        for percent in [99.999_99, 99.900_01, 33.333_333, 1e-9, f64::MIN_POSITIVE] {
            assert_eq!(Target::percent(percent), Err(InvalidTarget::TooFine { percent }));
        }
    }

    proptest! {
        #[test]
        fn every_target_comes_back_from_its_text(millionths in 1..MILLION) {
            let target = Target(millionths);
            let percent: f64 = target.to_string().trim_end_matches(" %").parse().expect("a number");
            prop_assert_eq!(Target::percent(percent), Ok(target));
            let budget = target.budget();
            prop_assert_eq!(budget.to_string().parse(), Ok(budget.value()));
            prop_assert_eq!(budget.count() + target.good().count(), MILLION);
        }
    }
}
