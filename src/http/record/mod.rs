use std::{
    fmt,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll},
};

use bytes::Bytes;
use http::Request;
use http_body::{Body, Frame, SizeHint};

use self::tape::{At, Read, Tape};
use crate::{
    error::{BoxError, CallError},
    repeat::{Repeat, may_be_sent_twice},
};

mod tape;
#[cfg(test)]
mod tests;

/// How many bytes of a body are kept by default.
const LIMIT: usize = 64 * 1024;

/// A request body that is recorded while it streams, so that it can be sent again.
///
/// A body that is `Clone` needs none of this. For one that is not (a stream, `axum::body::Body`, hyper's `Incoming`, a
/// boxed body), map the request on its way into the client:
///
/// ```
/// # #[tokio::main(flavor = "current_thread")] async fn main() -> anyhow::Result<()> {
/// use std::time::Duration;
/// use axum::body::Body;
/// use http::Request;
/// use hyper_util::{client::legacy::Client, rt::TokioExecutor};
/// use moneta_resilience::{golden, http::RecordBody};
///
/// let transport = Client::builder(TokioExecutor::new()).build_http();
/// let archive = golden::client("archive").timeout(Duration::from_secs(2)).no_fallback().http(transport);
///
/// let upload = Request::put("http://127.0.0.1:1/report").body(Body::from("figures"))?;
/// # let upload =
/// archive.send(upload.map(RecordBody::new))
/// # ; drop(upload);
/// # Ok(()) }
/// ```
///
/// The first attempt streams as if nobody listened: nothing is read ahead of it. What it has sent is kept, with the
/// trailers; a later attempt sends that again and then goes on with the rest. What it sends is the same to the byte,
/// though not in the same frames.
///
/// Once the body is longer than its limit, the record is thrown away, the attempt in hand goes on without it, and there
/// is no other: its error is the caller's. The same holds when the body itself fails. A request that must not be sent
/// twice (a POST without an `Idempotency-Key`) is recorded for its first attempt alone, because it is sent again only when
/// the service has not even begun; and not at all where nobody would send it again.
///
/// # Defaults
///
/// | setting | default |
/// |---|---|
/// | [`limit`](RecordBody::with_limit) | 64 KiB of data and trailers |
///
/// # Memory
///
/// Bytes are copied, not shared, so a record holds no more than its limit, however large the buffers are that the frames
/// were cut from. Each later attempt holds one copy of the record while it sends it.
pub struct RecordBody<B> {
    tape: Arc<Tape<B>>,
    turn: u32,
    at: At,
    /// The rest of the body, once it is no longer recorded.
    rest: Option<Pin<Box<B>>>,
    broken: bool,
}

impl<B> RecordBody<B>
where
    B: Body<Data = Bytes>,
{
    /// Records up to 64 KiB of `body`.
    pub fn new(body: B) -> Self {
        Self::with_limit(body, LIMIT)
    }

    /// Records up to `limit` bytes of `body`, data and trailers taken together.
    pub fn with_limit(body: B, limit: usize) -> Self {
        let tape = Arc::new(Tape::new(body, limit));
        Self { tape, turn: Tape::<B>::FIRST, at: At::default(), rest: None, broken: false }
    }
}

impl<B> RecordBody<B> {
    /// The same body from its beginning; `None` when it is no longer known.
    pub(crate) fn again(&self) -> Option<Self> {
        let turn = self.tape.join()?;
        Some(Self { tape: Arc::clone(&self.tape), turn, at: At::default(), rest: None, broken: false })
    }

    /// Whether this copy can still be sent, now that the attempt before it has failed.
    pub(crate) fn is_whole(&self) -> bool {
        self.tape.claim(self.turn)
    }

    /// Nobody else may send this body at the moment, nor can ask to: recording it would be in vain.
    fn is_alone(&self) -> bool {
        Arc::strong_count(&self.tape) == 1
    }

    fn fail(&mut self, error: BoxError) -> Poll<Option<Result<Frame<Bytes>, CallError>>> {
        self.broken = true;
        Poll::Ready(Some(Err(CallError::new(error))))
    }
}

impl<B> Body for RecordBody<B>
where
    B: Body<Data = Bytes, Error: Into<BoxError>>,
{
    type Data = Bytes;
    type Error = CallError;

    fn poll_frame(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, CallError>>> {
        let this = self.get_mut();
        if this.broken {
            return Poll::Ready(None);
        }
        if this.rest.is_none() {
            let alone = this.is_alone();
            match this.tape.read(this.turn, &mut this.at, alone, cx) {
                Read::Frame(frame) => return Poll::Ready(Some(Ok(frame))),
                Read::Last(frame, rest) => {
                    this.rest = Some(rest);
                    return Poll::Ready(Some(Ok(frame)));
                }
                Read::Rest(rest) => this.rest = Some(rest),
                Read::End => return Poll::Ready(None),
                Read::Wait => return Poll::Pending,
                Read::Failed(error) => return this.fail(error.into()),
                Read::Lost => return this.fail(NotReplayable.into()),
            }
        }
        let rest = this.rest.as_mut().expect("it was there, or was put there in the match above");
        rest.as_mut().poll_frame(cx).map_err(|error| CallError::new(error.into()))
    }

    fn is_end_stream(&self) -> bool {
        match &self.rest {
            Some(rest) => rest.is_end_stream(),
            None => self.broken || self.tape.is_end(self.at),
        }
    }

    fn size_hint(&self) -> SizeHint {
        match &self.rest {
            Some(rest) => rest.size_hint(),
            None => self.tape.hint_from(self.at),
        }
    }
}

impl<B> Drop for RecordBody<B> {
    fn drop(&mut self) {
        if !self.is_alone() {
            self.tape.leave(self.turn);
        }
    }
}

impl<B> fmt::Debug for RecordBody<B> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RecordBody").field("at", &self.at).finish_non_exhaustive()
    }
}

// A body that is neither is to be told of in the words of `Repeat`.
#[diagnostic::do_not_recommend]
impl<B> Repeat for Request<RecordBody<B>> {
    fn again(&self) -> Option<Self> {
        if may_be_sent_twice(self) { self.if_unprocessed() } else { None }
    }

    fn if_unprocessed(&self) -> Option<Self> {
        Some(with_body(self, self.body().again()?))
    }

    fn still_repeatable(&self) -> bool {
        self.body().is_whole()
    }
}

/// A copy of a request with another body.
pub(crate) fn with_body<B, C>(request: &Request<B>, body: C) -> Request<C> {
    let mut copy = Request::new(body);
    *copy.method_mut() = request.method().clone();
    *copy.uri_mut() = request.uri().clone();
    *copy.version_mut() = request.version();
    *copy.headers_mut() = request.headers().clone();
    *copy.extensions_mut() = request.extensions().clone();
    copy
}

/// A recorded body was to be sent again, and its beginning is no longer known.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the body of the request was not kept whole and cannot be sent again")]
#[non_exhaustive]
pub struct NotReplayable;
