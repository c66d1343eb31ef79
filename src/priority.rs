//! How much it matters that a call is served, when not all of them can be.

use std::fmt;

use crate::ratio::Ratio;

/// How much it matters that a call is served, when not all of them can be: the four criticalities of Google's RPC system
/// (Beyer et al., *Site Reliability Engineering*, ch. 21, "Criticality").
///
/// It travels with the work in hand: a golden server reads it from `x-request-priority`, what the handler calls inherits
/// it, and golden clients write it on. With [`current`](Self::current) it is read, with [`scope`](Self::scope) set.
/// Greater is more important.
///
/// ```
/// # #[tokio::main(flavor = "current_thread")] async fn main() {
/// use moneta_resilience::Priority;
///
/// assert_eq!(Priority::current(), Priority::Critical);
/// let report = async { Priority::current() };
/// assert_eq!(Priority::Sheddable.scope(report).await, Priority::Sheddable);
/// # }
/// ```
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[non_exhaustive]
pub enum Priority {
    /// Nobody minds when it fails for a while, or comes later: batches, reports.
    Sheddable,
    /// It may fail for a while, and somebody will ask again: what runs in the background for users.
    SheddablePlus,
    /// Users see it when it fails. What has no other priority is that.
    #[default]
    Critical,
    /// The last to be refused: money movement. So little of it that there is always room, or it protects nothing.
    CriticalPlus,
}

impl Priority {
    /// All priorities, the least important first.
    pub const ALL: [Self; 4] = [Self::Sheddable, Self::SheddablePlus, Self::Critical, Self::CriticalPlus];

    /// A stable identifier, fit for metric labels; on the wire it is the same.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Sheddable => "sheddable",
            Self::SheddablePlus => "sheddable_plus",
            Self::Critical => "critical",
            Self::CriticalPlus => "critical_plus",
        }
    }

    /// Which share of the places calls of this priority may fill, where places are kept for the more important ones.
    pub const fn share(self) -> Ratio {
        Ratio::percent(self.percent())
    }

    /// The same in percent.
    pub(crate) const fn percent(self) -> u8 {
        match self {
            Self::Sheddable => 60,
            Self::SheddablePlus => 75,
            Self::Critical => 90,
            Self::CriticalPlus => 100,
        }
    }

    /// Reads an identifier, in letters of any case; `-` stands for `_`.
    #[cfg(feature = "http")]
    pub(crate) fn parse(text: &[u8]) -> Option<Self> {
        let alike = |a: &u8, b: u8| a.to_ascii_lowercase() == b || (*a == b'-' && b == b'_');
        Self::ALL.into_iter().find(|priority| {
            let name = priority.as_str();
            name.len() == text.len() && text.iter().zip(name.bytes()).all(|(a, b)| alike(a, b))
        })
    }
}

impl fmt::Display for Priority {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_more_important_is_the_greater_and_has_the_greater_share() {
        assert!(Priority::ALL.is_sorted());
        assert!(Priority::ALL.map(|priority| priority.share().value()).is_sorted());
        assert_eq!(Priority::default(), Priority::Critical);
    }

    #[cfg(feature = "http")]
    #[test]
    fn what_is_written_is_read_back_and_garbage_is_not_read() {
        for priority in Priority::ALL {
            assert_eq!(Priority::parse(priority.as_str().as_bytes()), Some(priority));
        }
        assert_eq!(Priority::parse(b"CRITICAL-Plus"), Some(Priority::CriticalPlus));
        for garbage in [&b""[..], b"criticalplus", b"critical ", b"0", b"critical_plus_plus", b"\xff\xff"] {
            assert_eq!(Priority::parse(garbage), None, "{garbage:?}");
        }
    }
}
