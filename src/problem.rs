//! The answers of the crate itself over HTTP: problem details (RFC 9457).

use std::time::Duration;

use bytes::Bytes;
use http::{
    HeaderValue, Response, StatusCode,
    header::{CONTENT_TYPE, RETRY_AFTER},
};
use http_body_util::Full;

use crate::error::KeyRefusal;

/// A problem of the crate's own: `reason` and `title` are texts without characters that JSON would have to escape.
pub(crate) fn problem(
    status: StatusCode,
    reason: &str,
    title: &str,
    retry_after: Option<Duration>,
) -> Response<Full<Bytes>> {
    let text = format!(
        r#"{{"type":"urn:moneta-resilience:{reason}","title":"{title}","status":{},"reason":"{reason}"}}"#,
        status.as_u16()
    );
    let mut response = Response::new(Full::from(text));
    *response.status_mut() = status;
    let headers = response.headers_mut();
    headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/problem+json"));
    if let Some(wait) = retry_after {
        headers.insert(RETRY_AFTER, whole_seconds(wait).into());
    }
    response
}

/// The problem of a call that was refused for its idempotency key, or for having none.
pub(crate) fn key_problem(refusal: KeyRefusal, retry_after: Option<Duration>) -> Response<Full<Bytes>> {
    let word = match refusal {
        KeyRefusal::Missing => "idempotency-key-missing",
        KeyRefusal::Invalid => "idempotency-key-invalid",
        KeyRefusal::TooLarge => "idempotency-body-too-large",
        KeyRefusal::Unreadable => "idempotency-body-unreadable",
        KeyRefusal::Streamed => "idempotency-body-streamed",
        KeyRefusal::InProgress => "idempotency-in-progress",
        KeyRefusal::Mismatch => "idempotency-key-reused",
        KeyRefusal::InDoubt => "outcome-unknown",
        KeyRefusal::NotReplayable => "not-replayable",
        KeyRefusal::Unavailable => "idempotency-unavailable",
    };
    problem(key_status(refusal), word, &refusal.to_string(), retry_after)
}

/// The status of [`key_problem`].
pub(crate) fn key_status(refusal: KeyRefusal) -> StatusCode {
    match refusal {
        KeyRefusal::Missing | KeyRefusal::Invalid | KeyRefusal::Unreadable | KeyRefusal::Streamed => {
            StatusCode::BAD_REQUEST
        }
        KeyRefusal::TooLarge => StatusCode::PAYLOAD_TOO_LARGE,
        KeyRefusal::InProgress | KeyRefusal::InDoubt | KeyRefusal::NotReplayable => StatusCode::CONFLICT,
        KeyRefusal::Mismatch => StatusCode::UNPROCESSABLE_ENTITY,
        KeyRefusal::Unavailable => StatusCode::SERVICE_UNAVAILABLE,
    }
}

/// Rounded up, and never nothing: whoever comes back earlier is refused again.
pub(crate) fn whole_seconds(wait: Duration) -> u64 {
    wait.as_secs().saturating_add(u64::from(wait.subsec_nanos() > 0)).max(1)
}
