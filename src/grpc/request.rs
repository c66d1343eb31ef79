use std::{
    fmt,
    pin::Pin,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    task::{Context, Poll, ready},
};

use bytes::Bytes;
use http::{HeaderMap, HeaderValue, Request, response};
use http_body::{Body as _, Frame, SizeHint};
use tonic::body::Body;

use super::GRPC_TIMEOUT;
use crate::{
    error::CallError,
    http::{RecordBody, with_body},
    repeat::{Repeat, has_key},
};

/// The body of a request on its way through a gRPC client: recorded while it is sent, as long as it may be sent again.
pub struct GrpcBody {
    body: RecordBody<Body>,
    repeatable: bool,
    stream: Option<Stream>,
}

/// The method answers with a stream that has no end of its own.
#[derive(Clone, Debug)]
pub(crate) struct Stream {
    /// The `grpc-timeout` that the caller gave to the stream as a whole.
    pub(super) limit: Option<HeaderValue>,
}

impl GrpcBody {
    /// A body whose method may be called twice with the same effect as once, or may not.
    pub(crate) fn new(body: Body, repeatable: bool) -> Self {
        Self { body: RecordBody::new(body), repeatable, stream: None }
    }

    /// Says that it asks for a stream.
    pub(crate) fn streaming(self, headers: &HeaderMap) -> Self {
        Self { stream: Some(Stream { limit: headers.get(GRPC_TIMEOUT).cloned() }), ..self }
    }

    pub(super) fn take_stream(&mut self) -> Option<Stream> {
        self.stream.take()
    }

    /// What tonic's channel sends, and whether it has sent all of it.
    pub(super) fn into_tonic(self) -> (Body, Arc<AtomicBool>) {
        let sent = Arc::new(AtomicBool::new(self.body.is_end_stream()));
        let body = Body::new(Sending { body: self.body, sent: Arc::clone(&sent) });
        (body, sent)
    }
}

/// Whether this is the answer to a method that streams.
pub(crate) fn is_stream(head: &response::Parts) -> bool {
    head.extensions.get::<Stream>().is_some()
}

impl fmt::Debug for GrpcBody {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("GrpcBody").field("repeatable", &self.repeatable).finish_non_exhaustive()
    }
}

impl Repeat for Request<GrpcBody> {
    fn again(&self) -> Option<Self> {
        if self.body().repeatable || has_key(self) { self.if_unprocessed() } else { None }
    }

    fn if_unprocessed(&self) -> Option<Self> {
        let GrpcBody { body, repeatable, stream } = self.body();
        let copy = GrpcBody { body: body.again()?, repeatable: *repeatable, stream: stream.clone() };
        Some(with_body(self, copy))
    }

    fn still_repeatable(&self) -> bool {
        self.body().body.is_whole()
    }
}

/// A body on its way that says when it is at its end.
struct Sending {
    body: RecordBody<Body>,
    sent: Arc<AtomicBool>,
}

impl http_body::Body for Sending {
    type Data = Bytes;
    type Error = CallError;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, CallError>>> {
        let frame = ready!(Pin::new(&mut self.body).poll_frame(cx));
        if frame.is_none() || self.body.is_end_stream() {
            // No data is published with it, and who reads it too early only waits for less.
            self.sent.store(true, Ordering::Relaxed);
        }
        Poll::Ready(frame)
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}
