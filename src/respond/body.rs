use std::{
    pin::Pin,
    task::{Context, Poll},
};

use bytes::Bytes;
use http_body::{Body, Frame, SizeHint};
use pin_project_lite::pin_project;

pin_project! {
    /// The body of an answer: the handler's own, or a problem in its place.
    #[derive(Debug)]
    pub struct RespondBody<B> {
        #[pin]
        inner: Option<B>,
        problem: Option<Bytes>,
    }
}

impl<B> RespondBody<B> {
    pub(super) fn own(body: B) -> Self {
        Self { inner: Some(body), problem: None }
    }

    pub(super) fn problem(text: impl Into<Bytes>) -> Self {
        Self { inner: None, problem: Some(text.into()) }
    }
}

impl<B: Default> Default for RespondBody<B> {
    fn default() -> Self {
        Self::own(B::default())
    }
}

impl<B> Body for RespondBody<B>
where
    B: Body,
    B::Data: From<Bytes>,
{
    type Data = B::Data;
    type Error = B::Error;

    fn poll_frame(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Self::Data>, Self::Error>>> {
        let this = self.project();
        match this.inner.as_pin_mut() {
            Some(body) => body.poll_frame(cx),
            None => Poll::Ready(this.problem.take().map(|text| Ok(Frame::data(text.into())))),
        }
    }

    fn is_end_stream(&self) -> bool {
        self.inner.as_ref().map_or(self.problem.is_none(), Body::is_end_stream)
    }

    fn size_hint(&self) -> SizeHint {
        match &self.inner {
            Some(body) => body.size_hint(),
            None => SizeHint::with_exact(self.problem.as_ref().map_or(0, |text| text.len() as u64)),
        }
    }
}
