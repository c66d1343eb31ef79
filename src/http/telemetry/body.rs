use std::{
    fmt,
    pin::Pin,
    task::{Context, Poll, ready},
};

use http_body::{Body, Frame, SizeHint};
use pin_project_lite::pin_project;
use tokio::time::Instant;

use super::open::{Open, Part, Verdict};
use crate::{
    error::{BoxError, CallError},
    event::Outcome,
};

pin_project! {
    /// The body of an answer, whose end is the end of its call: it is told then, once, and the span ends.
    ///
    /// That end is the last frame, an error, or the drop. A client that drops a body has read as much as it wanted. On a
    /// server it means that the caller went away, unless everything that the head had promised was written.
    ///
    /// Its error is a [`CallError`]: the body's own.
    pub struct ToldBody<B> {
        // `None` once its end was told.
        telling: Option<Telling>,
        // `None` once it has ended.
        #[pin]
        body: Option<B>,
    }

    impl<B> PinnedDrop for ToldBody<B> {
        fn drop(this: Pin<&mut Self>) {
            let mut this = this.project();
            let Some(telling) = this.telling.take() else { return };
            telling.open.span.enter(|| this.body.set(None));
            telling.dropped();
        }
    }
}

/// An answer whose body has not ended.
#[derive(Debug)]
pub(super) struct Telling {
    pub(super) open: Open,
    /// By its head.
    pub(super) verdict: Verdict,
    /// How long the head says that the body is.
    pub(super) promised: Option<u64>,
    /// How many bytes of it passed.
    pub(super) passed: u64,
    /// Inside a poll; found by the drop only when that poll unwinds.
    pub(super) polling: bool,
}

impl Telling {
    fn end(self, verdict: Verdict) {
        self.open.end(verdict, self.passed, Instant::now());
    }

    fn dropped(self) {
        let part = self.open.teller.part;
        let complete = self.promised.is_some_and(|promised| self.passed >= promised);
        let verdict = if self.polling {
            Verdict { status: self.verdict.status, ..Verdict::on_drop(part, Outcome::Panicked) }
        } else if part == Part::Server && !complete && self.verdict.error.is_none() {
            Verdict { outcome: Outcome::Cancelled, ..self.verdict }
        } else {
            self.verdict
        };
        self.end(verdict);
    }
}

impl<B> ToldBody<B> {
    pub(super) fn new(body: B, telling: Option<Telling>) -> Self {
        Self { telling, body: Some(body) }
    }
}

impl<B> Body for ToldBody<B>
where
    B: Body<Error: Into<BoxError>>,
{
    type Data = B::Data;
    type Error = CallError;

    fn poll_frame(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<B::Data>, CallError>>> {
        let mut this = self.project();
        let Some(mut body) = this.body.as_mut().as_pin_mut() else { return Poll::Ready(None) };
        let Some(telling) = this.telling else {
            return body.poll_frame(cx).map_err(|error| CallError::new(error.into()));
        };
        telling.polling = true;
        let frame = telling.open.span.enter(|| body.as_mut().poll_frame(cx));
        telling.polling = false;
        let frame = ready!(frame).map(|frame| frame.map_err(Into::into));
        let verdict = match &frame {
            Some(Ok(frame)) => {
                if let Some(data) = frame.data_ref() {
                    telling.passed += bytes::Buf::remaining(data) as u64;
                }
                // Whoever was told that this is the end need not ask again.
                (frame.is_trailers() || body.is_end_stream()).then_some(telling.verdict)
            }
            Some(Err(error)) => Some(telling.verdict.broken(telling.open.teller.part, error)),
            None => Some(telling.verdict),
        };
        if let (Some(verdict), Some(telling)) = (verdict, this.telling.take_if(|_| verdict.is_some())) {
            if !matches!(frame, Some(Ok(_))) {
                telling.open.span.enter(|| this.body.set(None));
            }
            telling.end(verdict);
        }
        Poll::Ready(frame.map(|frame| frame.map_err(CallError::new)))
    }

    fn is_end_stream(&self) -> bool {
        self.body.as_ref().is_none_or(Body::is_end_stream)
    }

    fn size_hint(&self) -> SizeHint {
        self.body.as_ref().map_or_else(|| SizeHint::with_exact(0), Body::size_hint)
    }
}

impl<B: fmt::Debug> fmt::Debug for ToldBody<B> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ToldBody").field("body", &self.body).finish_non_exhaustive()
    }
}
