//! What the lines of a request are found by, also where nobody makes spans: the id that its caller gave it, and the trace that
//! it came in.
//!
//! Like a deadline it is carried by the work: entered round each poll, and handed to what is [spawned](crate::spawn).

use std::{cell::RefCell, future::poll_fn, pin::pin, sync::Arc};

use http::{HeaderMap, HeaderValue};
use tracing::level_filters::LevelFilter;

use super::Trace;
use crate::redact;

/// The longest id, in bytes.
const MAX_LEN: usize = 128;

thread_local! {
    static CURRENT: RefCell<Correlation> = const { RefCell::new(Correlation(None)) };
}

/// What is known of the request that a piece of work is done for.
#[derive(Clone, Debug, Default)]
pub(crate) struct Correlation(Option<Arc<Known>>);

#[derive(Debug)]
struct Known {
    id: Option<Box<str>>,
    trace: Option<Trace>,
}

impl Correlation {
    /// That of the work in hand.
    pub(crate) fn current() -> Self {
        // What is logged while a thread is torn down belongs to nothing.
        CURRENT.try_with(|current| current.borrow().clone()).unwrap_or_default()
    }

    /// That of a request with these headers, which goes on with the trace of its caller or does not. A request inside of
    /// another one is in the trace of that one.
    pub(crate) fn of(headers: &HeaderMap, goes_on: bool) -> Self {
        let here = Self::current();
        if LevelFilter::current() == LevelFilter::OFF {
            return here;
        }
        let id = headers.get("x-request-id").and_then(id);
        let trace = here.trace().is_none().then(|| Trace::of(headers).filter(|_| goes_on)).flatten();
        if id.is_none() && trace.is_none() {
            return here;
        }
        let id = id.or_else(|| here.id().map(Into::into));
        Self(Some(Arc::new(Known { id, trace: trace.or(here.trace()) })))
    }

    /// The id of the request: visible ASCII characters, without what must not be told.
    pub(crate) fn id(&self) -> Option<&str> {
        self.0.as_ref()?.id.as_deref()
    }

    /// The trace that the request came in.
    pub(crate) fn trace(&self) -> Option<Trace> {
        self.0.as_ref()?.trace
    }

    /// Runs one piece of synchronous work for this request; the way in for polls.
    #[inline]
    pub(crate) fn enter<T>(&self, work: impl FnOnce() -> T) -> T {
        /// Also when the work panics.
        struct Back(Correlation);
        impl Drop for Back {
            fn drop(&mut self) {
                swap(&mut self.0);
            }
        }

        // `work` stands here once, so that it is compiled into whoever calls this.
        let _back = self.0.is_some().then(|| {
            let mut back = Back(self.clone());
            swap(&mut back.0);
            back
        });
        work()
    }

    /// Runs `work` for this request wherever it is polled.
    pub(crate) async fn scope<F: Future>(self, work: F) -> F::Output {
        let mut work = pin!(work);
        poll_fn(|cx| self.enter(|| work.as_mut().poll(cx))).await
    }
}

fn swap(other: &mut Correlation) {
    _ = CURRENT.try_with(|current| std::mem::swap(&mut *current.borrow_mut(), other));
}

fn id(header: &HeaderValue) -> Option<Box<str>> {
    let id = header.to_str().ok()?;
    let is_id = (1..=MAX_LEN).contains(&id.len()) && id.bytes().all(|byte| byte.is_ascii_graphic());
    is_id.then(|| redact::text(id).into())
}
