use std::{
    fmt, mem,
    panic::{AssertUnwindSafe, catch_unwind, resume_unwind},
    pin::Pin,
    task::{Context, Poll, ready},
    thread,
};

use http::HeaderMap;
use http_body::{Body, Frame, SizeHint};
use pin_project_lite::pin_project;
use tokio::time::Instant;

use super::{judge::Verdict, open::Open};
use crate::{
    circuit_breaker::Late,
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
        telling: Option<Telling>,
        // `None` once it has ended.
        #[pin]
        body: Option<B>,
    }

    impl<B> PinnedDrop for ToldBody<B> {
        fn drop(this: Pin<&mut Self>) {
            let this = this.project();
            let Some(mut telling) = this.telling.take() else { return };
            let dropped = telling.drop_inside(this.body);
            telling.dropped();
            dropped.unwrap_or_else(|panic| resume_unwind(panic));
        }
    }
}

/// An answer whose body has not ended.
#[derive(Debug)]
pub(super) struct Telling {
    open: Open,
    /// By its head.
    verdict: Verdict,
    late: Option<Late>,
    /// How long the head says that the body is, or longer than any where it does not say.
    promised: u64,
    /// How many bytes of it passed.
    passed: u64,
    /// Inside a poll; found by the drop only when that poll unwinds.
    polling: bool,
    /// Its end was told, or is being told: a panic on the way tells no second one.
    told: bool,
}

impl Telling {
    /// `promised`: how long the head says that the body is.
    #[inline]
    pub(super) fn new(open: Open, verdict: Verdict, promised: Option<u64>) -> Self {
        let late = open.teller.late(&verdict);
        Self {
            open,
            verdict,
            late,
            promised: promised.unwrap_or(u64::MAX),
            passed: 0,
            polling: false,
            told: false,
        }
    }

    /// Drops the body, which is somebody else's code: its panic goes on once the end was told, and costs no count.
    fn drop_inside<B>(&self, mut body: Pin<&mut Option<B>>) -> thread::Result<()> {
        catch_unwind(AssertUnwindSafe(|| self.open.enter(|| body.set(None))))
    }

    /// The body has ended, with these trailers.
    pub(super) fn ended(&mut self, trailers: Option<&HeaderMap>, now: Instant) {
        let teller = &self.open.teller;
        let verdict = teller.judge.on_end(teller.part, self.verdict, trailers);
        self.judged(verdict, now);
    }

    fn failed(&mut self, error: &BoxError, now: Instant) {
        let teller = &self.open.teller;
        let verdict = teller.judge.on_break(teller.part, self.verdict, error);
        self.judged(verdict, now);
    }

    fn judged(&mut self, verdict: Verdict, now: Instant) {
        let late = self.late.take();
        self.open.enter(|| self.open.teller.turned_out(&self.verdict, late, &verdict));
        self.end(verdict, now);
    }

    fn dropped(&mut self) {
        let teller = &self.open.teller;
        let verdict = if self.polling {
            let panicked = teller.judge.on_drop(teller.part, Outcome::Panicked);
            Verdict { status: self.verdict.status.or(panicked.status), ..panicked }
        } else {
            teller.judge.on_leave(teller.part, self.verdict, self.passed >= self.promised)
        };
        self.end(verdict, Instant::now());
    }

    pub(super) fn end(&mut self, verdict: Verdict, now: Instant) {
        if mem::replace(&mut self.told, true) {
            return;
        }
        // Whatever became of it: who has answered with something is there.
        let verdict = Verdict { recognised: verdict.recognised || self.passed > 0, ..verdict };
        self.open.end(verdict, self.passed, now);
    }
}

impl<B> ToldBody<B> {
    #[inline]
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
        let frame = telling.open.enter(|| body.as_mut().poll_frame(cx));
        telling.polling = false;
        let frame = ready!(frame).map(|frame| frame.map_err(Into::into));
        let goes_on = match &frame {
            Some(Ok(frame)) => {
                if let Some(data) = frame.data_ref() {
                    telling.passed += bytes::Buf::remaining(data) as u64;
                }
                // Whoever was told that this is the end need not ask again.
                !frame.is_trailers() && !body.is_end_stream()
            }
            Some(Err(_)) | None => false,
        };
        if !goes_on {
            let is_over = !matches!(frame, Some(Ok(_)));
            let dropped = if is_over { telling.drop_inside(this.body) } else { Ok(()) };
            let now = Instant::now();
            match &frame {
                Some(Ok(frame)) => telling.ended(frame.trailers_ref(), now),
                Some(Err(error)) => telling.failed(error, now),
                None => telling.ended(None, now),
            }
            *this.telling = None;
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
