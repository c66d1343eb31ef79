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
/// `Retry-After` is read as seconds and as a date (RFC 9110, section 10.2.3); what is neither is ignored. A response
/// without it may say in `RateLimit` (draft-ietf-httpapi-ratelimit-headers), or in the `RateLimit-Reset` of that draft's
/// first versions, in how many seconds a used-up quota begins anew; of several the last to begin counts.
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
        429 => Class::Throttled { retry_after: hint(headers) },
        408 | 425 | 500 | 502..=504 => Class::Transient { retry_after: hint(headers) },
        400..500 => Class::CallerFault,
        _ => Class::Fault,
    }
}

fn hint(headers: &HeaderMap) -> Option<Duration> {
    retry_after(headers).or_else(|| quota_reset(headers))
}

/// How long the other side asks to wait.
pub(crate) fn retry_after(headers: &HeaderMap) -> Option<Duration> {
    let value = headers.get(RETRY_AFTER)?.to_str().ok()?.trim();
    if let Some(seconds) = seconds(value) {
        return Some(seconds);
    }
    // More digits than a u64 holds are no date, and garbage like any other.
    let date: SystemTime = httpdate::parse_http_date(value).ok()?;
    Some(date.duration_since(clock::wall(Instant::now())).unwrap_or(Duration::ZERO))
}

/// In how many seconds the last of the quotas that are used up begins anew.
fn quota_reset(headers: &HeaderMap) -> Option<Duration> {
    let lines = headers.get_all("ratelimit").into_iter().filter_map(|line| line.to_str().ok());
    let quotas = lines.flat_map(|line| line.split(',')).filter_map(|quota| {
        // A quota is a name with parameters: `"burst";r=0;t=30`.
        let parameter = |name| quota.split(';').skip(1).find_map(|text| text.trim().strip_prefix(name));
        (parameter("r=")? == "0").then(|| seconds(parameter("t=")?)).flatten()
    });
    let single = |name| seconds(headers.get(name)?.to_str().ok()?.trim());
    quotas.max().or_else(|| match single("ratelimit-remaining") {
        Some(Duration::ZERO) | None => single("ratelimit-reset"),
        Some(_) => None,
    })
}

fn seconds(text: &str) -> Option<Duration> {
    // `u64::from_str` takes a leading `+`, which none of these fields has.
    text.bytes().all(|byte| byte.is_ascii_digit()).then(|| text.parse().ok().map(Duration::from_secs))?
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

    fn reset(fields: &[(&'static str, &'static str)]) -> Option<u64> {
        let mut response = Response::builder().status(429);
        for (name, value) in fields {
            response = response.header(*name, *value);
        }
        let class = ByStatus.classify(Ok(&response.body(()).expect("well-formed")));
        assert!(matches!(class, Class::Throttled { .. }));
        class.retry_after().map(|wait| wait.as_secs())
    }

    #[test]
    fn the_last_quota_that_is_used_up_says_when_to_come_back() {
        assert_eq!(reset(&[("ratelimit", r#""burst";r=0;t=30"#)]), Some(30));
        assert_eq!(reset(&[("ratelimit", r#""a";r=0;t=3, "b"; r=0; t=9, "c";r=5;t=60"#)]), Some(9));
        assert_eq!(reset(&[("ratelimit", r#""a";r=0;t=3"#), ("ratelimit", r#""b";r=0;t=4"#)]), Some(4));
        assert_eq!(reset(&[("ratelimit-remaining", "0"), ("ratelimit-reset", "7")]), Some(7));
        assert_eq!(reset(&[("ratelimit-reset", "7")]), Some(7));
        let both = [("ratelimit", r#""burst";r=0;t=30"#), ("retry-after", "2")];
        assert_eq!(reset(&both), Some(2), "Retry-After is about this request");
    }

    #[test]
    fn quotas_that_are_left_or_cannot_be_read_say_nothing() {
        for field in [r#""a";r=1;t=9"#, r#""a";r=0"#, r#""a";r=0;t=-1"#, r#""a";r=0;t=+1"#, "a", ";;,,", ""] {
            assert_eq!(reset(&[("ratelimit", field)]), None, "{field:?}");
        }
        assert_eq!(reset(&[("ratelimit-remaining", "3"), ("ratelimit-reset", "7")]), None);
    }

    #[test]
    fn no_answer_at_all_is_transient() {
        assert_eq!(Classify::<Response<()>>::classify(&ByStatus, Err(&"reset".into())), Class::TRANSIENT);
    }
}
