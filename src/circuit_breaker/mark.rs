use crate::window::Kind;

/// What a call that was given back says about the dependency.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Mark {
    Success,
    Slow,
    Failure,
    /// A failure in the rates, not in a row.
    Throttled,
    Abandoned,
    /// The dependency was not asked.
    Nothing,
}

impl Mark {
    /// As what it counts in a window.
    pub(super) const fn kinds(self) -> &'static [Kind] {
        match self {
            Self::Success => &[Kind::Call],
            Self::Slow => &[Kind::Call, Kind::Slow],
            Self::Failure | Self::Throttled => &[Kind::Call, Kind::Failure],
            Self::Abandoned => &[Kind::Abandoned],
            Self::Nothing => &[],
        }
    }
}
