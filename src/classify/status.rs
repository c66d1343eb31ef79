use std::time::{Duration, SystemTime};

use http::{HeaderMap, Response, StatusCode, header::RETRY_AFTER};
use tokio::time::Instant;

use super::{Classify, known};
use crate::{class::Class, clock, error::BoxError};

/// Judges HTTP responses by their status.
///
/// | result | class |
/// |---|---|
/// | 1xx, 2xx, 3xx | `Success` |
/// | 408 425 500 502 503 504 | `Transient`, with `Retry-After` |
/// | 429 | `Throttled`, with `Retry-After` |
/// | other 4xx | `CallerFault` |
/// | 501, 505 and any other 5xx | `Fault` |
/// | an error that the crate knows | as in [`ByError`](super::ByError) |
/// | a request that reqwest cannot build, such as one whose URL has no host (feature `reqwest`) | `CallerFault` |
/// | any other error: there was no answer, so the connection failed | `Transient` |
///
/// A golden HTTP client knows the request as well: to a 409 with `Retry-After` on a request that carried an
/// `Idempotency-Key` it gives `Transient`, because the request before it is still being worked on.
///
/// `Retry-After` is read as seconds and as a date (RFC 9110, section 10.2.3); what is neither is ignored.
#[derive(Clone, Copy, Debug, Default)]
pub struct ByStatus;

impl<B> Classify<Response<B>> for ByStatus {
    fn classify(&self, result: Result<&Response<B>, &BoxError>) -> Class {
        match result {
            Ok(response) => by_status(response.status(), response.headers()),
            Err(error) if malformed(error) => Class::CallerFault,
            Err(error) => known(error).unwrap_or(Class::TRANSIENT),
        }
    }
}

/// Whether the request could not be sent at all, whoever is asked.
#[cfg(feature = "reqwest")]
fn malformed(error: &BoxError) -> bool {
    error.downcast_ref().is_some_and(reqwest::Error::is_builder)
}

#[cfg(not(feature = "reqwest"))]
fn malformed(_: &BoxError) -> bool {
    false
}

fn by_status(status: StatusCode, headers: &HeaderMap) -> Class {
    match status.as_u16() {
        ..400 => Class::Success,
        429 => Class::Throttled { retry_after: retry_after(headers) },
        408 | 425 | 500 | 502..=504 => Class::Transient { retry_after: retry_after(headers) },
        400..500 => Class::CallerFault,
        _ => Class::Fault,
    }
}

/// How long the other side asks to wait.
pub(crate) fn retry_after(headers: &HeaderMap) -> Option<Duration> {
    let value = headers.get(RETRY_AFTER)?.to_str().ok()?.trim();
    if value.bytes().all(|byte| byte.is_ascii_digit()) {
        // More digits than a u64 holds is garbage like any other.
        return value.parse().ok().map(Duration::from_secs);
    }
    let date: SystemTime = httpdate::parse_http_date(value).ok()?;
    Some(date.duration_since(clock::wall(Instant::now())).unwrap_or(Duration::ZERO))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn class(status: u16, retry_after: Option<&str>) -> Class {
        let mut response = Response::builder().status(status);
        if let Some(value) = retry_after {
            response = response.header(RETRY_AFTER, value);
        }
        ByStatus.classify(Ok(&response.body(()).expect("well-formed")))
    }

    #[test]
    fn every_status_has_the_class_of_the_table() {
        for status in 100..=999 {
            let expected = match status {
                100..=399 => Class::Success,
                429 => Class::THROTTLED,
                408 | 425 | 500 | 502 | 503 | 504 => Class::TRANSIENT,
                400..=499 => Class::CallerFault,
                _ => Class::Fault,
            };
            assert_eq!(class(status, None), expected, "{status}");
        }
    }

    #[test]
    fn retry_after_is_read_as_seconds_and_as_a_date() {
        assert_eq!(class(503, Some(" 7 ")).retry_after(), Some(Duration::from_secs(7)));
        let date = httpdate::fmt_http_date(clock::wall(Instant::now()) + Duration::from_secs(60));
        let wait = class(429, Some(&date)).retry_after().expect("a date");
        assert!(wait > Duration::from_secs(50) && wait <= Duration::from_secs(60), "{wait:?}");
        let past = "Sun, 06 Nov 1994 08:49:37 GMT";
        assert_eq!(class(429, Some(past)).retry_after(), Some(Duration::ZERO));
    }

    #[test]
    fn garbage_in_retry_after_is_ignored() {
        for garbage in ["", "-1", "1.5", "soon", "99999999999999999999999", "Sun, 99 Nov 1994 08:49:37 GMT"] {
            assert_eq!(class(503, Some(garbage)), Class::TRANSIENT, "{garbage:?}");
        }
    }

    #[test]
    fn no_answer_at_all_is_transient() {
        assert_eq!(Classify::<Response<()>>::classify(&ByStatus, Err(&"reset".into())), Class::TRANSIENT);
    }
}
