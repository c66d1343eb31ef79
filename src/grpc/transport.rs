use std::{
    fmt,
    pin::Pin,
    task::{Context, Poll, ready},
};

use http::Request;
use pin_project_lite::pin_project;
use tonic::{TimeoutExpired, body::Body};
use tower::Service;

use crate::{
    call::Deadline,
    error::{BoxError, sources},
    http::{RecordBody, with_body},
    repeat::Repeat,
};

/// The body of a request on its way through a gRPC client: recorded while it is sent, if its method may be repeated.
pub struct GrpcBody {
    kind: Kind,
}

enum Kind {
    Once(Body),
    Recorded(RecordBody<Body>),
}

impl GrpcBody {
    pub(crate) fn once(body: Body) -> Self {
        Self { kind: Kind::Once(body) }
    }

    pub(crate) fn recorded(body: Body) -> Self {
        Self { kind: Kind::Recorded(RecordBody::new(body)) }
    }

    /// What tonic's channel sends.
    fn into_tonic(self) -> Body {
        match self.kind {
            Kind::Once(body) => body,
            Kind::Recorded(body) => Body::new(body),
        }
    }
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
            Kind::Recorded(body) => Some(with_body(self, GrpcBody { kind: Kind::Recorded(body.again()?) })),
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

impl<S> Service<Request<GrpcBody>> for GrpcTransport<S>
where
    S: Service<Request<Body>>,
    S::Error: Into<BoxError>,
{
    type Response = S::Response;
    type Error = BoxError;
    type Future = GrpcTransportFuture<S::Future>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), BoxError>> {
        self.channel.poll_ready(cx).map_err(Into::into)
    }

    fn call(&mut self, request: Request<GrpcBody>) -> Self::Future {
        GrpcTransportFuture { call: Some(self.channel.call(request.map(GrpcBody::into_tonic))) }
    }
}

pin_project! {
    /// The future of a [`GrpcTransport`].
    #[derive(Debug)]
    pub struct GrpcTransportFuture<F> {
        // `None`: it ended with the deadline.
        #[pin]
        call: Option<F>,
    }
}

impl<F, T, E> Future for GrpcTransportFuture<F>
where
    F: Future<Output = Result<T, E>>,
    E: Into<BoxError>,
{
    type Output = Result<T, BoxError>;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let mut this = self.project();
        let Some(call) = this.call.as_mut().as_pin_mut() else { return Poll::Pending };
        let result = ready!(call.poll(cx)).map_err(Into::into);
        if result.as_ref().err().is_some_and(is_the_deadline) {
            // Tonic's channel has set a timer by the header that we wrote, and it goes off together with that of the
            // attempt's timeout. Which one is polled first must not decide what the caller is told: it is the timeout's
            // to tell, whose timer is due now or within the tick.
            this.call.set(None);
            return Poll::Pending;
        }
        Poll::Ready(result)
    }
}

fn is_the_deadline(error: &BoxError) -> bool {
    sources(&**error).any(<dyn std::error::Error>::is::<TimeoutExpired>)
        && Deadline::current().is_some_and(|deadline| deadline.remaining().is_zero())
}
