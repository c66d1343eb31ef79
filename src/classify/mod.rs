//! One verdict on a result, given once per attempt and used by every layer.
//!
//! | result of `.service(s)` and `.calls()` ([`ByError`]) | class |
//! |---|---|
//! | `Ok` | `Success` |
//! | [`Rejected`] in the chain of sources | that of its [`Reason`](crate::Reason): an attempt's timeout `Transient`, else `Neutral` |
//! | [`InjectedFault`] in the chain of sources | what it stands for |
//! | [`std::io::Error`] in the chain of sources, or what says that the call was [`never_processed`] | `Transient` |
//! | any other error | `CallerFault`: a row that was not found must not open the ledger's breaker |
//!
//! With feature `http`, `ByStatus` adds the table of HTTP statuses; with feature `grpc`, `ByCode` that of gRPC. A service that knows better says so in a closure:
//! every function `Fn(Result<&Response, &BoxError>) -> Class` is a classifier.

#[cfg(feature = "grpc")]
mod code;
#[cfg(feature = "grpc")]
mod retry_info;
#[cfg(feature = "http")]
mod status;
mod unprocessed;

use std::{error::Error, io};

use crate::{
    class::Class,
    error::{BoxError, InjectedFault, Rejected, sources},
};

#[cfg(feature = "grpc")]
pub use code::ByCode;
#[cfg(feature = "grpc")]
pub(crate) use code::{class_of, code_of_end, code_of_head, in_progress};
#[cfg(feature = "http")]
pub use status::ByStatus;
#[cfg(feature = "http")]
pub(crate) use status::retry_after;
pub use unprocessed::never_processed;

/// Says what a result means.
///
/// Called once per attempt, inside the call: it must not block.
#[diagnostic::on_unimplemented(
    message = "`{Self}` cannot classify a response of type `{Response}`",
    note = "a classifier is `ByError`, `ByStatus` (for `http::Response`), or a closure \
            `|result: Result<&Response, &BoxError>| -> Class`"
)]
pub trait Classify<Response> {
    /// The class of a response or an error.
    fn classify(&self, result: Result<&Response, &BoxError>) -> Class;
}

// Whatever is no classifier is no closure either, and is to be told of in the words of `Classify`.
#[diagnostic::do_not_recommend]
impl<Response, F> Classify<Response> for F
where
    F: Fn(Result<&Response, &BoxError>) -> Class,
{
    fn classify(&self, result: Result<&Response, &BoxError>) -> Class {
        self(result)
    }
}

/// Every response is a success, an error is judged by what it came from; see the table of the [module](self).
#[derive(Clone, Copy, Debug, Default)]
pub struct ByError;

impl<Response> Classify<Response> for ByError {
    fn classify(&self, result: Result<&Response, &BoxError>) -> Class {
        match result {
            Ok(_) => Class::Success,
            Err(error) => known(error).unwrap_or(Class::CallerFault),
        }
    }
}

/// Judges errors with `judge` first, and with [`ByError`] where it gives `None`. Every response is a success.
///
/// ```
/// use moneta_resilience::{BoxError, Class, classify::{self, Classify}};
///
/// let deadlocks = classify::errors(|error| error.to_string().contains("deadlock").then_some(Class::TRANSIENT));
/// let class = |error: &str| Classify::<()>::classify(&deadlocks, Err(&BoxError::from(error)));
/// assert_eq!(class("deadlock detected"), Class::TRANSIENT);
/// assert_eq!(class("no such row"), Class::CallerFault);
/// ```
pub fn errors<J>(judge: J) -> Errors<J>
where
    J: Fn(&BoxError) -> Option<Class>,
{
    Errors { judge }
}

/// The classifier that [`errors`] makes.
#[derive(Clone, Copy, Debug)]
pub struct Errors<J> {
    judge: J,
}

impl<J, Response> Classify<Response> for Errors<J>
where
    J: Fn(&BoxError) -> Option<Class>,
{
    fn classify(&self, result: Result<&Response, &BoxError>) -> Class {
        match result {
            Ok(_) => Class::Success,
            Err(error) => (self.judge)(error).unwrap_or_else(|| ByError.classify(result)),
        }
    }
}

/// The class of an error in whose chain of sources stands one that the crate knows.
pub fn known(error: &BoxError) -> Option<Class> {
    let told = sources(&**error).find_map(|source| {
        let rejected = source.downcast_ref().map(|rejected: &Rejected| rejected.reason().class());
        rejected.or_else(|| source.downcast_ref().map(InjectedFault::class))
    });
    let passing = || sources(&**error).any(<dyn Error>::is::<io::Error>) || never_processed(error);
    told.or_else(|| passing().then_some(Class::TRANSIENT))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{error::Reason, name::Name};

    fn class(error: impl Into<BoxError>) -> Class {
        Classify::<()>::classify(&ByError, Err(&error.into()))
    }

    #[test]
    fn an_unknown_error_is_the_callers_fault() {
        assert_eq!(class("no such row"), Class::CallerFault);
        assert_eq!(Classify::<()>::classify(&ByError, Ok(&())), Class::Success);
    }

    #[test]
    fn an_io_error_is_transient_also_behind_another_error() {
        #[derive(Debug, thiserror::Error)]
        #[error("query failed")]
        struct Query(#[source] io::Error);
        let refused = || io::Error::from(io::ErrorKind::ConnectionRefused);
        assert_eq!(class(refused()), Class::TRANSIENT);
        assert_eq!(class(Query(refused())), Class::TRANSIENT);
        assert_eq!(class(io::Error::other(Query(refused()))), Class::TRANSIENT);
    }

    #[test]
    fn a_rejection_is_neutral_but_for_an_attempts_timeout() {
        let name = Name::literal("ledger");
        assert_eq!(class(Rejected::new(&name, Reason::Timeout)), Class::TRANSIENT);
        assert_eq!(class(Rejected::new(&name, Reason::BodyIdle)), Class::TRANSIENT);
        for reason in [
            Reason::DeadlineExceeded,
            Reason::CircuitOpen,
            Reason::BulkheadFull,
            Reason::BulkheadWait,
            Reason::RateLimited,
            Reason::Throttled,
            Reason::Shed,
        ] {
            assert_eq!(class(Rejected::new(&name, reason)), Class::Neutral);
            assert_eq!(class(io::Error::other(Rejected::new(&name, reason))), Class::Neutral);
        }
    }

    #[test]
    fn an_injected_fault_is_what_it_stands_for() {
        assert_eq!(class(InjectedFault::new(Class::Fault)), Class::Fault);
    }
}
