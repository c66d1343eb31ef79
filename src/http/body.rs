use std::{
    pin::Pin,
    task::{Context, Poll},
};

use bytes::Buf;
use http_body::{Body, Frame, SizeHint};
use http_body_util::Either;
use pin_project_lite::pin_project;

use crate::error::{BoxError, CallError};

pin_project! {
    /// The body of an answer: the dependency's, or the one that a fallback gave.
    ///
    /// Its error is a [`CallError`] whichever it is, so that `?` takes it where it takes the error of the call.
    #[derive(Clone, Debug)]
    pub struct AnswerBody<B, FB> {
        #[pin]
        body: Either<B, FB>,
    }
}

impl<B, FB> AnswerBody<B, FB> {
    pub(super) fn of_dependency(body: B) -> Self {
        Self { body: Either::Left(body) }
    }

    pub(super) fn of_fallback(body: FB) -> Self {
        Self { body: Either::Right(body) }
    }
}

impl<B, FB, Data> Body for AnswerBody<B, FB>
where
    B: Body<Data = Data, Error: Into<BoxError>>,
    FB: Body<Data = Data, Error: Into<BoxError>>,
    Data: Buf,
{
    type Data = Data;
    type Error = CallError;

    fn poll_frame(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Data>, CallError>>> {
        self.project().body.poll_frame(cx).map_err(CallError::new)
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}
