use std::{
    fmt,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll, ready},
};

use bytes::Bytes;
use http_body::{Body, Frame, SizeHint};
use pin_project_lite::pin_project;
use tokio::time::Instant;

use super::{copy::Kept, store::Store};
use crate::sync::{Mutex, lock};

pin_project! {
    /// The body of an answer, of which a copy is made while it is read; see [`StaleCache`](super::StaleCache).
    ///
    /// It gives what the dependency's body gives, when that does.
    pub struct KeptBody<B> {
        // In a box: most bodies that are held at once may have none.
        record: Option<Box<Record>>,
        #[pin]
        body: B,
    }
}

/// The copy as far as it has come.
#[derive(Debug)]
pub(super) struct Record {
    pub(super) store: Arc<Mutex<Store>>,
    pub(super) key: String,
    pub(super) born: Instant,
    pub(super) head: Kept,
    pub(super) data: Vec<u8>,
    /// The most bytes that are kept.
    pub(super) limit: usize,
    /// How many there must be, if that was said.
    pub(super) length: Option<u64>,
}

impl<B: Body> KeptBody<B> {
    pub(super) fn new(body: B, record: Option<Record>) -> Self {
        let fits = |record: &Record| body.size_hint().lower() <= record.limit as u64;
        let mut record = record.filter(fits).map(Box::new);
        if body.is_end_stream() {
            finish(&mut record);
        }
        Self { record, body }
    }
}

impl<B> Body for KeptBody<B>
where
    B: Body<Data = Bytes>,
{
    type Data = Bytes;
    type Error = B::Error;

    fn poll_frame(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, B::Error>>> {
        let mut this = self.project();
        let frame = ready!(this.body.as_mut().poll_frame(cx));
        match &frame {
            Some(Ok(frame)) => {
                let keep = |record: &mut Box<Record>| frame.data_ref().is_some_and(|data| record.keep(data));
                if this.record.as_mut().is_some_and(|record| !keep(record)) {
                    *this.record = None;
                }
                if this.body.is_end_stream() {
                    finish(this.record);
                }
            }
            Some(Err(_)) => *this.record = None,
            None => finish(this.record),
        }
        Poll::Ready(frame)
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}

impl Record {
    /// Keeps some more, if it fits.
    fn keep(&mut self, data: &[u8]) -> bool {
        let fits = data.len() <= self.limit - self.data.len();
        if fits {
            self.data.extend_from_slice(data);
        }
        fits
    }
}

/// The body is there to its end.
fn finish(record: &mut Option<Box<Record>>) {
    let Some(record) = record.take() else { return };
    let Record { store, key, born, head, data, length, .. } = *record;
    if length.is_none_or(|length| length == data.len() as u64) {
        // Shrunk, so that what is kept is what is counted.
        let copy = Arc::new(head.with_body(data.into_boxed_slice().into()));
        lock(&store).put(&key, born, Some(copy));
    }
}

impl<B: fmt::Debug> fmt::Debug for KeptBody<B> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("KeptBody").field("body", &self.body).finish_non_exhaustive()
    }
}
