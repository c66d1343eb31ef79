use std::{
    fmt,
    pin::Pin,
    task::{Context, Poll},
};

use http_body::{Body, Frame, SizeHint};
use pin_project_lite::pin_project;

pin_project! {
    /// The body of an answer of which the first frame has been read, to learn how the answer begins.
    pub struct BegunBody<B>
    where
        B: Body,
    {
        first: Option<Frame<B::Data>>,
        // `None`: there is no more.
        #[pin]
        rest: Option<B>,
    }
}

impl<B: Body> BegunBody<B> {
    pub(super) fn new(body: B) -> Self {
        Self { first: None, rest: Some(body) }
    }

    pub(super) fn with(first: Frame<B::Data>, rest: B) -> Self {
        Self { first: Some(first), rest: Some(rest) }
    }

    pub(super) fn none() -> Self {
        Self { first: None, rest: None }
    }
}

impl<B: Body> Body for BegunBody<B> {
    type Data = B::Data;
    type Error = B::Error;

    fn poll_frame(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<B::Data>, B::Error>>> {
        let this = self.project();
        if let Some(first) = this.first.take() {
            return Poll::Ready(Some(Ok(first)));
        }
        this.rest.as_pin_mut().map_or(Poll::Ready(None), |rest| rest.poll_frame(cx))
    }

    fn is_end_stream(&self) -> bool {
        self.first.is_none() && self.rest.as_ref().is_none_or(Body::is_end_stream)
    }

    /// Nothing is known: what gRPC sends is framed, and its length is not told.
    fn size_hint(&self) -> SizeHint {
        SizeHint::default()
    }
}

impl<B> fmt::Debug for BegunBody<B>
where
    B: Body + fmt::Debug,
{
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("BegunBody").field("rest", &self.rest).finish_non_exhaustive()
    }
}
