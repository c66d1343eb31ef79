use std::{error::Error, fmt};

use crate::{
    class::Class,
    error::{BoxError, Rejected},
};

/// Why a fallback is asked: what the call ended with.
#[derive(Debug)]
pub struct Why {
    class: Class,
    error: Option<BoxError>,
}

impl Why {
    pub(crate) fn new(class: Class, error: Option<BoxError>) -> Self {
        Self { class, error }
    }

    /// What the result meant.
    pub fn class(&self) -> Class {
        self.class
    }

    /// The error; `None` when the dependency gave a response, and the response itself was the failure, or not what was
    /// wanted.
    pub fn error(&self) -> Option<&(dyn Error + 'static)> {
        self.error.as_deref().map(|error| error as _)
    }

    /// The rejection, when this side refused the call or cut it short.
    pub fn rejected(&self) -> Option<&Rejected> {
        self.error().and_then(Rejected::find)
    }

    /// The original error, for a fallback that has no answer either.
    pub fn into_error(self) -> BoxError {
        let Self { class, error } = self;
        error.unwrap_or_else(|| FailedResponse { class }.into())
    }
}

impl fmt::Display for Why {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.error {
            Some(error) => error.fmt(f),
            None => FailedResponse { class: self.class }.fmt(f),
        }
    }
}

/// The error that stands for a response that was a failure.
#[derive(Clone, Copy, Debug, thiserror::Error)]
#[error("{}", if class.wants_fallback() {
    format!("the dependency answered with a failure ({class:?})")
} else {
    format!("the dependency's answer was not the one that was wanted ({class:?})")
})]
struct FailedResponse {
    class: Class,
}
