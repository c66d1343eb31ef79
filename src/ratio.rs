//! Numbers that cannot be wrong.

use std::fmt;

/// A share between 0 and 1, both included: a failure rate, the share of calls that may be retried.
///
/// ```
/// use moneta_resilience::Ratio;
///
/// assert_eq!(Ratio::percent(20), Ratio::new(0.2)?);
/// assert!(Ratio::new(1.5).is_err());
/// assert!(Ratio::new(f64::NAN).is_err());
/// # Ok::<(), moneta_resilience::InvalidRatio>(())
/// ```
#[derive(Clone, Copy, Debug, PartialEq, PartialOrd)]
pub struct Ratio(f64);

impl Ratio {
    /// None of it.
    pub const ZERO: Self = Self(0.0);
    /// All of it.
    pub const ONE: Self = Self(1.0);

    /// A ratio from a number between 0 and 1.
    ///
    /// # Errors
    ///
    /// [`InvalidRatio`] when the value is not a number, below 0 or above 1.
    pub const fn new(value: f64) -> Result<Self, InvalidRatio> {
        if value >= 0.0 && value <= 1.0 { Ok(Self(value)) } else { Err(InvalidRatio { value }) }
    }

    /// A ratio from whole percent, for literals; in a `const` a wrong one does not compile.
    ///
    /// # Panics
    ///
    /// When `percent` is over 100.
    #[track_caller]
    pub const fn percent(percent: u8) -> Self {
        assert!(percent <= 100, "a ratio is at most 100 percent");
        Self(percent as f64 / 100.0)
    }

    /// The ratio as a number between 0 and 1.
    pub const fn value(self) -> f64 {
        self.0
    }

    /// From a number of percent that somebody wrote.
    #[cfg(feature = "fault-file")]
    pub(crate) fn from_percent(percent: f64) -> Result<Self, InvalidRatio> {
        Self::new(shifted(percent, -2))
    }

    /// As people write it. Back again it is the same, where it has 15 digits or fewer.
    pub(crate) fn in_percent(self) -> f64 {
        shifted(self.0, 2)
    }
}

/// Moves the decimal point: 0.07 is 7 percent, where 0.07 · 100 is a little more.
fn shifted(number: f64, places: i8) -> f64 {
    format!("{number}e{places}").parse().unwrap_or(f64::NAN)
}

impl fmt::Display for Ratio {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} %", self.in_percent())
    }
}

/// The error of [`Ratio::new`].
#[derive(Clone, Copy, Debug, PartialEq, thiserror::Error)]
#[error("a ratio lies between 0 and 1, not at {value}")]
pub struct InvalidRatio {
    value: f64,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_whole_percent_is_shown_as_such() {
        for percent in 0..=100 {
            assert_eq!(Ratio::percent(percent).to_string(), format!("{percent} %"));
        }
    }

    #[test]
    #[should_panic(expected = "a ratio is at most 100 percent")]
    fn more_than_all_of_it_is_refused() {
        let _ = Ratio::percent(101);
    }
}
