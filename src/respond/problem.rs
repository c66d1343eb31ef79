use std::time::Duration;

use bytes::Bytes;
use http::{HeaderValue, Response, StatusCode};
use http_body_util::Full;

use crate::{
    class::Class,
    error::{BoxError, InjectedFault, Reason, Rejected, sources},
    problem::{key_problem, key_status, problem, whole_seconds},
    quota::Quota,
};

/// How long a refused caller should stay away when the policy that refused it does not know.
const DEFAULT_RETRY_AFTER: Duration = Duration::from_secs(1);

/// The status of [`answer`].
pub(crate) fn status(error: Option<&BoxError>) -> StatusCode {
    let Some(error) = error else { return StatusCode::INTERNAL_SERVER_ERROR };
    match Rejected::find(&**error).map(Rejected::reason) {
        Some(Reason::Timeout | Reason::DeadlineExceeded | Reason::BodyIdle) => StatusCode::GATEWAY_TIMEOUT,
        Some(Reason::RateLimited) => StatusCode::TOO_MANY_REQUESTS,
        Some(Reason::IdempotencyKey(refusal)) => key_status(refusal),
        Some(_) => StatusCode::SERVICE_UNAVAILABLE,
        None => match injected(error).map(InjectedFault::class) {
            Some(Class::CallerFault) => StatusCode::BAD_REQUEST,
            Some(Class::Throttled { .. }) => StatusCode::TOO_MANY_REQUESTS,
            Some(Class::Transient { .. }) => StatusCode::SERVICE_UNAVAILABLE,
            _ => StatusCode::INTERNAL_SERVER_ERROR,
        },
    }
}

fn injected(error: &BoxError) -> Option<&InjectedFault> {
    sources(&**error).find_map(|source| source.downcast_ref())
}

/// The answer to a call that ended in an error, or whose handler panicked.
pub(super) fn answer(error: Option<&BoxError>) -> Response<Full<Bytes>> {
    let status = status(error);
    let Some(error) = error else { return failed(status, "panic") };
    if let Some(rejected) = Rejected::find(&**error) {
        let reason = rejected.reason();
        let mut response = match reason {
            Reason::Timeout | Reason::DeadlineExceeded | Reason::BodyIdle => {
                problem(status, reason.as_str(), "the call was not finished in time", None)
            }
            Reason::RateLimited => too_many(rejected),
            Reason::IdempotencyKey(refusal) => key_problem(refusal, rejected.retry_after()),
            _ => {
                let wait = rejected.retry_after().unwrap_or(DEFAULT_RETRY_AFTER);
                problem(status, reason.as_str(), "refused for now", Some(wait))
            }
        };
        response.extensions_mut().insert(rejected.clone());
        return response;
    }
    match injected(error) {
        Some(injected) => {
            problem(status, "injected_fault", "an injected fault", injected.class().retry_after())
        }
        None => failed(status, "internal_error"),
    }
}

/// The quota is used up. Which one it is, and when there is room in it again, stands in the fields of
/// draft-ietf-httpapi-ratelimit-headers-10. It has one name for all: what it is called in here is nobody's business.
fn too_many(rejected: &Rejected) -> Response<Full<Bytes>> {
    let wait = rejected.retry_after().unwrap_or(DEFAULT_RETRY_AFTER);
    let reason = rejected.reason().as_str();
    let mut response = problem(StatusCode::TOO_MANY_REQUESTS, reason, "too many requests", Some(wait));
    if let Some(quota) = rejected.quota() {
        let field = |text: String| HeaderValue::try_from(text).expect("quotes, letters and digits");
        let headers = response.headers_mut();
        headers.insert("ratelimit", field(format!("\"default\";r=0;t={}", whole_seconds(wait))));
        headers.insert("ratelimit-policy", field(policy(quota)));
    }
    response
}

/// The quota in whole seconds, which is all that the field can say.
fn policy(quota: Quota) -> String {
    let window = whole_seconds(quota.period());
    let calls =
        u128::from(quota.calls()) * u128::from(window) * 1_000_000_000 / quota.period().as_nanos().max(1);
    format!("\"default\";q={calls};w={window}")
}

fn failed(status: StatusCode, reason: &str) -> Response<Full<Bytes>> {
    problem(status, reason, "the service failed", None)
}
