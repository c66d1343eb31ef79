use std::{
    pin::Pin,
    task::{Context, Poll},
};

use http_body::{Body, Frame, SizeHint};
use pin_project_lite::pin_project;
use tonic::Status;

use super::status;
use crate::error::BoxError;

pin_project! {
    /// The body of an answer of a gRPC client: the dependency's, or the one that a fallback gave.
    ///
    /// Its error is a [`Status`], so that tonic passes on what cut it: `DEADLINE_EXCEEDED` where the time was over, with
    /// the [`Rejected`](crate::Rejected) as its source.
    #[derive(Debug)]
    pub struct GrpcAnswerBody<B> {
        #[pin]
        body: B,
    }
}

impl<B> GrpcAnswerBody<B> {
    pub(crate) fn new(body: B) -> Self {
        Self { body }
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
        self.project().body.poll_frame(cx).map_err(|error| status(error.into()))
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}
