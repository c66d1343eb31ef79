//! A service that does what it is told and counts what is done to it.

use std::{
    collections::VecDeque,
    future::poll_fn,
    io, mem,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicUsize, Ordering::SeqCst},
    },
    task::{Context, Poll, Waker},
    time::Duration,
};

use futures::future::BoxFuture;
use tokio::time::sleep;
use tower::{BoxError, Service, limit::ConcurrencyLimit};

/// What stacks are built around: a probe that takes any number of calls, or as few as a law wants to allow.
pub(super) type Inner<Res> = ConcurrencyLimit<Probe<Res>>;

/// What becomes of a call.
#[derive(Clone, Copy, Debug)]
pub(super) enum Act {
    /// It is answered at once.
    Answer,
    /// It is answered after so many polls that only wake their task.
    Pending(u32),
    /// It is answered after a while.
    After(Duration),
    /// It is never answered.
    Hang,
    /// It fails in a way that often passes.
    Fail,
    /// It panics when it is polled.
    Panic,
    /// It panics when the service is called.
    PanicInCall,
}

/// How the probe answers `poll_ready`.
#[derive(Clone, Copy, Debug)]
pub(super) enum Readiness {
    /// Each instance after so many polls that only wake their task.
    After(u32),
    /// Not while this stands.
    Never,
}

/// The error of [`Act::Fail`]: a refused connection as a client would wrap it.
#[derive(Debug, thiserror::Error)]
#[error("the probe was told to fail")]
pub(super) struct ProbeError(#[source] io::Error);

/// What is seen at the probe; its clones and the laws share it.
#[derive(Debug, Default)]
pub(super) struct Watch {
    /// Calls of an instance that had not said that it is ready.
    violations: AtomicUsize,
    calls: AtomicUsize,
    in_flight: AtomicUsize,
    peak: AtomicUsize,
    cancelled: AtomicUsize,
    script: Mutex<Script>,
}

#[derive(Debug)]
struct Script {
    next: VecDeque<Act>,
    otherwise: Act,
    readiness: Readiness,
    waiting: Vec<Waker>,
}

impl Default for Script {
    fn default() -> Self {
        let (next, waiting) = (VecDeque::new(), Vec::new());
        Self { next, otherwise: Act::Answer, readiness: Readiness::After(0), waiting }
    }
}

impl Watch {
    /// What the next calls do, one after the other.
    pub(super) fn next(&self, acts: impl IntoIterator<Item = Act>) {
        self.script().next = acts.into_iter().collect();
    }

    /// What every call does for which nothing else was said.
    pub(super) fn otherwise(&self, act: Act) {
        self.script().otherwise = act;
    }

    pub(super) fn readiness(&self, readiness: Readiness) {
        let waiting = {
            let mut script = self.script();
            script.readiness = readiness;
            mem::take(&mut script.waiting)
        };
        waiting.into_iter().for_each(Waker::wake);
    }

    pub(super) fn violations(&self) -> usize {
        self.violations.load(SeqCst)
    }

    pub(super) fn calls(&self) -> usize {
        self.calls.load(SeqCst)
    }

    pub(super) fn in_flight(&self) -> usize {
        self.in_flight.load(SeqCst)
    }

    pub(super) fn peak(&self) -> usize {
        self.peak.load(SeqCst)
    }

    /// Calls that were dropped before they were answered.
    pub(super) fn cancelled(&self) -> usize {
        self.cancelled.load(SeqCst)
    }

    fn script(&self) -> MutexGuard<'_, Script> {
        self.script.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The service.
#[derive(Debug)]
pub(super) struct Probe<Res> {
    watch: Arc<Watch>,
    response: fn() -> Res,
    /// How often this instance was asked whether it is ready, since its last call.
    asked: u32,
    ready: bool,
}

impl<Res> Probe<Res> {
    pub(super) fn new(watch: &Arc<Watch>, response: fn() -> Res) -> Self {
        Self { watch: Arc::clone(watch), response, asked: 0, ready: false }
    }
}

impl<Res> Clone for Probe<Res> {
    /// A clone has yet to say that it is ready.
    fn clone(&self) -> Self {
        Self::new(&self.watch, self.response)
    }
}

impl<Req, Res: Send + 'static> Service<Req> for Probe<Res> {
    type Response = Res;
    type Error = BoxError;
    type Future = BoxFuture<'static, Result<Res, BoxError>>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), BoxError>> {
        let mut script = self.watch.script();
        match script.readiness {
            Readiness::Never => {
                script.waiting.push(cx.waker().clone());
                return Poll::Pending;
            }
            Readiness::After(polls) if self.asked < polls => {
                self.asked += 1;
                cx.waker().wake_by_ref();
                return Poll::Pending;
            }
            Readiness::After(_) => self.ready = true,
        }
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, _: Req) -> Self::Future {
        let watch = Arc::clone(&self.watch);
        watch.calls.fetch_add(1, SeqCst);
        if !mem::take(&mut self.ready) {
            watch.violations.fetch_add(1, SeqCst);
        }
        self.asked = 0;
        let act = {
            let mut script = watch.script();
            script.next.pop_front().unwrap_or(script.otherwise)
        };
        assert!(!matches!(act, Act::PanicInCall), "the probe was told to panic when called");
        let response = self.response;
        let flight = Flight::begin(watch);
        Box::pin(async move {
            let answer = perform(act, response).await;
            flight.end();
            answer
        })
    }
}

async fn perform<Res>(act: Act, response: fn() -> Res) -> Result<Res, BoxError> {
    match act {
        Act::Answer => {}
        Act::Pending(polls) => pending(polls).await,
        Act::After(wait) => sleep(wait).await,
        Act::Hang => std::future::pending().await,
        Act::Fail => return Err(ProbeError(io::ErrorKind::ConnectionRefused.into()).into()),
        Act::Panic | Act::PanicInCall => panic!("the probe was told to panic"),
    }
    Ok(response())
}

/// Pending for so many polls, each of which wakes its task.
async fn pending(mut polls: u32) {
    poll_fn(|cx| {
        if polls == 0 {
            return Poll::Ready(());
        }
        polls -= 1;
        cx.waker().wake_by_ref();
        Poll::Pending
    })
    .await;
}

/// A call between its begin and its end.
struct Flight {
    watch: Arc<Watch>,
    ended: bool,
}

impl Flight {
    fn begin(watch: Arc<Watch>) -> Self {
        let flying = watch.in_flight.fetch_add(1, SeqCst) + 1;
        watch.peak.fetch_max(flying, SeqCst);
        Self { watch, ended: false }
    }

    fn end(mut self) {
        self.ended = true;
    }
}

impl Drop for Flight {
    fn drop(&mut self) {
        self.watch.in_flight.fetch_sub(1, SeqCst);
        if !self.ended {
            self.watch.cancelled.fetch_add(1, SeqCst);
        }
    }
}
