//! What differs between plain HTTP and what goes over it.

use http::{
    HeaderMap, HeaderName, HeaderValue, Response, StatusCode,
    header::{CONTENT_TYPE, LINK},
};

use super::{answer::KEPT, body::ReadBody};
use crate::{
    class::Class,
    classify::{ByStatus, Classify},
    error::{BoxError, KeyRefusal},
    head::Head,
    name::Name,
    problem::key_problem,
};

/// What differs between plain HTTP and what goes over it.
pub(super) trait Dialect: Send + Sync {
    /// What a key is for, where nothing else is said.
    fn operation(&self, head: Head<'_>) -> Vec<u8>;

    /// Whether a body that begins so is more than the one message that a key can be for.
    fn has_another(&self, body: &[u8]) -> bool;

    /// Whether an answer has no end to wait for.
    fn is_endless(&self, headers: &HeaderMap) -> bool;

    /// Whether this header of an answer is kept.
    fn keeps(&self, headers: &HeaderMap, name: &HeaderName) -> bool;

    /// Whether an answer says that the server failed.
    fn has_failed(&self, status: StatusCode, headers: &HeaderMap, trailers: Option<&HeaderMap>) -> bool;

    /// Refuses; `documentation` says where the need of a key is explained.
    fn refuse(
        &self,
        by: &Name,
        refusal: KeyRefusal,
        documentation: Option<&HeaderValue>,
    ) -> Result<Response<ReadBody>, BoxError>;

    /// The verdict on an answer of this side.
    fn class(&self, result: Result<&Response<ReadBody>, &BoxError>) -> Class;
}

/// HTTP itself.
pub(super) struct Plain;

impl Dialect for Plain {
    fn operation(&self, head: Head<'_>) -> Vec<u8> {
        format!("{} {}", head.method, head.target().path()).into()
    }

    fn has_another(&self, _body: &[u8]) -> bool {
        false
    }

    fn is_endless(&self, headers: &HeaderMap) -> bool {
        let content_type =
            headers.get(CONTENT_TYPE).and_then(|value| value.to_str().ok()).unwrap_or_default();
        let media_type = content_type.split(';').next().unwrap_or_default().trim();
        media_type.eq_ignore_ascii_case("text/event-stream")
    }

    fn keeps(&self, _headers: &HeaderMap, name: &HeaderName) -> bool {
        KEPT.contains(name)
    }

    fn has_failed(&self, status: StatusCode, _headers: &HeaderMap, _trailers: Option<&HeaderMap>) -> bool {
        status.is_server_error()
    }

    fn refuse(
        &self,
        _by: &Name,
        refusal: KeyRefusal,
        documentation: Option<&HeaderValue>,
    ) -> Result<Response<ReadBody>, BoxError> {
        let mut response = key_problem(refusal, refusal.come_again()).map(|body| ReadBody {
            data: body.into_inner().expect("a problem has a body"),
            ..ReadBody::default()
        });
        if let (KeyRefusal::Missing, Some(link)) = (refusal, documentation) {
            response.headers_mut().insert(LINK, link.clone());
        }
        Ok(response)
    }

    fn class(&self, result: Result<&Response<ReadBody>, &BoxError>) -> Class {
        ByStatus.classify(result)
    }
}
