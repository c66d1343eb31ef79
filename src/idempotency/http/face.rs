//! What the face of HTTP decides: who needs a key, what a request is, and what is kept of an answer.

use std::{sync::Arc, time::Duration};

use bytes::{Bytes, BytesMut};
use http::{
    HeaderMap, HeaderName, HeaderValue, Method, Request, Response, StatusCode,
    header::{AUTHORIZATION, CONTENT_TYPE, LINK},
};
use http_body::Body;
use http_body_util::{BodyExt, LengthLimitError, Limited};

use super::{
    answer::KeptAnswer,
    body::ReadBody,
    key::{InvalidKey, key_of},
};
use crate::{
    error::BoxError,
    head::Head,
    idempotency::{Fingerprint, Identity, Outcome, keeper::Ended},
    problem::problem,
};

const REPLAYED: HeaderName = HeaderName::from_static("idempotent-replayed");
/// When a caller should come again whose first call is still being worked on, or while the store is down.
const COME_AGAIN: Duration = Duration::from_secs(1);

/// Whether a request is to carry a key.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Need {
    /// Its key means nothing here.
    Ignored,
    /// It may have one. Without, it is handled as if there were no layer.
    Optional,
    /// Without one it is refused.
    Required,
}

/// What becomes of a key whose handler answered with a status of 5xx.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum OnServerError {
    /// The answer is kept like any other: the handler may have acted before it failed.
    #[default]
    Keep,
    /// The key is free, and the next try runs the handler again: right where all that a handler does is undone when it fails,
    /// as in one transaction. Elsewhere money moves twice.
    Reexecute,
}

type Of<T> = Arc<dyn Fn(Head<'_>) -> T + Send + Sync>;
type Meaning = Arc<dyn Fn(Head<'_>, &[u8]) -> Vec<u8> + Send + Sync>;

/// The rules of the face.
#[derive(Clone)]
pub(super) struct Face {
    pub(super) need: Of<Need>,
    pub(super) scope: Of<Vec<u8>>,
    pub(super) operation: Of<Vec<u8>>,
    /// What a request means; by default its method, target, content type and body.
    pub(super) meaning: Option<Meaning>,
    pub(super) strict: bool,
    pub(super) max_request: usize,
    pub(super) max_answer: usize,
    pub(super) on_server_error: OnServerError,
    /// Where the need of a key is explained.
    pub(super) documentation: Option<HeaderValue>,
}

impl Default for Face {
    fn default() -> Self {
        Self {
            need: Arc::new(|head| needed_by(head.method, Need::Optional)),
            scope: Arc::new(|head| credentials(head.headers)),
            operation: Arc::new(|head| format!("{} {}", head.method, head.uri.path()).into()),
            meaning: None,
            strict: false,
            max_request: 1024 * 1024,
            max_answer: 256 * 1024,
            on_server_error: OnServerError::Keep,
            documentation: None,
        }
    }
}

/// What the head of a request says.
pub(super) enum Decision {
    /// There is no key to look at.
    Pass,
    Refuse(Refusal),
    Keyed(Identity),
}

/// Why a request with a key is not answered by the handler, or by what is kept.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Refusal {
    Missing,
    Invalid,
    TooLarge,
    Unreadable,
    InProgress,
    Mismatch,
    InDoubt,
    NotReplayable,
    Unavailable,
}

impl Face {
    pub(super) fn decide(&self, head: Head<'_>) -> Decision {
        let need = (self.need)(head);
        if need == Need::Ignored {
            return Decision::Pass;
        }
        match key_of(head.headers, self.strict) {
            Ok(Some(key)) => {
                Decision::Keyed(Identity::of(&(self.scope)(head), &(self.operation)(head), &key))
            }
            Ok(None) if need == Need::Optional => Decision::Pass,
            Ok(None) => Decision::Refuse(Refusal::Missing),
            Err(InvalidKey) => Decision::Refuse(Refusal::Invalid),
        }
    }

    /// Reads the body of a request, as far as it may go.
    pub(super) async fn read<B>(&self, body: B) -> Result<ReadBody, Refusal>
    where
        B: Body<Data = Bytes, Error: Into<BoxError>>,
    {
        if body.size_hint().lower() > self.max_request as u64 {
            return Err(Refusal::TooLarge);
        }
        match Limited::new(body, self.max_request).collect().await {
            Ok(collected) => {
                let trailers = collected.trailers().cloned();
                Ok(ReadBody { data: collected.to_bytes(), trailers, rest: None })
            }
            Err(error) if error.is::<LengthLimitError>() => Err(Refusal::TooLarge),
            Err(_) => Err(Refusal::Unreadable),
        }
    }

    pub(super) fn fingerprint(&self, request: &Request<ReadBody>) -> Fingerprint {
        let head = Head::of(request);
        let body = &request.body().data;
        if let Some(meaning) = &self.meaning {
            return Fingerprint::of([&meaning(head, body)[..]]);
        }
        let target = head.uri.path_and_query().map_or("", http::uri::PathAndQuery::as_str);
        let content_type = head.headers.get(CONTENT_TYPE).map_or(&b""[..], HeaderValue::as_bytes);
        Fingerprint::of([head.method.as_str().as_bytes(), target.as_bytes(), content_type, body])
    }

    /// Reads an answer, as far as it is kept. What there is beyond that is left in its body.
    ///
    /// # Errors
    ///
    /// That of the body: the handler has acted, and what it meant to say is not known.
    pub(super) async fn keep<B>(&self, answer: Response<B>) -> Result<(Response<ReadBody>, Ended), BoxError>
    where
        B: Body<Data = Bytes, Error: Into<BoxError>> + Send + 'static,
    {
        let (head, body) = answer.into_parts();
        let long = is_stream(&head.headers) || body.size_hint().lower() > self.max_answer as u64;
        let read = if long { unread(body) } else { read_up_to(body, self.max_answer).await? };
        let ended = if head.status.is_server_error() && self.on_server_error == OnServerError::Reexecute {
            Ended::NotRun
        } else if read.rest.is_some() {
            Ended::Done(Outcome::Tombstone)
        } else {
            let trailers = read.trailers.as_ref();
            Ended::Done(KeptAnswer::new(head.status, &head.headers, read.data.clone(), trailers).into())
        };
        Ok((Response::from_parts(head, read), ended))
    }

    /// What is kept under a key, as an answer.
    pub(super) fn replay(&self, outcome: Outcome) -> Response<ReadBody> {
        let kept = match outcome {
            Outcome::Answer(bytes) => KeptAnswer::try_from(bytes).ok(),
            Outcome::Tombstone => None,
        };
        let Some(kept) = kept else { return self.refuse(Refusal::NotReplayable) };
        let mut response = kept.into_response();
        response.headers_mut().insert(REPLAYED, HeaderValue::from_static("true"));
        response
    }

    pub(super) fn refuse(&self, refusal: Refusal) -> Response<ReadBody> {
        let (status, word, title) = refusal.words();
        let again = matches!(refusal, Refusal::InProgress | Refusal::Unavailable).then_some(COME_AGAIN);
        let response = problem(status, word, title, again);
        let mut response = response.map(|body| ReadBody {
            data: body.into_inner().expect("a problem has a body"),
            ..ReadBody::default()
        });
        if let (Refusal::Missing, Some(link)) = (refusal, &self.documentation) {
            response.headers_mut().insert(LINK, link.clone());
        }
        response
    }
}

impl Refusal {
    fn words(self) -> (StatusCode, &'static str, &'static str) {
        match self {
            Self::Missing => {
                (StatusCode::BAD_REQUEST, "idempotency-key-missing", "this request needs an Idempotency-Key")
            }
            Self::Invalid => {
                (StatusCode::BAD_REQUEST, "idempotency-key-invalid", "the Idempotency-Key cannot be read")
            }
            Self::TooLarge => (
                StatusCode::PAYLOAD_TOO_LARGE,
                "idempotency-body-too-large",
                "the body is too long for a request with an Idempotency-Key",
            ),
            Self::Unreadable => {
                (StatusCode::BAD_REQUEST, "idempotency-body-unreadable", "the body could not be read")
            }
            Self::InProgress => (
                StatusCode::CONFLICT,
                "idempotency-in-progress",
                "a request with this Idempotency-Key is being worked on",
            ),
            Self::Mismatch => (
                StatusCode::UNPROCESSABLE_ENTITY,
                "idempotency-key-reused",
                "this Idempotency-Key was used for another request",
            ),
            Self::InDoubt => (
                StatusCode::CONFLICT,
                "outcome-unknown",
                "it is not known what came of the request with this Idempotency-Key",
            ),
            Self::NotReplayable => (
                StatusCode::CONFLICT,
                "not-replayable",
                "the request with this Idempotency-Key was done, and its answer was not kept",
            ),
            Self::Unavailable => {
                (StatusCode::SERVICE_UNAVAILABLE, "idempotency-unavailable", "refused for now")
            }
        }
    }
}

/// POST and PATCH: those that do something again when they are sent again.
pub(super) fn needed_by(method: &Method, need: Need) -> Need {
    if matches!(*method, Method::POST | Method::PATCH) { need } else { Need::Ignored }
}

/// Each line behind its length; nothing where the caller says nothing of who it is.
fn credentials(headers: &HeaderMap) -> Vec<u8> {
    let lines = headers.get_all(AUTHORIZATION).iter().map(HeaderValue::as_bytes);
    lines.flat_map(|line| [&(line.len() as u64).to_be_bytes()[..], line].concat()).collect()
}

/// An answer that has no end to wait for.
fn is_stream(headers: &HeaderMap) -> bool {
    let content_type = headers.get(CONTENT_TYPE).and_then(|value| value.to_str().ok()).unwrap_or_default();
    let media_type = content_type.split(';').next().unwrap_or_default().trim();
    media_type.eq_ignore_ascii_case("text/event-stream")
}

/// In a box only to be named: this is the rest of a body that was longer than what is read.
fn unread<B>(body: B) -> ReadBody
where
    B: Body<Data = Bytes, Error: Into<BoxError>> + Send + 'static,
{
    ReadBody { rest: Some(body.map_err(Into::into).boxed_unsync()), ..ReadBody::default() }
}

async fn read_up_to<B>(body: B, limit: usize) -> Result<ReadBody, BoxError>
where
    B: Body<Data = Bytes, Error: Into<BoxError>> + Send + 'static,
{
    let mut body = Box::pin(body);
    let (mut data, mut trailers) = (BytesMut::new(), None);
    while let Some(frame) = body.frame().await {
        match frame.map_err(Into::into)?.into_data() {
            Ok(chunk) => {
                let long = chunk.len() > limit - data.len();
                data.extend_from_slice(&chunk);
                if long {
                    return Ok(ReadBody { data: data.freeze(), trailers, ..unread(body) });
                }
            }
            Err(frame) => trailers = frame.into_trailers().ok(),
        }
    }
    Ok(ReadBody { data: data.freeze(), trailers, rest: None })
}
