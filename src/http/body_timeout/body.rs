use std::{
    fmt,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll, ready},
    time::Duration,
};

use http_body::{Body, Frame, SizeHint};
use pin_project_lite::pin_project;
use tokio::time::Instant;

use super::Rules;
use crate::{
    call::later,
    error::{BoxError, CallError, Reason, Rejected},
    event::Event,
    timer::Timer,
};

pin_project! {
    /// The body of an answer, with limits on how long its reader waits; see [`BodyTimeoutLayer`](super::BodyTimeoutLayer).
    ///
    /// Its error is a [`CallError`]: the body's own, or the rejection that cut it.
    pub struct TimedBody<B> {
        rules: Arc<Rules>,
        waits: Waits,
        // In a box, so that the body is `Unpin` when the dependency's is. Made at the first wait.
        timer: Option<Pin<Box<Timer>>>,
        // `None` once it was cut.
        #[pin]
        body: Option<B>,
    }
}

impl<B> TimedBody<B> {
    pub(super) fn new(body: B, rules: Arc<Rules>, deadline: Option<Instant>, now: Instant) -> Self {
        let waits = Waits { deadline, away: Some(now), limit: None };
        Self { rules, waits, timer: None, body: Some(body) }
    }
}

impl<B> Body for TimedBody<B>
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
        let Some(body) = this.body.as_mut().as_pin_mut() else { return Poll::Ready(None) };
        if let Poll::Ready(frame) = body.poll_frame(cx) {
            if this.waits.end() {
                if let Some(timer) = this.timer {
                    timer.as_mut().clear();
                }
            }
            return Poll::Ready(frame.map(|frame| frame.map_err(|error| CallError::new(error.into()))));
        }
        let Some((at, reason)) = this.waits.begin(this.rules.limits.idle) else { return Poll::Pending };
        // A box, made at the first wait: a body that does not wait pays nothing, and one that is `Unpin` stays so.
        let timer = this.timer.get_or_insert_with(|| Box::pin(Timer::new()));
        ready!(timer.as_mut().poll_until(at, cx));
        timer.as_mut().clear();
        // Its connection is of no more use, and is free for others to close.
        this.body.set(None);
        let observer = &this.rules.observer;
        observer.emit(Event::TimedOut { reason });
        Poll::Ready(Some(Err(CallError::new(Rejected::new(observer.name(), reason).into()))))
    }

    fn is_end_stream(&self) -> bool {
        self.body.as_ref().is_none_or(Body::is_end_stream)
    }

    fn size_hint(&self) -> SizeHint {
        self.body.as_ref().map_or_else(|| SizeHint::with_exact(0), Body::size_hint)
    }
}

/// How long the reader may wait, and has been doing something else.
#[derive(Debug)]
struct Waits {
    /// When all waiting ends, moved later by the time that was the reader's own.
    deadline: Option<Instant>,
    /// Since when the reader has been given what there was.
    away: Option<Instant>,
    /// When the wait for the next frame ends, and why; while there is such a wait.
    limit: Option<(Instant, Reason)>,
}

impl Waits {
    /// The reader is told to wait: until when, unless that was said before.
    fn begin(&mut self, idle: Option<Duration>) -> Option<(Instant, Reason)> {
        if self.limit.is_none() {
            let now = Instant::now();
            if let (Some(deadline), Some(away)) = (self.deadline.as_mut(), self.away.take()) {
                *deadline = later(*deadline, now.saturating_duration_since(away));
            }
            let total = self.deadline.map(|deadline| (deadline, Reason::DeadlineExceeded));
            let idle = idle.map(|idle| (later(now, idle), Reason::BodyIdle));
            self.limit = [total, idle].into_iter().flatten().min_by_key(|&(at, _)| at);
        }
        self.limit
    }

    /// The reader was given something; whether it had to wait.
    fn end(&mut self) -> bool {
        // As long as there is no wait, all time is the reader's.
        if self.deadline.is_some() && self.away.is_none() {
            self.away = Some(Instant::now());
        }
        self.limit.take().is_some()
    }
}

impl<B: fmt::Debug> fmt::Debug for TimedBody<B> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("TimedBody").field("body", &self.body).finish_non_exhaustive()
    }
}
