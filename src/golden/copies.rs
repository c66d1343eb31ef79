//! How the requests of a server that looks at keys are delivered twice.

use bytes::Bytes;
use futures::future::BoxFuture;
use http::Request;
use http_body::Body;

use crate::{
    error::BoxError,
    fault::{Duplicate, Heads, Look, Receive, Subject},
    idempotency::http::{Http, KeyedBody, ReadBody},
    policy::sealed::Sealed,
};

/// Requests that are read, as far as one with a key may go, before they are delivered twice. What is longer, or a stream of
/// messages, is delivered once.
#[derive(Clone)]
pub struct ByReading {
    heads: Heads<()>,
    face: Http,
}

impl ByReading {
    pub(super) fn new(heads: Heads<()>, face: Http) -> Self {
        Self { heads, face }
    }
}

impl std::fmt::Debug for ByReading {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("ByReading").finish_non_exhaustive()
    }
}

impl Sealed for ByReading {}

impl<B> Look<Request<B>> for ByReading {
    fn look<T>(&self, request: &Request<B>, see: impl FnOnce(&dyn Subject) -> T) -> T {
        self.heads.look(request, see)
    }
}

impl<B> Receive<Request<B>> for ByReading {
    type Received = Request<KeyedBody<B>>;

    #[inline]
    fn receive(&self, request: Request<B>) -> Self::Received {
        request.map(KeyedBody::passed)
    }
}

impl<B> Duplicate<Request<B>> for ByReading
where
    B: Body<Data = Bytes, Error: Into<BoxError>> + Send + 'static,
{
    fn duplicate(&self, request: Request<B>) -> BoxFuture<'static, (Self::Received, Option<Self::Received>)> {
        let face = self.face.clone();
        Box::pin(async move {
            let (head, body) = request.into_parts();
            let read = face.read_request(body).await.unwrap_or_else(ReadBody::broken);
            let copy = read.copied().map(|body| Request::from_parts(head.clone(), body.into()));
            (Request::from_parts(head, read.into()), copy)
        })
    }
}
