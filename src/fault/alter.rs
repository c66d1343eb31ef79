//! What faults do to answers of HTTP.

use std::time::Duration;

use bytes::Bytes;
use http::{
    HeaderMap, HeaderName, HeaderValue, Response, StatusCode,
    header::{CONTENT_ENCODING, CONTENT_LENGTH, CONTENT_TYPE},
};

use super::{
    Alter, Delay, Fault, FaultBody, Heads,
    answer::Altering,
    body::{Course, Pace},
    fault::Effect,
};
use crate::{class::Class, classify::Classify, event::FaultKind};

pub(super) const GRPC_STATUS: HeaderName = HeaderName::from_static("grpc-status");
const GRPC_MESSAGE: HeaderName = HeaderName::from_static("grpc-message");
const GRPC_DETAILS: HeaderName = HeaderName::from_static("grpc-status-details-bin");

/// What becomes of an answer.
#[derive(Clone, Debug)]
#[expect(unnameable_types, reason = "the trait whose methods take it is sealed")]
pub struct Alteration(pub(super) Change);

#[derive(Clone, Debug)]
pub(super) enum Change {
    /// Another status.
    Status(StatusCode),
    /// This status of gRPC in the head, and nothing behind it.
    #[cfg_attr(
        not(any(feature = "grpc", feature = "fault-file")),
        expect(dead_code, reason = "only gRPC has such")
    )]
    Code(HeaderValue),
    /// Another content.
    Content(Bytes),
    /// Something happens to its body on its way.
    Course(Course),
}

impl Alteration {
    pub(super) fn kind(&self) -> FaultKind {
        match &self.0 {
            Change::Status(_) | Change::Code(_) | Change::Course(Course::Ends(_)) => FaultKind::Status,
            Change::Content(_) => FaultKind::Body,
            Change::Course(Course::Slow(_)) => FaultKind::SlowBody,
            Change::Course(Course::Cut { .. }) => FaultKind::CutBody,
        }
    }
}

/// Faults of the answers of HTTP, and of protocols over it. They are for golden servers, and for golden clients of HTTP and gRPC;
/// no answer of another stack is [hit](super::Armed::hit) by them, and neither is an error that came in the place of an answer.
impl Fault {
    /// The service does its work, and its answer gets this status. All else of the answer stays as it is.
    ///
    /// # Panics
    ///
    /// When `status` is an informational one, which is no answer.
    #[track_caller]
    pub fn status(status: StatusCode) -> Self {
        assert!(!status.is_informational(), "a status of 1xx is no answer");
        Self::altering(Change::Status(status))
    }

    /// The service does its work, and its answer gets this content: something that nobody can read, or the answer to another
    /// question. `Content-Length` follows, `Content-Encoding` goes, and trailers go.
    ///
    /// An answer that cannot have content (204, 304) is left alone.
    pub fn body(content: impl Into<Bytes>) -> Self {
        Self::altering(Change::Content(content.into()))
    }

    /// The body of the answer drips: each frame of it, and its end, comes so much later.
    pub fn slow_body(delay: impl Into<Delay>) -> Self {
        Self::altering(Change::Course(Course::Slow(Pace::Frames(delay.into()))))
    }

    /// The body of the answer comes as over a line that carries so many `bytes` in `per`: what follows a frame waits for as long as
    /// the frame takes.
    ///
    /// # Panics
    ///
    /// When `bytes` is zero; [`hang`](Self::hang) is what nothing comes of.
    #[track_caller]
    pub fn body_rate(bytes: u64, per: Duration) -> Self {
        assert!(bytes > 0, "a line carries at least one byte");
        Self::altering(Change::Course(Course::Slow(Pace::Bytes { bytes, per })))
    }

    /// The body of the answer breaks after so many bytes, with an error that stands for `Transient`, as a connection does that is
    /// lost. A body that is shorter stays whole.
    pub fn broken_body(after: u64) -> Self {
        Self::altering(Change::Course(Course::Cut { after, silent: false }))
    }

    /// The body of the answer ends after so many bytes, as if that were all, and its trailers are lost. A body that is shorter
    /// stays whole.
    ///
    /// A server that has said how long the answer is breaks the connection; where it has not said so, nobody is told.
    pub fn short_body(after: u64) -> Self {
        Self::altering(Change::Course(Course::Cut { after, silent: true }))
    }

    #[cfg(any(feature = "grpc", feature = "fault-file"))]
    pub(super) fn with_code(code: HeaderValue) -> Self {
        Self::altering(Change::Code(code))
    }

    #[cfg(any(feature = "grpc", feature = "fault-file"))]
    pub(super) fn with_code_at_end(code: HeaderValue) -> Self {
        Self::altering(Change::Course(Course::Ends(code)))
    }

    fn altering(change: Change) -> Self {
        Self::new(Effect::Alter(Alteration(change)))
    }
}

impl<C, B> Alter<Response<B>> for Heads<C>
where
    C: Classify<Response<FaultBody<B>>>,
{
    type Altered = Response<FaultBody<B>>;

    #[inline]
    fn pass(&self, answer: Response<B>) -> Self::Altered {
        answer.map(FaultBody::well)
    }

    fn can(&self, answer: &Self::Altered, Alteration(change): &Alteration) -> bool {
        match change {
            Change::Status(_) => true,
            Change::Code(_) | Change::Course(Course::Ends(_)) => is_grpc(answer.headers()),
            Change::Content(_) | Change::Course(_) => {
                !matches!(answer.status(), StatusCode::NO_CONTENT | StatusCode::NOT_MODIFIED)
            }
        }
    }

    fn alter(&self, answer: &mut Self::Altered, altering: Altering<'_>) -> Option<Class> {
        let Altering { alteration: Alteration(change), suffering, random } = altering;
        match change {
            Change::Status(status) => *answer.status_mut() = *status,
            Change::Code(code) => end_with(answer, code),
            // Its status is in the head, and nothing follows.
            Change::Course(Course::Ends(code)) if answer.headers().contains_key(GRPC_STATUS) => {
                end_with(answer, code);
            }
            Change::Content(content) => {
                if let Some(length) = answer.headers_mut().get_mut(CONTENT_LENGTH) {
                    *length = content.len().into();
                }
                answer.headers_mut().remove(CONTENT_ENCODING);
                answer.body_mut().replace(content.clone());
                return None;
            }
            Change::Course(course) => {
                answer.body_mut().fall_ill(course.clone(), suffering, random);
                return None;
            }
        }
        Some(self.classifier.classify(Ok(answer)))
    }
}

fn is_grpc(headers: &HeaderMap) -> bool {
    headers.get(CONTENT_TYPE).is_some_and(|kind| kind.as_bytes().starts_with(b"application/grpc"))
}

/// An answer that is a head with a status.
fn end_with<B>(answer: &mut Response<FaultBody<B>>, code: &HeaderValue) {
    *answer.status_mut() = StatusCode::OK;
    set_code(answer.headers_mut(), code);
    answer.headers_mut().remove(CONTENT_LENGTH);
    answer.body_mut().end();
}

/// Puts a status into a head or into trailers.
pub(super) fn set_code(headers: &mut HeaderMap, code: &HeaderValue) {
    headers.insert(GRPC_STATUS, code.clone());
    headers.insert(GRPC_MESSAGE, HeaderValue::from_static("an injected fault"));
    headers.remove(GRPC_DETAILS);
}
