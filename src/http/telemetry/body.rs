use std::{
    fmt,
    panic::{AssertUnwindSafe, catch_unwind, resume_unwind},
    pin::Pin,
    task::{Context, Poll, ready},
    thread,
};

use http::HeaderMap;
use http_body::{Body, Frame, SizeHint};
use pin_project_lite::pin_project;
use tokio::time::Instant;

use super::{
    held::Held,
    judge::Verdict,
    open::{Answered, Open},
    teller::Teller,
};
use crate::{
    error::{BoxError, CallError},
    event::Outcome,
};

pin_project! {
    /// The body of an answer, whose end is the end of its call: it is told then, once, and the span ends.
    ///
    /// That end is the last frame, an error, or the drop. A client that drops the body of an answer over HTTP has read as much
    /// as it wanted. Over gRPC, before its status, that is a call that was cancelled. On a server it means that the caller went
    /// away, unless everything that the head had promised was written.
    ///
    /// Its error is a [`CallError`]: the body's own.
    pub struct ToldBody<B> {
        // `None` once its end was told and nobody asks for it any more.
        open: Option<Held>,
        // `None` once it has ended.
        #[pin]
        body: Option<B>,
    }

    impl<B> PinnedDrop for ToldBody<B> {
        fn drop(this: Pin<&mut Self>) {
            let this = this.project();
            let Some(mut open) = this.open.take() else { return };
            let dropped = open.drop_inside(this.body);
            open.dropped();
            dropped.unwrap_or_else(|panic| resume_unwind(panic));
        }
    }
}

impl Open {
    /// Drops the body, which is somebody else's code: its panic goes on once the end was told, and costs no count.
    fn drop_inside<B>(&self, mut body: Pin<&mut Option<B>>) -> thread::Result<()> {
        catch_unwind(AssertUnwindSafe(|| self.enter(|| body.set(None))))
    }

    /// The body has ended, with these trailers.
    pub(super) fn ended(&mut self, trailers: Option<&HeaderMap>, now: Instant) {
        let Teller { judge, part, .. } = *self.teller;
        if let Some(verdict) = judge.on_end(part, &self.answer.verdict, trailers) {
            self.turned_out(verdict);
        }
        self.end(now);
    }

    fn broken(&mut self, error: &BoxError, now: Instant) {
        let Teller { judge, part, .. } = *self.teller;
        self.turned_out(judge.on_break(part, self.answer.verdict, error));
        self.end(now);
    }

    fn turned_out(&mut self, verdict: Verdict) {
        let late = self.answer.late.take();
        self.enter(|| self.teller.turned_out(&self.answer.verdict, late, &verdict));
        self.answer.verdict = verdict;
    }

    fn dropped(&mut self) {
        let Teller { judge, part, .. } = *self.teller;
        let Answered { verdict: head, polling, passed, promised, .. } = self.answer;
        self.answer.verdict = if polling {
            let panicked = judge.on_drop(part, Outcome::Panicked);
            Verdict { status: head.status.or(panicked.status), ..panicked }
        } else {
            judge.on_leave(part, head, passed >= promised)
        };
        self.end(Instant::now());
    }
}

impl<B> ToldBody<B> {
    #[inline]
    pub(super) fn new(body: B, open: Option<Held>) -> Self {
        Self { open, body: Some(body) }
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
        let Some(open) = this.open.as_deref_mut() else {
            return body.poll_frame(cx).map_err(|error| CallError::new(error.into()));
        };
        open.answer.polling = true;
        let frame = open.enter(|| body.as_mut().poll_frame(cx));
        open.answer.polling = false;
        let frame = ready!(frame).map(|frame| frame.map_err(Into::into));
        let goes_on = match &frame {
            Some(Ok(frame)) => {
                if let Some(data) = frame.data_ref() {
                    open.answer.passed += bytes::Buf::remaining(data) as u64;
                }
                // Whoever was told that this is the end need not ask again.
                !frame.is_trailers() && !body.is_end_stream()
            }
            Some(Err(_)) | None => false,
        };
        if !goes_on {
            let is_over = !matches!(frame, Some(Ok(_)));
            let dropped = if is_over { open.drop_inside(this.body) } else { Ok(()) };
            let now = Instant::now();
            match &frame {
                Some(Ok(frame)) => open.ended(frame.trailers_ref(), now),
                Some(Err(error)) => open.broken(error, now),
                None => open.ended(None, now),
            }
            *this.open = None;
            dropped.unwrap_or_else(|panic| resume_unwind(panic));
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
