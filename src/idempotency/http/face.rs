//! What the face of HTTP decides: who needs a key, what a request is, and what is kept of an answer.

use std::sync::Arc;

use bytes::{Bytes, BytesMut};
use http::{
    HeaderMap, HeaderName, HeaderValue, Method, Request, Response,
    header::{AUTHORIZATION, CONTENT_TYPE},
};
use http_body::Body;
use http_body_util::BodyExt;

use super::{
    answer::KeptAnswer,
    body::{KeyedBody, ReadBody},
    dialect::{Dialect, Plain},
    key::{InvalidKey, key_of},
};
use crate::{
    error::{BoxError, KeyRefusal},
    head::Head,
    idempotency::{
        Claim, Ended, Fingerprint, Identity, Outcome,
        face::{Converse, Decision, Face},
    },
    name::Name,
    policy::{Answer, sealed::Sealed},
};

const REPLAYED: HeaderName = HeaderName::from_static("idempotent-replayed");

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

/// Keys that come over HTTP, or over gRPC, and the rules for them.
#[derive(Clone)]
pub struct Http {
    pub(super) dialect: &'static dyn Dialect,
    pub(super) need: Of<Need>,
    pub(super) scope: Of<Vec<u8>>,
    /// What a key is for; by default what the dialect says.
    pub(super) operation: Option<Of<Vec<u8>>>,
    /// What a request means; by default its method, target, content type and body.
    pub(super) meaning: Option<Meaning>,
    pub(super) strict: bool,
    pub(super) max_request: usize,
    pub(super) max_answer: usize,
    pub(super) on_server_error: OnServerError,
    /// Where the need of a key is explained.
    pub(super) documentation: Option<HeaderValue>,
}

impl Default for Http {
    fn default() -> Self {
        Self {
            dialect: &Plain,
            need: Arc::new(|head| needed_by(head.method, Need::Optional)),
            scope: Arc::new(|head| credentials(head.headers)),
            operation: None,
            meaning: None,
            strict: false,
            max_request: 1024 * 1024,
            max_answer: 256 * 1024,
            on_server_error: OnServerError::Keep,
            documentation: None,
        }
    }
}

impl Sealed for Http {}

impl<B> Face<Request<B>> for Http
where
    B: Send + 'static,
{
    type Inner = Request<KeyedBody<B>>;
    type Keyed = Request<B>;
    type Answered = Response<ReadBody>;

    fn decide(&self, request: Request<B>) -> Decision<Self::Inner, Request<B>> {
        match self.key_of(Head::of(&request)) {
            Ok(Some(id)) => Decision::Keyed(id, request),
            Ok(None) => Decision::Pass(request.map(KeyedBody::passed)),
            Err(refusal) => Decision::Refuse(refusal),
        }
    }
}

impl<B, RB> Converse<Request<B>, Response<RB>> for Http
where
    B: Body<Data = Bytes, Error: Into<BoxError>> + Send + 'static,
    RB: Body<Data = Bytes, Error: Into<BoxError>> + Send + 'static,
{
    type Response = Response<KeyedBody<RB>>;

    async fn read(&self, request: Request<B>) -> Result<(Fingerprint, Self::Inner), KeyRefusal> {
        let (head, body) = request.into_parts();
        let request = Request::from_parts(head, self.read_body(body).await?);
        Ok((self.fingerprint(&request), request.map(KeyedBody::from)))
    }

    fn hand_over(&self, request: &mut Self::Inner, claim: Claim) {
        request.extensions_mut().insert(claim);
    }

    async fn keep(&self, response: Response<RB>) -> Result<(Response<ReadBody>, Ended), BoxError> {
        let (head, body) = response.into_parts();
        let long =
            self.dialect.is_endless(&head.headers) || body.size_hint().lower() > self.max_answer as u64;
        let read = if long { unread(body) } else { self.read_up_to(body, self.max_answer).await? };
        let trailers = read.trailers.as_ref();
        let undone = || self.dialect.has_failed(head.status, &head.headers, trailers);
        let ended = if self.on_server_error == OnServerError::Reexecute && undone() {
            Ended::NotRun
        } else if read.rest.is_some() {
            Ended::Done(Outcome::Tombstone)
        } else {
            let data = read.data.clone();
            Ended::Done(KeptAnswer::new(self.dialect, head.status, &head.headers, data, trailers).into())
        };
        Ok((Response::from_parts(head, read), ended))
    }

    /// An error says nothing about what the handler did before.
    fn failed(&self, _error: &BoxError) -> Ended {
        Ended::InDoubt
    }

    fn replay(&self, kept: Bytes) -> Option<Result<Response<ReadBody>, BoxError>> {
        let mut response = KeptAnswer::try_from(kept).ok()?.into_response();
        response.headers_mut().insert(REPLAYED, HeaderValue::from_static("true"));
        Some(Ok(response))
    }

    fn refuse(&self, by: &Name, refusal: KeyRefusal) -> Result<Response<ReadBody>, BoxError> {
        self.dialect.refuse(by, refusal, self.documentation.as_ref())
    }

    fn judged(&self, result: Result<Response<ReadBody>, BoxError>) -> Answer<Response<ReadBody>> {
        let class = self.dialect.class(result.as_ref());
        Answer::judged(result, class)
    }

    fn passed(response: Response<RB>) -> Self::Response {
        response.map(KeyedBody::passed)
    }

    fn answered(answered: Response<ReadBody>) -> Self::Response {
        answered.map(KeyedBody::from)
    }
}

impl Http {
    /// Under which the key of a request is kept, if it has one that means something.
    fn key_of(&self, head: Head<'_>) -> Result<Option<Identity>, KeyRefusal> {
        let need = (self.need)(head);
        if need == Need::Ignored {
            return Ok(None);
        }
        match key_of(head.headers, self.strict) {
            Ok(Some(key)) => {
                let operation = match &self.operation {
                    Some(operation) => operation(head),
                    None => self.dialect.operation(head),
                };
                Ok(Some(Identity::of(&(self.scope)(head), &operation, &key)))
            }
            Ok(None) if need == Need::Optional => Ok(None),
            Ok(None) => Err(KeyRefusal::Missing),
            Err(InvalidKey) => Err(KeyRefusal::Invalid),
        }
    }

    /// Reads the body of a request, as far as it may go.
    async fn read_body<B>(&self, body: B) -> Result<ReadBody, KeyRefusal>
    where
        B: Body<Data = Bytes, Error: Into<BoxError>> + Send + 'static,
    {
        if body.size_hint().lower() > self.max_request as u64 {
            return Err(KeyRefusal::TooLarge);
        }
        match self.read_request(body).await {
            Ok(read) if read.rest.is_none() => Ok(read),
            Ok(read) if read.data.len() > self.max_request => Err(KeyRefusal::TooLarge),
            Ok(_) => Err(KeyRefusal::Streamed),
            Err(_) => Err(KeyRefusal::Unreadable),
        }
    }

    /// Reads the body of a request as far as one with a key may go.
    pub(crate) async fn read_request<B>(&self, body: B) -> Result<ReadBody, BoxError>
    where
        B: Body<Data = Bytes, Error: Into<BoxError>> + Send + 'static,
    {
        self.read_up_to(body, self.max_request).await
    }

    /// Reads a body to its end, or until it is known to be too long or more than one message. What there is beyond that is left.
    async fn read_up_to<B>(&self, body: B, limit: usize) -> Result<ReadBody, BoxError>
    where
        B: Body<Data = Bytes, Error: Into<BoxError>> + Send + 'static,
    {
        let mut body = Box::pin(body);
        let (mut data, mut trailers) = (BytesMut::new(), None);
        while let Some(frame) = body.frame().await {
            match frame.map_err(Into::into)?.into_data() {
                Ok(chunk) => {
                    data.extend_from_slice(&chunk);
                    if data.len() > limit || self.dialect.has_another(&data) {
                        return Ok(ReadBody { data: data.freeze(), trailers, ..unread(body) });
                    }
                }
                Err(frame) => trailers = frame.into_trailers().ok(),
            }
        }
        Ok(ReadBody { data: data.freeze(), trailers, rest: None })
    }

    fn fingerprint(&self, request: &Request<ReadBody>) -> Fingerprint {
        let head = Head::of(request);
        let body = &request.body().data;
        if let Some(meaning) = &self.meaning {
            return Fingerprint::of([&meaning(head, body)[..]]);
        }
        let target = head.target().path_and_query().map_or("", http::uri::PathAndQuery::as_str);
        let content_type = head.headers.get(CONTENT_TYPE).map_or(&b""[..], HeaderValue::as_bytes);
        Fingerprint::of([head.method.as_str().as_bytes(), target.as_bytes(), content_type, body])
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

/// In a box only to be named: this is the rest of a body that was longer than what is read.
fn unread<B>(body: B) -> ReadBody
where
    B: Body<Data = Bytes, Error: Into<BoxError>> + Send + 'static,
{
    ReadBody { rest: Some(body.map_err(Into::into).boxed_unsync()), ..ReadBody::default() }
}
