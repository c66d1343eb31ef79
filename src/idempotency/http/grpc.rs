//! Keys over gRPC: of unary calls, whose outcome stands behind their message.

use bytes::Bytes;
use http::{HeaderMap, HeaderName, HeaderValue, Response, StatusCode, header::CONTENT_TYPE};
use tonic::Status;

use super::{
    KeptAnswer,
    answer::{KEPT, may_be_kept},
    body::ReadBody,
    dialect::Dialect,
};
use crate::{
    class::Class,
    classify::{ByCode, Classify, class_of, code_of_end, code_of_head},
    error::{BoxError, KeyRefusal},
    frame::{framed, has_another},
    head::Head,
    idempotency::{IdempotencyLayer, Store},
    name::Name,
};

const ENCODING: HeaderName = HeaderName::from_static("grpc-encoding");

/// gRPC, which goes over HTTP.
pub(super) struct Grpc;

impl Dialect for Grpc {
    /// The full name of the method, `/package.Service/Method`.
    fn operation(&self, head: Head<'_>) -> Vec<u8> {
        head.target().path().into()
    }

    fn has_another(&self, body: &[u8]) -> bool {
        has_another(body)
    }

    /// Nothing in the head of a stream says that it is one.
    fn is_endless(&self, _headers: &HeaderMap) -> bool {
        false
    }

    /// Where the status stands in the headers, they are the trailers.
    fn keeps(&self, headers: &HeaderMap, name: &HeaderName) -> bool {
        if headers.contains_key(Status::GRPC_STATUS) {
            return may_be_kept(name);
        }
        KEPT.contains(name) || name == ENCODING
    }

    /// What has not ended, or ended without a status, has not said so.
    fn has_failed(&self, status: StatusCode, headers: &HeaderMap, trailers: Option<&HeaderMap>) -> bool {
        let code = code_of_head(status, headers).or_else(|| trailers.map(|end| code_of_end(Some(end))));
        code.is_some_and(|code| matches!(class_of(code), Class::Transient { .. } | Class::Fault))
    }

    /// The rejection itself: what stands outside makes a status of it, as of all others.
    fn refuse(
        &self,
        by: &Name,
        refusal: KeyRefusal,
        _documentation: Option<&HeaderValue>,
    ) -> Result<Response<ReadBody>, BoxError> {
        Err(refusal.rejected(by).into())
    }

    fn class(&self, result: Result<&Response<ReadBody>, &BoxError>) -> Class {
        ByCode.classify(result)
    }
}

impl<St: Store> IdempotencyLayer<St> {
    /// The same layer, in front of a gRPC service.
    pub(crate) fn over_grpc(self) -> Self {
        self.translated(|face| face.dialect = &Grpc)
    }
}

impl KeptAnswer {
    /// What is kept of a good answer over gRPC with this message, already encoded (`prost::Message::encode_to_vec`).
    ///
    /// # Panics
    ///
    /// When the message is longer than 4 GiB, which is the most that gRPC can frame.
    pub fn of_message(message: impl Into<Bytes>) -> Self {
        let trailers = HeaderMap::from_iter([(Status::GRPC_STATUS, HeaderValue::from_static("0"))]);
        let headers = HeaderMap::from_iter([(CONTENT_TYPE, HeaderValue::from_static("application/grpc"))]);
        Self::new(&Grpc, StatusCode::OK, &headers, framed(&message.into()), Some(&trailers))
    }

    /// What is kept of an answer over gRPC that is no more than this status.
    pub fn of_status(status: Status) -> Self {
        let answer = status.into_http::<()>();
        Self::new(&Grpc, answer.status(), answer.headers(), Bytes::new(), None)
    }
}
