//! The name of a pipeline: what its metrics, its errors and its handle are called.

use std::{fmt, sync::Arc};

/// The name of a pipeline, such as `"market-data"`: 1 to 64 bytes without control characters.
///
/// Names come from the code or the configuration of a service and become metric labels, so there are few of them.
/// Cloning shares the text.
#[derive(Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Name(Arc<str>);

impl Name {
    /// The longest name, in bytes.
    pub const MAX_LEN: usize = 64;

    /// Checks a name.
    ///
    /// # Errors
    ///
    /// [`InvalidName`] when the name is empty, longer than [`Name::MAX_LEN`] bytes, or has a control character.
    pub fn new(name: &str) -> Result<Self, InvalidName> {
        if name.is_empty() {
            Err(InvalidName::Empty)
        } else if name.len() > Self::MAX_LEN {
            Err(InvalidName::TooLong { len: name.len() })
        } else if name.chars().any(char::is_control) {
            Err(InvalidName::ControlCharacter)
        } else {
            Ok(Self(name.into()))
        }
    }

    /// Checks a name that stands in the code.
    #[track_caller]
    pub(crate) fn literal(name: &str) -> Self {
        match Self::new(name) {
            Ok(name) => name,
            Err(error) => panic!("{error}"),
        }
    }

    /// The name as text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for Name {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(&self.0, f)
    }
}

impl fmt::Display for Name {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// The error of [`Name::new`].
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum InvalidName {
    /// The name is empty.
    #[error("a pipeline needs a name: it is empty")]
    Empty,
    /// The name is longer than [`Name::MAX_LEN`].
    #[error("a pipeline's name has at most 64 bytes, not {len}")]
    TooLong {
        /// The length of the refused name in bytes.
        len: usize,
    },
    /// The name has a control character.
    #[error("a pipeline's name has no control characters")]
    ControlCharacter,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn wrong_names_are_refused_with_the_reason() {
        assert_eq!(Name::new(""), Err(InvalidName::Empty));
        assert_eq!(Name::new(&"x".repeat(65)), Err(InvalidName::TooLong { len: 65 }));
        assert_eq!(Name::new("a\nb"), Err(InvalidName::ControlCharacter));
        assert_eq!(Name::new("größe").expect("fine").as_str(), "größe");
    }
}
