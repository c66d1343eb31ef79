use std::{
    fmt,
    pin::Pin,
    task::{Context, Poll},
};

use bytes::Bytes;
use futures::{future::ready, stream};
use http::HeaderMap;
use http_body::{Body, Frame, SizeHint};
use http_body_util::{BodyExt, StreamBody, combinators::UnsyncBoxBody};
use pin_project_lite::pin_project;

use crate::error::BoxError;

pin_project! {
    /// A body of a request or an answer that passed an [`IdempotencyLayer`](super::IdempotencyLayer): as it came, where there was
    /// no key, or read.
    #[derive(Debug)]
    pub struct KeyedBody<B> {
        #[pin]
        is: Is<B>,
    }
}

pin_project! {
    #[project = IsProjection]
    #[derive(Debug)]
    enum Is<B> {
        Passed { #[pin] body: B },
        Read { read: ReadBody },
    }
}

/// What was read of a body, and what was not: what answers to calls with a key are made of.
#[derive(Default)]
pub struct ReadBody {
    pub(super) data: Bytes,
    pub(super) trailers: Option<HeaderMap>,
    pub(super) rest: Option<UnsyncBoxBody<Bytes, BoxError>>,
}

impl ReadBody {
    /// The same once more, where all was read.
    pub(crate) fn copied(&self) -> Option<Self> {
        let (data, trailers) = (self.data.clone(), self.trailers.clone());
        self.rest.is_none().then_some(Self { data, trailers, rest: None })
    }

    /// A body that breaks at once.
    pub(crate) fn broken(error: BoxError) -> Self {
        let rest = StreamBody::new(stream::once(ready(Err(error))));
        Self { rest: Some(rest.boxed_unsync()), ..Self::default() }
    }
}

impl<B> KeyedBody<B> {
    pub(crate) fn passed(body: B) -> Self {
        Self { is: Is::Passed { body } }
    }
}

impl<B> From<ReadBody> for KeyedBody<B> {
    fn from(read: ReadBody) -> Self {
        Self { is: Is::Read { read } }
    }
}

impl<B> Body for KeyedBody<B>
where
    B: Body<Data = Bytes, Error: Into<BoxError>>,
{
    type Data = Bytes;
    type Error = BoxError;

    fn poll_frame(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BoxError>>> {
        match self.project().is.project() {
            IsProjection::Passed { body } => body.poll_frame(cx).map_err(Into::into),
            IsProjection::Read { read } => {
                if !read.data.is_empty() {
                    return Poll::Ready(Some(Ok(Frame::data(std::mem::take(&mut read.data)))));
                }
                match &mut read.rest {
                    Some(rest) => Pin::new(rest).poll_frame(cx),
                    None => Poll::Ready(read.trailers.take().map(|trailers| Ok(Frame::trailers(trailers)))),
                }
            }
        }
    }

    fn is_end_stream(&self) -> bool {
        match &self.is {
            Is::Passed { body } => body.is_end_stream(),
            Is::Read { read } => {
                let rest = read.rest.as_ref().is_none_or(Body::is_end_stream);
                read.data.is_empty() && read.trailers.is_none() && rest
            }
        }
    }

    fn size_hint(&self) -> SizeHint {
        match &self.is {
            Is::Passed { body } => body.size_hint(),
            Is::Read { read } => {
                let mut hint = read.rest.as_ref().map_or(SizeHint::with_exact(0), Body::size_hint);
                let data = read.data.len() as u64;
                if let Some(upper) = hint.upper() {
                    hint.set_upper(upper.saturating_add(data));
                }
                hint.set_lower(hint.lower().saturating_add(data));
                hint
            }
        }
    }
}

impl fmt::Debug for ReadBody {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ReadBody").field("data", &self.data.len()).finish_non_exhaustive()
    }
}
