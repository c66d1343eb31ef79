//! What is kept of an answer, and in which form.

use bytes::{Buf, BufMut, Bytes, BytesMut};
use http::{
    HeaderMap, HeaderName, HeaderValue, Response, StatusCode,
    header::{self},
};

use super::{
    body::ReadBody,
    dialect::{Dialect, Plain},
};
use crate::idempotency::Outcome;

/// The headers that are kept. All others belong to the one exchange that they were sent in: cookies, challenges, dates, what is
/// said about the connection, the trace, or a quota.
pub(super) const KEPT: [HeaderName; 8] = [
    header::CONTENT_TYPE,
    header::CONTENT_ENCODING,
    header::CONTENT_LANGUAGE,
    header::LOCATION,
    header::CONTENT_LOCATION,
    header::ETAG,
    header::LAST_MODIFIED,
    header::LINK,
];

/// What is dropped from trailers, which otherwise are kept: a protocol says in them how a call ended.
const DROPPED: [&str; 17] = [
    "authentication-info",
    "connection",
    "date",
    "grpc-retry-pushback-ms",
    "keep-alive",
    "proxy-authenticate",
    "proxy-authentication-info",
    "retry-after",
    "server-timing",
    "set-cookie",
    "traceparent",
    "tracestate",
    "traceresponse",
    "trailer",
    "transfer-encoding",
    "upgrade",
    "www-authenticate",
];

/// The first byte of what is kept, for whoever reads it after this version of the crate.
const VERSION: u8 = 1;

/// An answer as it is kept under a key: status, the headers that are kept, body and trailers.
///
/// ```
/// use bytes::Bytes;
/// use http::Response;
/// use moneta_resilience::idempotency::{Outcome, http::KeptAnswer};
///
/// // For `Claim::complete_in`, and for an operator who knows what was answered.
/// let answer = Response::builder().status(201).body(Bytes::from("paid")).unwrap();
/// let outcome: Outcome = KeptAnswer::of(&answer).into();
/// # assert!(matches!(outcome, Outcome::Answer(_)));
/// ```
#[derive(Clone, Debug, PartialEq)]
pub struct KeptAnswer {
    status: StatusCode,
    headers: HeaderMap,
    trailers: Option<HeaderMap>,
    body: Bytes,
}

/// What is kept was not written by this version of the crate, or is no answer at all.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("what is kept of the answer cannot be read")]
#[non_exhaustive]
pub struct AnswerTooOld;

impl KeptAnswer {
    /// What is kept of this answer.
    pub fn of(answer: &Response<Bytes>) -> Self {
        Self::new(&Plain, answer.status(), answer.headers(), answer.body().clone(), None)
    }

    pub(super) fn new(
        dialect: &dyn Dialect,
        status: StatusCode,
        headers: &HeaderMap,
        body: Bytes,
        trailers: Option<&HeaderMap>,
    ) -> Self {
        Self {
            status,
            headers: only(headers, |name| dialect.keeps(headers, name)),
            trailers: trailers.map(|trailers| only(trailers, may_be_kept)),
            body,
        }
    }

    /// The answer once more.
    pub(super) fn into_response(self) -> Response<ReadBody> {
        let mut response = Response::new(ReadBody { data: self.body, trailers: self.trailers, rest: None });
        *response.status_mut() = self.status;
        *response.headers_mut() = self.headers;
        response
    }
}

impl From<KeptAnswer> for Outcome {
    fn from(answer: KeptAnswer) -> Self {
        let mut bytes = BytesMut::with_capacity(64 + answer.body.len());
        bytes.put_u8(VERSION);
        bytes.put_u16(answer.status.as_u16());
        put_fields(&mut bytes, &answer.headers);
        bytes.put_u8(answer.trailers.is_some().into());
        if let Some(trailers) = &answer.trailers {
            put_fields(&mut bytes, trailers);
        }
        bytes.put_slice(&answer.body);
        Self::Answer(bytes.freeze())
    }
}

/// Each part behind its length; the body is what is left at the end.
impl TryFrom<Bytes> for KeptAnswer {
    type Error = AnswerTooOld;

    fn try_from(mut bytes: Bytes) -> Result<Self, AnswerTooOld> {
        if bytes.try_get_u8() != Ok(VERSION) {
            return Err(AnswerTooOld);
        }
        let status = bytes.try_get_u16().ok().and_then(|status| StatusCode::from_u16(status).ok());
        let status = status.ok_or(AnswerTooOld)?;
        let headers = fields(&mut bytes).ok_or(AnswerTooOld)?;
        let trailers = match bytes.try_get_u8() {
            Ok(0) => None,
            Ok(1) => Some(fields(&mut bytes).ok_or(AnswerTooOld)?),
            _ => return Err(AnswerTooOld),
        };
        Ok(Self { status, headers, trailers, body: bytes })
    }
}

fn put_fields(bytes: &mut BytesMut, fields: &HeaderMap) {
    let length = |of: usize| u32::try_from(of).expect("no field is 4 GiB long");
    bytes.put_u32(length(fields.len()));
    for (name, value) in fields {
        for part in [name.as_str().as_bytes(), value.as_bytes()] {
            bytes.put_u32(length(part.len()));
            bytes.put_slice(part);
        }
    }
}

fn fields(bytes: &mut Bytes) -> Option<HeaderMap> {
    let mut fields = HeaderMap::new();
    for _ in 0..bytes.try_get_u32().ok()? {
        let name = HeaderName::from_bytes(&part(bytes)?).ok()?;
        fields.try_append(name, HeaderValue::from_maybe_shared(part(bytes)?).ok()?).ok()?;
    }
    Some(fields)
}

fn part(bytes: &mut Bytes) -> Option<Bytes> {
    let length = usize::try_from(bytes.try_get_u32().ok()?).ok()?;
    (length <= bytes.len()).then(|| bytes.split_to(length))
}

/// A repeated field is kept as often as it is there.
fn only(fields: &HeaderMap, keep: impl Fn(&HeaderName) -> bool) -> HeaderMap {
    fields.iter().filter(|(name, _)| keep(name)).map(|(name, value)| (name.clone(), value.clone())).fold(
        HeaderMap::new(),
        |mut kept, (name, value)| {
            kept.append(name, value);
            kept
        },
    )
}

pub(super) fn may_be_kept(name: &HeaderName) -> bool {
    let name = name.as_str();
    !DROPPED.contains(&name) && !name.starts_with("ratelimit") && !name.starts_with("x-ratelimit")
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn answer() -> Response<Bytes> {
        Response::builder()
            .status(201)
            .header("content-type", "application/json")
            .header("link", "</a>; rel=first")
            .header("link", "</b>; rel=next")
            .header("location", "/payments/7")
            .header("etag", "\"7\"")
            .header("set-cookie", "session=1")
            .header("www-authenticate", "Basic")
            .header("date", "Sun, 06 Nov 1994 08:49:37 GMT")
            .header("connection", "close")
            .header("traceparent", "00-1-2-01")
            .header("ratelimit", "\"default\";r=1")
            .header("x-request-id", "7")
            .body(Bytes::from_static(b"\x00paid\xff"))
            .expect("it is valid")
    }

    fn again(kept: KeptAnswer) -> KeptAnswer {
        let Outcome::Answer(bytes) = kept.into() else { panic!("it is an answer") };
        KeptAnswer::try_from(bytes).expect("it was just written")
    }

    #[test]
    fn an_answer_comes_back_as_it_was_without_what_belongs_to_one_exchange() {
        let answer = answer();
        let response = again(KeptAnswer::of(&answer)).into_response();
        assert_eq!((response.status(), &response.body().data), (StatusCode::CREATED, answer.body()));
        let names: Vec<_> = response.headers().iter().map(|(name, _)| name.as_str()).collect();
        assert_eq!(names, ["content-type", "link", "link", "location", "etag"]);
        let links: Vec<_> = response.headers().get_all("link").iter().collect();
        assert_eq!(links, ["</a>; rel=first", "</b>; rel=next"]);
    }

    #[test]
    fn trailers_are_kept_and_no_trailers_are_not_empty_ones() {
        let mut trailers = HeaderMap::new();
        for name in ["grpc-status", "grpc-message", "set-cookie", "x-ratelimit-remaining", "tracestate"] {
            trailers.insert(name, HeaderValue::from_static("0"));
        }
        for given in [None, Some(HeaderMap::new()), Some(trailers)] {
            let kept =
                KeptAnswer::new(&Plain, StatusCode::OK, &HeaderMap::new(), Bytes::new(), given.as_ref());
            let back = again(kept).trailers;
            assert_eq!(back.is_some(), given.is_some());
            if let Some(back) = back.filter(|back| !back.is_empty()) {
                assert_eq!(
                    back.keys().map(HeaderName::as_str).collect::<Vec<_>>(),
                    ["grpc-status", "grpc-message"]
                );
            }
        }
    }

    proptest! {
        #[test]
        fn garbage_is_refused_and_never_panics(bytes: Vec<u8>) {
            let read = KeptAnswer::try_from(Bytes::from(bytes.clone()));
            prop_assert!(bytes.first() == Some(&VERSION) || read.is_err());
        }

        #[test]
        fn a_part_of_an_answer_is_refused_or_has_a_part_of_its_body(cut in 0..200_usize) {
            let Outcome::Answer(bytes) = KeptAnswer::of(&answer()).into() else { panic!("it is an answer") };
            let cut = cut.min(bytes.len());
            if let Ok(read) = KeptAnswer::try_from(bytes.slice(..cut)) {
                prop_assert_eq!(read.headers.len(), 5);
                prop_assert!(answer().body().starts_with(&read.body));
            }
        }
    }
}
