use std::{
    fmt,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll, ready},
};

use http::Response;
use http_body::{Body, Frame, SizeHint};
use pin_project_lite::pin_project;
use tonic::Status;

use super::{says_how_it_ends, status};
use crate::{
    circuit_breaker::{CircuitBreakerHandle, Late},
    class::Class,
    classify::{ByCode, Classify, by_trailers},
    error::BoxError,
    event::{Event, Outcome},
    http::Degraded,
    observer::Observer,
    policy::outcome_of,
};

pin_project! {
    /// The body of an answer of a gRPC client: the dependency's, or the one that a fallback gave.
    ///
    /// Its error is a [`Status`], so that tonic passes on what cut it: `DEADLINE_EXCEEDED` where the time was over, with
    /// the [`Rejected`](crate::Rejected) as its source.
    ///
    /// How it ends is told where it ends badly: event `AnswerBroken`, total `resilience.answers.broken`, and the circuit
    /// breaker counts one more failure.
    pub struct GrpcAnswerBody<B> {
        // Until the end was told; `None` from the start where the head has said how the call ended.
        watch: Option<Watch>,
        #[pin]
        body: B,
    }
}

impl<B> GrpcAnswerBody<B> {
    /// The body of an answer that the client's layers have let through.
    pub(crate) fn of(answer: Response<B>, witness: &Arc<Witness>) -> Response<Self> {
        let told = says_how_it_ends(&answer) || answer.extensions().get::<Degraded>().is_some();
        let watch = (!told).then(|| Watch::new(witness));
        answer.map(|body| Self { watch, body })
    }
}

impl<B> Body for GrpcAnswerBody<B>
where
    B: Body<Error: Into<BoxError>>,
{
    type Data = B::Data;
    type Error = Status;

    fn poll_frame(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<B::Data>, Status>>> {
        let this = self.project();
        let frame = match ready!(this.body.poll_frame(cx)) {
            Some(Ok(frame)) if frame.is_data() => return Poll::Ready(Some(Ok(frame))),
            end => end.map(|frame| frame.map_err(Into::into)),
        };
        if let Some(watch) = this.watch.take() {
            match &frame {
                Some(Err(error)) => watch.failed(error),
                Some(Ok(frame)) => watch.ended(by_trailers(frame.trailers_ref())),
                None => watch.ended(by_trailers(None)),
            }
        }
        Poll::Ready(frame.map(|frame| frame.map_err(status)))
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}

impl<B: fmt::Debug> fmt::Debug for GrpcAnswerBody<B> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("GrpcAnswerBody").field("body", &self.body).finish_non_exhaustive()
    }
}

/// Whom the bodies of a client tell how they ended.
#[derive(Debug)]
pub(crate) struct Witness {
    pub(crate) observer: Observer,
    pub(crate) circuit_breaker: Option<CircuitBreakerHandle>,
}

/// An answer that has begun well and has not ended.
#[derive(Debug)]
struct Watch {
    witness: Arc<Witness>,
    breaker: Option<Late>,
}

impl Watch {
    fn new(witness: &Arc<Witness>) -> Self {
        let breaker = witness.circuit_breaker.as_ref().and_then(CircuitBreakerHandle::late);
        Self { witness: Arc::clone(witness), breaker }
    }

    fn ended(self, class: Class) {
        if class != Class::Success {
            self.tell(class, class.into());
        }
    }

    fn failed(self, error: &BoxError) {
        let class = Classify::<Response<()>>::classify(&ByCode, Err(error));
        self.tell(class, outcome_of(error, class));
    }

    fn tell(self, class: Class, outcome: Outcome) {
        self.witness.observer.emit(Event::AnswerBroken { outcome });
        // It knows of the call already, as one that the dependency has answered.
        if class != Class::CallerFault {
            if let (Some(breaker), Some(late)) = (&self.witness.circuit_breaker, self.breaker) {
                breaker.record_late(late, class);
            }
        }
    }
}
