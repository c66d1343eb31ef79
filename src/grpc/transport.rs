use std::{
    fmt,
    pin::Pin,
    task::{Context, Poll, ready},
};

use http::{HeaderMap, HeaderValue, Request, Response, response};
use pin_project_lite::pin_project;
use tonic::{TimeoutExpired, body::Body};
use tower::Service;

use super::GRPC_TIMEOUT;
use crate::{
    call::Deadline,
    error::{BoxError, sources},
    http::{RecordBody, with_body},
    repeat::Repeat,
};

/// The body of a request on its way through a gRPC client: recorded while it is sent, if its method may be repeated.
pub struct GrpcBody {
    kind: Kind,
    stream: Option<Stream>,
}

enum Kind {
    Once(Body),
    Recorded(RecordBody<Body>),
}

/// The method answers with a stream that has no end of its own.
#[derive(Clone, Debug)]
pub(crate) struct Stream {
    /// The `grpc-timeout` that the caller gave to the stream as a whole.
    limit: Option<HeaderValue>,
}

impl GrpcBody {
    pub(crate) fn once(body: Body) -> Self {
        Self { kind: Kind::Once(body), stream: None }
    }

    pub(crate) fn recorded(body: Body) -> Self {
        Self { kind: Kind::Recorded(RecordBody::new(body)), stream: None }
    }

    /// Says that it asks for a stream.
    pub(crate) fn streaming(self, headers: &HeaderMap) -> Self {
        Self { stream: Some(Stream { limit: headers.get(GRPC_TIMEOUT).cloned() }), ..self }
    }

    /// What tonic's channel sends.
    fn into_tonic(self) -> Body {
        match self.kind {
            Kind::Once(body) => body,
            Kind::Recorded(body) => Body::new(body),
        }
    }
}

/// Whether this is the answer to a method that streams.
pub(crate) fn is_stream(head: &response::Parts) -> bool {
    head.extensions.get::<Stream>().is_some()
}

impl fmt::Debug for GrpcBody {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let recorded = matches!(self.kind, Kind::Recorded(_));
        f.debug_struct("GrpcBody").field("recorded", &recorded).finish_non_exhaustive()
    }
}

impl Repeat for Request<GrpcBody> {
    fn again(&self) -> Option<Self> {
        match &self.body().kind {
            Kind::Once(_) => None,
            Kind::Recorded(body) => {
                let copy =
                    GrpcBody { kind: Kind::Recorded(body.again()?), stream: self.body().stream.clone() };
                Some(with_body(self, copy))
            }
        }
    }

    fn still_repeatable(&self) -> bool {
        match &self.body().kind {
            Kind::Once(_) => false,
            Kind::Recorded(body) => body.is_whole(),
        }
    }
}

/// Tonic's channel, or what stands in its place, as the innermost service of a gRPC client.
#[derive(Clone, Debug)]
pub struct GrpcTransport<S> {
    channel: S,
}

impl<S> GrpcTransport<S> {
    pub(crate) fn new(channel: S) -> Self {
        Self { channel }
    }
}

impl<S, B> Service<Request<GrpcBody>> for GrpcTransport<S>
where
    S: Service<Request<Body>, Response = Response<B>>,
    S::Error: Into<BoxError>,
{
    type Response = Response<B>;
    type Error = BoxError;
    type Future = GrpcTransportFuture<S::Future>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), BoxError>> {
        self.channel.poll_ready(cx).map_err(Into::into)
    }

    fn call(&mut self, mut request: Request<GrpcBody>) -> Self::Future {
        let stream = request.body_mut().stream.take();
        if let Some(stream) = &stream {
            // What was written is what the head has left, and the server would end the stream by it.
            match stream.limit.clone() {
                Some(limit) => drop(request.headers_mut().insert(GRPC_TIMEOUT, limit)),
                None => drop(request.headers_mut().remove(GRPC_TIMEOUT)),
            }
        }
        GrpcTransportFuture { call: Some(self.channel.call(request.map(GrpcBody::into_tonic))), stream }
    }
}

pin_project! {
    /// The future of a [`GrpcTransport`].
    #[derive(Debug)]
    pub struct GrpcTransportFuture<F> {
        // `None`: it ended with the deadline.
        #[pin]
        call: Option<F>,
        stream: Option<Stream>,
    }
}

impl<F, B, E> Future for GrpcTransportFuture<F>
where
    F: Future<Output = Result<Response<B>, E>>,
    E: Into<BoxError>,
{
    type Output = Result<Response<B>, BoxError>;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let mut this = self.project();
        let Some(call) = this.call.as_mut().as_pin_mut() else { return Poll::Pending };
        let mut result = ready!(call.poll(cx)).map_err(Into::into);
        if result.as_ref().err().is_some_and(is_the_deadline) {
            // Tonic's channel has set a timer by the header that we wrote, and it goes off together with that of the
            // attempt's timeout. Which one is polled first must not decide what the caller is told: it is the timeout's
            // to tell, whose timer is due now or within the tick.
            this.call.set(None);
            return Poll::Pending;
        }
        if let (Some(stream), Ok(response)) = (this.stream.take(), &mut result) {
            response.extensions_mut().insert(stream);
        }
        Poll::Ready(result)
    }
}

fn is_the_deadline(error: &BoxError) -> bool {
    sources(&**error).any(<dyn std::error::Error>::is::<TimeoutExpired>)
        && Deadline::current().is_some_and(|deadline| deadline.remaining().is_zero())
}
