//! The answers of the crate itself over HTTP: problem details (RFC 9457).

use std::time::Duration;

use bytes::Bytes;
use http::{
    HeaderValue, Response, StatusCode,
    header::{CONTENT_TYPE, RETRY_AFTER},
};
use http_body_util::Full;

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

/// Rounded up, and never nothing: whoever comes back earlier is refused again.
pub(crate) fn whole_seconds(wait: Duration) -> u64 {
    wait.as_secs().saturating_add(u64::from(wait.subsec_nanos() > 0)).max(1)
}
