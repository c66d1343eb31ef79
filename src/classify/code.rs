use std::time::Duration;

use bytes::Bytes;
use http::{HeaderMap, HeaderName, Response, StatusCode};
use tonic::{Code, Status, metadata::MetadataMap};

use super::{Classify, known, retry_info::retry_delay, status::retry_after};
use crate::{
    class::Class,
    error::{BoxError, Rejected, sources},
};

/// How many milliseconds the server asks to wait (gRFC A6).
const PUSHBACK: &str = "grpc-retry-pushback-ms";
/// A `google.rpc.Status` with more about the failure.
const DETAILS: &str = "grpc-status-details-bin";

/// Judges gRPC responses by their status.
///
/// | status | class |
/// |---|---|
/// | `OK` | `Success` |
/// | `UNAVAILABLE`, `DEADLINE_EXCEEDED` | `Transient`, with the server's pushback |
/// | `RESOURCE_EXHAUSTED` | `Throttled`, with the server's pushback |
/// | `INTERNAL`, `UNKNOWN`, `DATA_LOSS` | `Fault` |
/// | any other | `CallerFault` |
/// | none, and the HTTP status is not 200 | that of the code that the gRPC specification gives to the HTTP status |
/// | a [`Status`] in the chain of sources of an error | that of its code |
/// | any other error: there was no answer, so the connection failed | `Transient` |
///
/// A rejection and an injected fault are what they are everywhere: see [`ByError`](super::ByError).
///
/// The status is read from the *headers*. A server that fails before its first message may send it there ("trailers-only")
/// or after them; a golden client looks at the first frame of the body and puts a status that comes instead of a message
/// where this reads it ([`GrpcTransport`](crate::grpc::GrpcTransport)). A stream that breaks off later tells so at the end of
/// its body, when the call was judged long ago: it has been a `Success`, because what came first was served, and must not
/// be repeated. That end is told when it comes: see [`grpc`](crate::grpc).
///
/// `grpc-retry-pushback-ms` is read as gRFC A6 says: a number is a hint how long to wait; a negative number, and anything
/// that is not one number, forbids another attempt ([`Class::NEVER`]). Without it, a `google.rpc.RetryInfo` in the details of
/// the status is the hint. From a proxy that answers without a gRPC status,
/// `Retry-After` is read instead.
#[derive(Clone, Copy, Debug, Default)]
pub struct ByCode;

impl<B> Classify<Response<B>> for ByCode {
    fn classify(&self, result: Result<&Response<B>, &BoxError>) -> Class {
        match result {
            Ok(response) => by_headers(response.status(), response.headers()),
            Err(error) => by_error(error),
        }
    }
}

fn by_headers(status: StatusCode, headers: &HeaderMap) -> Class {
    let Some(code) = code_of_head(status, headers) else { return Class::Success };
    by_code(code, || match headers.get(Status::GRPC_STATUS) {
        Some(_) => pushback(headers).or_else(|| retry_delay(&details(headers)?)),
        None => retry_after(headers),
    })
}

/// The verdict of a head, if it has one: it holds a status, or comes from something that knows no gRPC.
pub(crate) fn code_of_head(status: StatusCode, headers: &HeaderMap) -> Option<Code> {
    match headers.get(Status::GRPC_STATUS) {
        Some(code) => Some(Code::from_bytes(code.as_bytes())),
        None if status == StatusCode::OK => None,
        None => Some(by_http_status(status)),
    }
}

/// What an answer to a call with a key means if it says that an earlier one is still being worked on: `ABORTED`, and when
/// to come back.
pub(crate) fn in_progress(status: StatusCode, headers: &HeaderMap) -> Option<Class> {
    let aborted = code_of_head(status, headers) == Some(Code::Aborted);
    let wait = if aborted { pushback(headers) } else { None };
    wait.map(|wait| Class::Transient { retry_after: Some(wait) })
}

/// The verdict of the end of an answer. One that comes without a status was not meant by the server.
pub(crate) fn code_of_end(trailers: Option<&HeaderMap>) -> Code {
    let code = trailers.and_then(|trailers| trailers.get(Status::GRPC_STATUS));
    code.map_or(Code::Internal, |code| Code::from_bytes(code.as_bytes()))
}

/// What a code means, wherever it came from.
pub(crate) fn class_of(code: Code) -> Class {
    by_code(code, || None)
}

fn by_error(error: &BoxError) -> Class {
    let status = sources(&**error).find_map(|source| source.downcast_ref::<Status>());
    match status {
        Some(status) if Rejected::find(&**error).is_none() => by_code(status.code(), || {
            pushback(status.metadata().as_ref()).or_else(|| retry_delay(status.details()))
        }),
        _ => known(error).unwrap_or(Class::TRANSIENT),
    }
}

fn by_code(code: Code, hint: impl FnOnce() -> Option<Duration>) -> Class {
    match code {
        Code::Ok => Class::Success,
        Code::Unavailable | Code::DeadlineExceeded => Class::Transient { retry_after: hint() },
        Code::ResourceExhausted => Class::Throttled { retry_after: hint() },
        Code::Internal | Code::Unknown | Code::DataLoss => Class::Fault,
        _ => Class::CallerFault,
    }
}

/// The mapping of the gRPC specification, "HTTP to gRPC Status Code Mapping".
fn by_http_status(status: StatusCode) -> Code {
    match status.as_u16() {
        400 => Code::Internal,
        401 => Code::Unauthenticated,
        403 => Code::PermissionDenied,
        404 => Code::Unimplemented,
        429 | 502..=504 => Code::Unavailable,
        _ => Code::Unknown,
    }
}

fn pushback(headers: &HeaderMap) -> Option<Duration> {
    let mut values = headers.get_all(PUSHBACK).iter();
    let text = values.next()?.to_str().unwrap_or_default();
    if values.next().is_some() {
        return Some(Class::NEVER);
    }
    let digits = !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
    let milliseconds = if digits { text.parse().ok() } else { None };
    Some(milliseconds.map_or(Class::NEVER, Duration::from_millis))
}

/// Decoded here and not by `Status::from_header_map`, which panics when they are not base64.
fn details(headers: &HeaderMap) -> Option<Bytes> {
    let value = headers.get(DETAILS)?.clone();
    let alone = HeaderMap::from_iter([(HeaderName::from_static(DETAILS), value)]);
    MetadataMap::from_headers(alone).get_bin(DETAILS)?.to_bytes().ok()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{InjectedFault, Name, Reason};

    const ALL: std::ops::RangeInclusive<i32> = 0..=16;

    fn expected(code: i32) -> Class {
        match Code::from_i32(code) {
            Code::Ok => Class::Success,
            Code::Unavailable | Code::DeadlineExceeded => Class::TRANSIENT,
            Code::ResourceExhausted => Class::THROTTLED,
            Code::Internal | Code::Unknown | Code::DataLoss => Class::Fault,
            _ => Class::CallerFault,
        }
    }

    fn answered(headers: &[(&'static str, &str)]) -> Class {
        let mut response = Response::builder();
        for &(name, value) in headers {
            response = response.header(name, value);
        }
        ByCode.classify(Ok(&response.body(()).expect("well-formed")))
    }

    fn failed(error: impl Into<BoxError>) -> Class {
        Classify::<Response<()>>::classify(&ByCode, Err(&error.into()))
    }

    #[test]
    fn every_code_has_the_class_of_the_table_in_headers_and_in_errors() {
        for code in ALL {
            assert_eq!(answered(&[("grpc-status", &code.to_string())]), expected(code), "{code}");
            assert_eq!(failed(Status::new(Code::from_i32(code), "")), expected(code), "{code}");
        }
    }

    #[test]
    fn a_code_that_nobody_knows_is_unknown() {
        for garbage in ["17", "-1", "", "fourteen", "014"] {
            assert_eq!(answered(&[("grpc-status", garbage)]), Class::Fault, "{garbage:?}");
        }
    }

    #[test]
    fn headers_without_a_status_are_the_begin_of_a_good_answer() {
        assert_eq!(answered(&[("content-type", "application/grpc")]), Class::Success);
    }

    #[test]
    fn a_proxy_that_knows_no_grpc_is_understood() {
        for (status, class) in [
            (400, Class::Fault),
            (401, Class::CallerFault),
            (403, Class::CallerFault),
            (404, Class::CallerFault),
            (429, Class::Transient { retry_after: Some(Duration::from_secs(3)) }),
            (500, Class::Fault),
            (503, Class::Transient { retry_after: Some(Duration::from_secs(3)) }),
        ] {
            let response = Response::builder().status(status).header("retry-after", "3");
            let response = response.body(()).expect("well-formed");
            assert_eq!(ByCode.classify(Ok(&response)), class, "{status}");
        }
    }

    #[test]
    fn pushback_is_a_hint_and_what_is_no_number_forbids_another_attempt() {
        let class = |pushback| answered(&[("grpc-status", "14"), (PUSHBACK, pushback)]);
        assert_eq!(class("0").retry_after(), Some(Duration::ZERO));
        assert_eq!(class("250").retry_after(), Some(Duration::from_millis(250)));
        for garbage in ["-1", "", "+1", "1.5", "soon", "1s", "99999999999999999999999"] {
            assert_eq!(class(garbage).retry_after(), Some(Class::NEVER), "{garbage:?}");
        }
        // Who gives two hints at once has not meant either; grpc-go stops then as well.
        assert_eq!(
            answered(&[("grpc-status", "14"), (PUSHBACK, "0"), (PUSHBACK, "9")]).retry_after(),
            Some(Class::NEVER)
        );
        let throttled = answered(&[("grpc-status", "8"), (PUSHBACK, "7")]);
        assert_eq!(throttled, Class::Throttled { retry_after: Some(Duration::from_millis(7)) });
    }

    #[test]
    fn retry_info_is_a_hint_unless_there_is_pushback() {
        let wait = Some(Duration::from_millis(1_500));
        let mut status = Status::with_details(
            Code::ResourceExhausted,
            "slow down",
            super::super::retry_info::tests::details(1, 500_000_000).into(),
        );
        let answer = |status: &Status| ByCode.classify(Ok(&status.clone().into_http::<()>()));
        assert_eq!(answer(&status), Class::Throttled { retry_after: wait });
        assert_eq!(failed(status.clone()), Class::Throttled { retry_after: wait });
        status.metadata_mut().insert(PUSHBACK, "-1".parse().expect("text"));
        assert_eq!(answer(&status).retry_after(), Some(Class::NEVER));
        assert_eq!(failed(status).retry_after(), Some(Class::NEVER));
        for garbage in ["", "%", "AAAA", "not base64 at all"] {
            assert_eq!(answered(&[("grpc-status", "14"), (DETAILS, garbage)]), Class::TRANSIENT);
        }
    }

    #[test]
    fn what_happened_on_this_side_is_not_judged_by_the_status_that_stands_for_it() {
        let rejected = Rejected::new(&Name::literal("ledger"), Reason::CircuitOpen);
        let mut status = Status::unavailable("");
        status.set_source(std::sync::Arc::new(rejected));
        assert_eq!(failed(status), Class::Neutral);
        assert_eq!(failed(InjectedFault::new(Class::Fault)), Class::Fault);
    }

    #[test]
    fn no_answer_at_all_is_transient() {
        assert_eq!(failed("reset"), Class::TRANSIENT);
    }
}
