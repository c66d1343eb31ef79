use crate::{
    class::Class,
    error::{BoxError, Reason, Rejected},
    event::Outcome,
};

/// The result of a call, with the verdict on it that all layers share.
#[derive(Debug)]
#[non_exhaustive]
pub struct Answer<T> {
    /// What the caller gets.
    pub result: Result<T, BoxError>,
    /// What it says about the dependency.
    pub class: Class,
    /// How it is told to observers.
    pub outcome: Outcome,
}

impl<T> Answer<T> {
    pub(crate) fn new(result: Result<T, BoxError>, class: Class, outcome: Outcome) -> Self {
        Self { result, class, outcome }
    }

    /// The same verdict on a response that was made into another.
    pub(crate) fn map<U>(self, change: impl FnOnce(T) -> U) -> Answer<U> {
        let Self { result, class, outcome } = self;
        Answer { result: result.map(change), class, outcome }
    }

    /// A result of the service, as the classifier judged it.
    pub(crate) fn judged(result: Result<T, BoxError>, class: Class) -> Self {
        let outcome = match &result {
            Err(error) => outcome_of(error, class),
            Ok(_) => class.into(),
        };
        Self::new(result, class, outcome)
    }

    /// A refusal of this side.
    pub(crate) fn rejected(rejected: Rejected) -> Self {
        let reason: Reason = rejected.reason();
        Self::new(Err(rejected.into()), reason.class(), reason.into())
    }
}

/// How a failure is told. It can be a rejection of a stack further in; looking is kept off where it cannot.
pub(crate) fn outcome_of(error: &BoxError, class: Class) -> Outcome {
    match class {
        Class::Neutral | Class::Transient { .. } => {
            Rejected::find(&**error).map_or_else(|| class.into(), |rejected| rejected.reason().into())
        }
        _ => class.into(),
    }
}
