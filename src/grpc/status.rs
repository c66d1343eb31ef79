use std::{sync::Arc, time::Duration};

use bytes::Bytes;
use http::Response;
use http_body_util::Empty;
use tonic::{Code, ConnectError, Status, TimeoutExpired, metadata::MetadataValue};

use crate::{
    class::Class,
    error::{BoxError, CallError, InjectedFault, KeyRefusal, Reason, Rejected, sources},
};

const PUSHBACK: &str = "grpc-retry-pushback-ms";

/// How long a refused caller should stay away when the policy that refused it does not know.
const DEFAULT_PUSHBACK: Duration = Duration::from_secs(1);

/// The status of a refusal; see the table of the [module](super). The rejection is its source.
impl From<Rejected> for Status {
    fn from(rejected: Rejected) -> Self {
        let mut status = Self::new(code(rejected.reason()), rejected.to_string());
        status.set_source(Arc::new(rejected));
        status
    }
}

/// What a handler answers when a call of a golden client fails: with this, `?` takes the error of a call.
///
/// A rejection and a [`Status`] are what they are. Any other error is `INTERNAL`; it is the status's source, and its text
/// does not leave the process.
impl From<CallError> for Status {
    fn from(error: CallError) -> Self {
        match known(error.into_inner()) {
            Ok(status) => status,
            Err(error) => match Self::try_from_error(error) {
                Ok(status) => status,
                Err(error) => with_source(internal(), error),
            },
        }
    }
}

/// The status that the caller of a client gets for an error.
pub(crate) fn status(error: BoxError) -> Status {
    // Of a `CallError` what it carries: tonic looks for a status in the sources, where that does not stand.
    known(CallError::new(error).into_inner()).unwrap_or_else(Status::from_error)
}

/// The code of [`status`], of an error that is somebody else's.
pub(super) fn client_code(error: &BoxError) -> Code {
    if let Some(rejected) = Rejected::find(&**error) {
        return code(rejected.reason());
    }
    let of_source = |source: &(dyn std::error::Error + 'static)| {
        if let Some(status) = source.downcast_ref::<Status>() {
            Some(status.code())
        } else if let Some(injected) = source.downcast_ref::<InjectedFault>() {
            Some(of_class(injected.class()).code())
        } else if source.is::<TimeoutExpired>() {
            Some(Code::DeadlineExceeded)
        } else if source.is::<ConnectError>() {
            Some(Code::Unavailable)
        } else {
            let reason = source.downcast_ref::<h2::Error>()?.reason()?;
            Some(Status::from_error(h2::Error::from(reason).into()).code())
        }
    };
    sources(&**error).find_map(of_source).unwrap_or(Code::Unknown)
}

/// The code of [`refusal`].
pub(super) fn server_code(error: Option<&BoxError>) -> Code {
    let Some(error) = error else { return Code::Internal };
    if let Some(rejected) = Rejected::find(&**error) {
        return code(rejected.reason());
    }
    let status = error.downcast_ref().map(Status::code);
    let injected = || injected(error).map(|injected| of_class(injected.class()).code());
    status.or_else(injected).unwrap_or(Code::Internal)
}

/// The answer of a server for an error, or for a panic: a status without a body.
pub(crate) fn refusal(error: Option<&BoxError>) -> Response<Empty<Bytes>> {
    let Some(error) = error else { return internal().into_http() };
    let source = Rejected::find(&**error);
    let status = if let Some(rejected) = source {
        refused(rejected)
    } else if let Some(status) = error.downcast_ref::<Status>() {
        status.clone()
    } else {
        injected(error).map_or_else(internal, |injected| of_class(injected.class()))
    };
    let mut response = status.into_http();
    if let Some(rejected) = source {
        response.extensions_mut().insert(rejected.clone());
    }
    response
}

/// The status of an error that the crate made itself, else the error.
fn known(error: BoxError) -> Result<Status, BoxError> {
    if error.is::<Status>() {
        // Also one whose source is a rejection: it was made above, by a stack further in.
        return Err(error);
    }
    let status = if let Some(rejected) = Rejected::find(&*error) {
        Status::new(code(rejected.reason()), rejected.to_string())
    } else if let Some(injected) = injected(&error) {
        of_class(injected.class())
    } else if sources(&*error).any(<dyn std::error::Error>::is::<TimeoutExpired>) {
        // The transport's own limit. Tonic would call it CANCELLED, which says that the caller went away.
        Status::deadline_exceeded("the transport's timeout passed")
    } else {
        return Err(error);
    };
    Ok(with_source(status, error))
}

/// A refusal as it is told to a remote caller, with a word on when to come back.
fn refused(rejected: &Rejected) -> Status {
    let reason = rejected.reason();
    let mut status = Status::new(code(reason), reason.to_string());
    let default = matches!(status.code(), Code::Unavailable | Code::ResourceExhausted);
    if let Some(wait) = rejected.retry_after().or(default.then_some(DEFAULT_PUSHBACK)) {
        push_back(&mut status, wait);
    }
    status
}

fn code(reason: Reason) -> Code {
    match reason {
        Reason::Timeout | Reason::DeadlineExceeded | Reason::BodyIdle => Code::DeadlineExceeded,
        Reason::RateLimited => Code::ResourceExhausted,
        Reason::IdempotencyKey(refusal) => key_code(refusal),
        _ => Code::Unavailable,
    }
}

/// `ABORTED` says that to try again is right, `FAILED_PRECONDITION` that it is not before somebody has done something.
fn key_code(refusal: KeyRefusal) -> Code {
    match refusal {
        KeyRefusal::Missing
        | KeyRefusal::Invalid
        | KeyRefusal::TooLarge
        | KeyRefusal::Unreadable
        | KeyRefusal::Streamed
        | KeyRefusal::Mismatch => Code::InvalidArgument,
        KeyRefusal::InProgress => Code::Aborted,
        KeyRefusal::InDoubt => Code::FailedPrecondition,
        KeyRefusal::NotReplayable => Code::AlreadyExists,
        KeyRefusal::Unavailable => Code::Unavailable,
    }
}

/// The status that a fault stands for.
fn of_class(class: Class) -> Status {
    let code = match class {
        Class::CallerFault => Code::InvalidArgument,
        Class::Throttled { .. } => Code::ResourceExhausted,
        Class::Transient { .. } => Code::Unavailable,
        _ => Code::Internal,
    };
    let mut status = Status::new(code, "an injected fault");
    if let Some(wait) = class.retry_after() {
        push_back(&mut status, wait);
    }
    status
}

fn injected(error: &BoxError) -> Option<&InjectedFault> {
    sources(&**error).find_map(|source| source.downcast_ref())
}

fn internal() -> Status {
    Status::internal("the service failed")
}

/// Rounded up: whoever comes back earlier is refused again. A wait that is to be for ever becomes the negative number
/// that says so.
fn push_back(status: &mut Status, wait: Duration) {
    let milliseconds = wait.as_nanos().div_ceil(1_000_000);
    let text = i64::try_from(milliseconds).unwrap_or(-1).to_string();
    let value = MetadataValue::try_from(text).expect("digits and a sign");
    status.metadata_mut().insert(PUSHBACK, value);
}

fn with_source(mut status: Status, error: BoxError) -> Status {
    status.set_source(error.into());
    status
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Name;

    fn rejected(reason: Reason) -> Rejected {
        Rejected::new(&Name::literal("ledger"), reason)
    }

    fn refused_with(error: impl Into<BoxError>) -> Response<Empty<Bytes>> {
        refusal(Some(&error.into()))
    }

    const REASONS: [(Reason, Code); 9] = [
        (Reason::Timeout, Code::DeadlineExceeded),
        (Reason::DeadlineExceeded, Code::DeadlineExceeded),
        (Reason::BodyIdle, Code::DeadlineExceeded),
        (Reason::CircuitOpen, Code::Unavailable),
        (Reason::BulkheadFull, Code::Unavailable),
        (Reason::BulkheadWait, Code::Unavailable),
        (Reason::RateLimited, Code::ResourceExhausted),
        (Reason::Throttled, Code::Unavailable),
        (Reason::Shed, Code::Unavailable),
    ];

    #[test]
    fn a_rejection_is_found_in_the_status_that_stands_for_it() {
        for (reason, code) in REASONS {
            let direct = Status::from(rejected(reason));
            let of_a_call = Status::from(CallError::new(rejected(reason).into()));
            for status in [direct, of_a_call, status(rejected(reason).into())] {
                assert_eq!(status.code(), code, "{reason:?}");
                assert_eq!(Rejected::find(&status).map(Rejected::reason), Some(reason));
                // And again when the status is itself the error of a stack.
                let again = super::status(status.into());
                assert_eq!(Rejected::find(&again).map(Rejected::reason), Some(reason));
            }
        }
    }

    #[test]
    fn a_server_refuses_in_the_headers_and_says_when_to_come_back() {
        for (reason, code) in REASONS {
            let answer = refused_with(rejected(reason));
            assert_eq!(answer.headers()["grpc-status"], (code as i32).to_string().as_str(), "{reason:?}");
            let pushback = answer.headers().get(PUSHBACK).map(|value| value.to_str().expect("digits"));
            assert_eq!(pushback, (code != Code::DeadlineExceeded).then_some("1000"), "{reason:?}");
            assert_eq!(answer.extensions().get::<Rejected>().map(Rejected::reason), Some(reason));
        }
        let open = rejected(Reason::CircuitOpen).retry_after_some(Duration::from_micros(2_500_001));
        assert_eq!(refused_with(open).headers()[PUSHBACK], "2501");
    }

    #[test]
    fn a_refusal_of_a_key_says_whether_to_come_again() {
        for (refusal, code) in [
            (KeyRefusal::Missing, Code::InvalidArgument),
            (KeyRefusal::Invalid, Code::InvalidArgument),
            (KeyRefusal::TooLarge, Code::InvalidArgument),
            (KeyRefusal::Unreadable, Code::InvalidArgument),
            (KeyRefusal::Streamed, Code::InvalidArgument),
            (KeyRefusal::InProgress, Code::Aborted),
            (KeyRefusal::Mismatch, Code::InvalidArgument),
            (KeyRefusal::InDoubt, Code::FailedPrecondition),
            (KeyRefusal::NotReplayable, Code::AlreadyExists),
            (KeyRefusal::Unavailable, Code::Unavailable),
        ] {
            let refused = || rejected(Reason::IdempotencyKey(refusal));
            let status = Status::from(refused());
            assert_eq!(status.code(), code, "{refusal:?}");
            assert_eq!(Rejected::find(&status).map(Rejected::reason), Some(refused().reason()));
            let busy = refused_with(refused().retry_after_some(Duration::from_secs(1)));
            assert_eq!(busy.headers()["grpc-status"], (code as i32).to_string().as_str());
            assert_eq!(busy.headers()[PUSHBACK], "1000");
            let pushback = refused_with(refused()).headers().contains_key(PUSHBACK);
            assert_eq!(pushback, code == Code::Unavailable, "{refusal:?}");
        }
    }

    #[test]
    fn no_text_of_an_error_leaves_the_process() {
        let text = "card 4111 1111 1111 1111 was declined";
        for answer in
            [refused_with(text), Status::from(CallError::new(text.into())).into_http(), refusal(None)]
        {
            assert_eq!(answer.headers()["grpc-status"], "13");
            assert_eq!(answer.headers()["grpc-message"], "the%20service%20failed");
        }
    }

    #[test]
    fn a_status_stays_what_it_is() {
        let missing = || Status::not_found("no such account");
        assert_eq!(refused_with(missing()).headers()["grpc-status"], "5");
        assert_eq!(status(missing().into()).code(), Code::NotFound);
        assert_eq!(Status::from(CallError::new(missing().into())).code(), Code::NotFound);
    }

    #[test]
    fn an_injected_fault_answers_as_what_it_stands_for() {
        for (class, code) in [
            (Class::CallerFault, Code::InvalidArgument),
            (Class::THROTTLED, Code::ResourceExhausted),
            (Class::Fault, Code::Internal),
            (Class::TRANSIENT, Code::Unavailable),
        ] {
            let fault = || InjectedFault::new(class);
            assert_eq!(status(fault().into()).code(), code, "{class:?}");
            assert_eq!(refused_with(fault()).headers()["grpc-status"], (code as i32).to_string().as_str());
        }
        let never = InjectedFault::new(Class::Transient { retry_after: Some(Class::NEVER) });
        assert_eq!(refused_with(never).headers()[PUSHBACK], "-1");
    }

    #[test]
    fn what_is_told_of_an_error_is_the_code_that_its_caller_gets() {
        let errors: [fn() -> BoxError; 11] = [
            || rejected(Reason::Timeout).into(),
            || rejected(Reason::RateLimited).into(),
            || CallError::new(rejected(Reason::Shed).into()).into(),
            || Status::from(rejected(Reason::BodyIdle)).into(),
            || Status::not_found("no such account").into(),
            || CallError::new(Status::data_loss("").into()).into(),
            || InjectedFault::new(Class::THROTTLED).into(),
            || TimeoutExpired(()).into(),
            || ConnectError("refused".into()).into(),
            || h2::Error::from(h2::Reason::REFUSED_STREAM).into(),
            || "reset".into(),
        ];
        for error in errors {
            let error = error();
            let (client, server) = (client_code(&error), server_code(Some(&error)));
            let answer = refusal(Some(&error));
            assert_eq!(answer.headers()["grpc-status"], (server as i32).to_string().as_str(), "{error:?}");
            let text = format!("{error:?}");
            assert_eq!(client, status(error).code(), "{text}");
        }
        assert_eq!(refusal(None).headers()["grpc-status"], (server_code(None) as i32).to_string().as_str());
    }

    #[test]
    fn the_transports_own_limit_is_a_deadline_and_not_a_caller_that_went_away() {
        assert_eq!(status(TimeoutExpired(()).into()).code(), Code::DeadlineExceeded);
    }
}
