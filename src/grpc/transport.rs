use std::{
    pin::Pin,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    task::{Context, Poll, ready},
};

use bytes::Buf;
use http::{HeaderMap, Request, Response};
use http_body::Frame;
use pin_project_lite::pin_project;
use tonic::{Code, Status, TimeoutExpired, body::Body};
use tower::Service;

use super::{BegunBody, GRPC_TIMEOUT, GrpcBody, request::Stream};
use crate::{
    call::Deadline,
    classify::code_of_head,
    error::{BoxError, CallError, sources},
};

/// Tonic's channel, or what stands in its place, as the innermost service of a gRPC client.
///
/// It answers when it is known how the answer begins, so that a status that comes instead of a message is in the headers
/// wherever the server has put it; see [`grpc`](super).
#[derive(Clone, Debug)]
pub struct GrpcTransport<S> {
    channel: S,
}

impl<S> GrpcTransport<S> {
    /// Makes a channel fit for [`fallback_service`](crate::golden::ClientBuilder::fallback_service) of a gRPC client.
    pub fn new(channel: S) -> Self {
        Self { channel }
    }
}

impl<S, B> Service<Request<GrpcBody>> for GrpcTransport<S>
where
    S: Service<Request<Body>, Response = Response<B>>,
    S::Error: Into<BoxError>,
    B: http_body::Body<Error: Into<BoxError>> + Unpin,
{
    type Response = Response<BegunBody<B>>;
    type Error = BoxError;
    type Future = GrpcTransportFuture<S::Future, B>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), BoxError>> {
        self.channel.poll_ready(cx).map_err(Into::into)
    }

    fn call(&mut self, mut request: Request<GrpcBody>) -> Self::Future {
        let stream = request.body_mut().take_stream();
        if let Some(stream) = &stream {
            // What was written is what the head has left, and the server would end the stream by it.
            match stream.limit.clone() {
                Some(limit) => drop(request.headers_mut().insert(GRPC_TIMEOUT, limit)),
                None => drop(request.headers_mut().remove(GRPC_TIMEOUT)),
            }
        }
        let (head, body) = request.into_parts();
        let (body, sent) = body.into_tonic();
        let call = self.channel.call(Request::from_parts(head, body));
        GrpcTransportFuture { stage: Stage::Calling { call }, stream, sent }
    }
}

pin_project! {
    /// The future of a [`GrpcTransport`].
    #[derive(Debug)]
    pub struct GrpcTransportFuture<F, B> {
        stream: Option<Stream>,
        sent: Arc<AtomicBool>,
        #[pin]
        stage: Stage<F, B>,
    }
}

pin_project! {
    #[project = StageProjection]
    #[derive(Debug)]
    enum Stage<F, B> {
        /// The head is awaited.
        Calling { #[pin] call: F },
        /// The first frame of the body is awaited.
        Beginning { response: Option<Response<B>> },
        /// It ended with the deadline.
        Silent,
    }
}

impl<F, B, E> Future for GrpcTransportFuture<F, B>
where
    F: Future<Output = Result<Response<B>, E>>,
    E: Into<BoxError>,
    B: http_body::Body<Error: Into<BoxError>> + Unpin,
{
    type Output = Result<Response<BegunBody<B>>, BoxError>;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let mut this = self.project();
        loop {
            match this.stage.as_mut().project() {
                StageProjection::Calling { call } => {
                    let result = ready!(call.poll(cx)).map_err(Into::into);
                    if result.as_ref().err().is_some_and(is_the_deadline) {
                        // Tonic's channel has set a timer by the header that we wrote, and it goes off together with that
                        // of the attempt's timeout. Which one is polled first must not decide what the caller is told: it
                        // is the timeout's to tell, whose timer is due now or within the tick.
                        this.stage.set(Stage::Silent);
                        return Poll::Pending;
                    }
                    let mut response = result?;
                    let answers_at_once = this.stream.is_some() || !this.sent.load(Ordering::Relaxed);
                    if let Some(stream) = this.stream.take() {
                        response.extensions_mut().insert(stream);
                    }
                    if answers_at_once || code_of_head(response.status(), response.headers()).is_some() {
                        return Poll::Ready(Ok(response.map(BegunBody::new)));
                    }
                    this.stage.set(Stage::Beginning { response: Some(response) });
                }
                StageProjection::Beginning { response } => {
                    let body = response.as_mut().expect("it is given out once").body_mut();
                    let frame = ready!(Pin::new(body).poll_frame(cx));
                    if frame.as_ref().is_some_and(|frame| frame.as_ref().is_ok_and(is_empty)) {
                        // Nothing begins with it. In the next poll, so that a flood of nothing stops no timer.
                        cx.waker().wake_by_ref();
                        return Poll::Pending;
                    }
                    return Poll::Ready(begun(response.take().expect("it was there above"), frame));
                }
                StageProjection::Silent => return Poll::Pending,
            }
        }
    }
}

/// The answer whose body begins with this frame.
fn begun<B>(
    response: Response<B>,
    frame: Option<Result<Frame<B::Data>, B::Error>>,
) -> Result<Response<BegunBody<B>>, BoxError>
where
    B: http_body::Body<Error: Into<BoxError>>,
{
    match frame {
        Some(Ok(frame)) => match frame.into_trailers() {
            Ok(trailers) if fails(&trailers) => {
                let (mut head, _) = response.into_parts();
                head.headers.extend(trailers);
                Ok(Response::from_parts(head, BegunBody::none()))
            }
            Ok(trailers) => Ok(response.map(|rest| BegunBody::with(Frame::trailers(trailers), rest))),
            Err(frame) => Ok(response.map(|rest| BegunBody::with(frame, rest))),
        },
        // Who has sent a head has begun. A `CallError`, because what lies behind one does not count as never processed.
        Some(Err(error)) => Err(CallError::new(error.into()).into()),
        None => Err(Status::internal("the answer ended without a status").into()),
    }
}

/// How the end of a body may be marked.
fn is_empty<D: Buf>(frame: &Frame<D>) -> bool {
    frame.data_ref().is_some_and(|data| !data.has_remaining())
}

fn fails(trailers: &HeaderMap) -> bool {
    trailers.get(Status::GRPC_STATUS).is_some_and(|code| Code::from_bytes(code.as_bytes()) != Code::Ok)
}

fn is_the_deadline(error: &BoxError) -> bool {
    sources(&**error).any(<dyn std::error::Error>::is::<TimeoutExpired>)
        && Deadline::current().is_some_and(|deadline| deadline.remaining().is_zero())
}
