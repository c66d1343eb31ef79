//! What the attempts of a call share of its body: the record, and the rest that is not read yet.
//!
//! Each attempt's body has a *turn*, in the order in which the copies were made. The latest turn that has claimed the
//! tape reads from the source; earlier ones that still live (a connection may go on sending after its attempt has
//! failed) follow what is recorded, and never run ahead of it: they must not carry the record past its limit while
//! another attempt needs it.
//!
//! The source is taken out of the lock while it is polled, so no lock is held across its code.

use std::{
    mem,
    pin::Pin,
    task::{Context, Poll, Waker},
};

use bytes::Bytes;
use http::HeaderMap;
use http_body::{Body, Frame, SizeHint};

use crate::sync::{Mutex, MutexGuard, lock};

/// The body of all attempts of one call.
#[derive(Debug)]
pub(super) struct Tape<B> {
    hint: SizeHint,
    limit: usize,
    state: Mutex<State<B>>,
}

/// How far an attempt has read the record.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct At {
    bytes: usize,
    trailers: bool,
}

/// What an attempt gets when it reads.
pub(super) enum Read<B: Body> {
    Frame(Frame<Bytes>),
    /// A frame, and the rest of the body, which is not recorded.
    Last(Frame<Bytes>, Pin<Box<B>>),
    /// The rest of the body, which is not recorded.
    Rest(Pin<Box<B>>),
    End,
    Wait,
    /// The body itself failed.
    Failed(B::Error),
    /// The beginning is no longer known, or another attempt has the rest.
    Lost,
}

struct State<B> {
    source: Source<B>,
    /// Whether all that the source gave is recorded.
    whole: bool,
    data: Vec<u8>,
    trailers: Option<HeaderMap>,
    /// The newest turn that was given out.
    newest: u32,
    /// The turn that may read from the source; 0 for none.
    reader: u32,
    /// Who is to be woken when something changes.
    waiting: Vec<(u32, Waker)>,
}

enum Source<B> {
    Here(Pin<Box<B>>),
    /// Somebody is polling it.
    Lent,
    Ended,
    /// It failed, or belongs to one attempt alone.
    Gone,
}

impl<B> Tape<B> {
    /// The turn of the body that the caller gave.
    pub(super) const FIRST: u32 = 1;

    /// The next turn; `None` when the beginning of the body is no longer known.
    pub(super) fn join(&self) -> Option<u32> {
        let mut state = lock(&self.state);
        if !state.whole {
            return None;
        }
        state.newest += 1;
        Some(state.newest)
    }

    /// Gives this turn the right to read on, so that none before it can spoil the record; `false` when it is spoilt.
    pub(super) fn claim(&self, turn: u32) -> bool {
        let mut state = lock(&self.state);
        state.reader = state.reader.max(turn);
        state.whole
    }

    /// The attempt of this turn is over.
    pub(super) fn leave(&self, turn: u32) {
        let mut state = lock(&self.state);
        state.waiting.retain(|(waiting, _)| *waiting != turn);
        if state.reader == turn {
            state.reader = 0;
            wake(state);
        }
    }

    pub(super) fn is_end(&self, at: At) -> bool {
        let state = lock(&self.state);
        state.whole && matches!(state.source, Source::Ended) && state.is_read(at)
    }

    /// What is left to send of the whole body.
    pub(super) fn hint_from(&self, at: At) -> SizeHint {
        let sent = at.bytes as u64;
        let mut hint = SizeHint::new();
        if let Some(upper) = self.hint.upper() {
            hint.set_upper(upper.saturating_sub(sent));
        }
        hint.set_lower(self.hint.lower().saturating_sub(sent));
        hint
    }

    /// The record is of no more use, or too long.
    fn give_up(mut state: MutexGuard<'_, State<B>>) {
        state.whole = false;
        state.source = Source::Gone;
        state.data = Vec::new();
        state.trailers = None;
        wake(state);
    }
}

impl<B> Tape<B>
where
    B: Body<Data = Bytes>,
{
    pub(super) fn new(body: B, limit: usize) -> Self {
        let hint = body.size_hint();
        // A box, for whichever copy of the request reads on takes the body over, and a pinned one cannot move.
        let source = if body.is_end_stream() { Source::Ended } else { Source::Here(Box::pin(body)) };
        let state = State {
            source,
            whole: true,
            data: Vec::new(),
            trailers: None,
            newest: Self::FIRST,
            reader: 0,
            waiting: Vec::new(),
        };
        Self { hint, limit, state: Mutex::new(state) }
    }

    /// The next frame for an attempt. One that is `alone`, and has sent all that is recorded, gets the rest for good.
    pub(super) fn read(&self, turn: u32, at: &mut At, alone: bool, cx: &mut Context<'_>) -> Read<B> {
        let mut state = lock(&self.state);
        if !state.whole {
            return Read::Lost;
        }
        if let Some(frame) = state.replay(at) {
            return Read::Frame(frame);
        }
        if matches!(state.source, Source::Ended) {
            return Read::End;
        }
        if state.reader > turn {
            state.wait(turn, cx);
            return Read::Wait;
        }
        state.reader = turn;
        let Source::Here(source) = mem::replace(&mut state.source, Source::Lent) else {
            // An earlier turn is polling it, and wakes this one when it is back.
            state.wait(turn, cx);
            return Read::Wait;
        };
        if alone {
            Self::give_up(state);
            return Read::Rest(source);
        }
        drop(state);
        self.pull(turn, at, Loan { tape: self, source: Some(source) }, cx)
    }

    /// Polls the source and records what it gives.
    fn pull(&self, turn: u32, at: &mut At, mut loan: Loan<'_, B>, cx: &mut Context<'_>) -> Read<B> {
        let source = loan.source.as_mut().expect("a loan holds the source until it is given back");
        let poll = source.as_mut().poll_frame(cx);
        let ended = matches!(poll, Poll::Ready(None)) || source.is_end_stream();
        let source = loan.source.take().expect("nobody took it since it was polled");

        let mut state = lock(&self.state);
        match poll {
            Poll::Pending => {
                state.source = Source::Here(source);
                let overtaken = state.reader > turn;
                state.wait(turn, cx);
                if overtaken {
                    wake(state);
                }
                Read::Wait
            }
            Poll::Ready(Some(Ok(frame))) => {
                // Who was overtaken meanwhile keeps what it got for the one that needs it, this once past the limit.
                if !state.keep(&frame, self.limit, turn) {
                    Self::give_up(state);
                    return Read::Last(frame, source);
                }
                *at = state.end();
                state.source = if ended { Source::Ended } else { Source::Here(source) };
                wake(state);
                Read::Frame(frame)
            }
            Poll::Ready(None) => {
                state.source = Source::Ended;
                wake(state);
                Read::End
            }
            Poll::Ready(Some(Err(error))) => {
                Self::give_up(state);
                Read::Failed(error)
            }
        }
    }
}

impl<B> State<B> {
    fn end(&self) -> At {
        At { bytes: self.data.len(), trailers: self.trailers.is_some() }
    }

    fn is_read(&self, at: At) -> bool {
        at.bytes == self.data.len() && at.trailers == self.trailers.is_some()
    }

    /// What is recorded beyond `at`.
    fn replay(&self, at: &mut At) -> Option<Frame<Bytes>> {
        if at.bytes < self.data.len() {
            let data = Bytes::copy_from_slice(&self.data[at.bytes..]);
            at.bytes = self.data.len();
            return Some(Frame::data(data));
        }
        let trailers = self.trailers.as_ref().filter(|_| !at.trailers)?;
        at.trailers = true;
        Some(Frame::trailers(trailers.clone()))
    }

    /// Records a frame, if it fits.
    fn keep(&mut self, frame: &Frame<Bytes>, limit: usize, turn: u32) -> bool {
        let limit = if self.reader > turn { usize::MAX } else { limit };
        let room = limit.saturating_sub(self.data.len());
        if let Some(data) = frame.data_ref() {
            let fits = data.len() <= room;
            if fits {
                self.data.extend_from_slice(data);
            }
            return fits;
        }
        let Some(trailers) = frame.trailers_ref() else { return false };
        let size: usize = trailers.iter().map(|(name, value)| name.as_str().len() + value.len()).sum();
        let fits = size <= room && self.trailers.is_none();
        if fits {
            self.trailers = Some(trailers.clone());
        }
        fits
    }

    fn wait(&mut self, turn: u32, cx: &Context<'_>) {
        match self.waiting.iter_mut().find(|(waiting, _)| *waiting == turn) {
            Some((_, waker)) => waker.clone_from(cx.waker()),
            None => self.waiting.push((turn, cx.waker().clone())),
        }
    }
}

impl<B> std::fmt::Debug for State<B> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("State")
            .field("whole", &self.whole)
            .field("reader", &self.reader)
            .finish_non_exhaustive()
    }
}

/// Wakes all who wait, after the lock is given back.
fn wake<B>(mut state: MutexGuard<'_, State<B>>) {
    let waiting = mem::take(&mut state.waiting);
    drop(state);
    for (_, waker) in waiting {
        waker.wake();
    }
}

/// The source while it is polled. If the poll unwinds, nobody may wait for it.
struct Loan<'a, B> {
    tape: &'a Tape<B>,
    source: Option<Pin<Box<B>>>,
}

impl<B> Drop for Loan<'_, B> {
    fn drop(&mut self) {
        if self.source.is_some() {
            Tape::give_up(lock(&self.tape.state));
        }
    }
}
