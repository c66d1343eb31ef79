use std::{
    cell::Cell,
    fmt,
    pin::Pin,
    task::{Context, Poll},
    time::Duration,
};

use pin_project_lite::pin_project;
use tokio::time::Instant;
use tower::Service;

use super::{Handle, client::PlainAttempts};
use crate::{
    class::Ending,
    classify::{ByError, Classify},
    error::{BoxError, CallError},
    fallback::{Answering, AnsweringAsync, Answers, FallbackKind, NoFallback, Same, Why, drive},
    hedge::{HedgeChoice, NoHedge},
    observer::Observer,
    policy::{Course, Lend, Parcel, Policy, Poller, Seat, Slot, Stack, sealed::Sealed},
    repeat::{Once, Repeatable},
    telemetry::CallTelemetryPolicy,
};

/// The layers of a client whose calls are closures.
pub type CallsPolicy<C, H = NoHedge> = CallTelemetryPolicy<OrPolicy<PlainAttempts<C, H>>>;

/// A client of something that is no tower service: a database, an SDK. Each call is a closure.
///
/// The closures may borrow. A closure's error is any `Into<BoxError>`; what it means is judged by [`ByError`], or by what
/// [`ClientBuilder::classify`](super::ClientBuilder::classify) was given.
///
/// # Cancellation
///
/// Dropping a call's future drops the closure's, and gives back all that the call holds.
#[derive(Clone)]
pub struct Calls<C = ByError, H = NoHedge> {
    stack: Stack<CallsPolicy<C, H>, Closure>,
    handle: Handle,
}

impl<C, H: HedgeChoice> Calls<C, H> {
    pub(super) fn new(stack: Stack<CallsPolicy<C, H>, Closure>, handle: Handle) -> Self {
        Self { stack, handle }
    }

    /// A grip on the running stack.
    pub fn handle(&self) -> &Handle {
        &self.handle
    }

    /// Runs `call` once, never again.
    ///
    /// # Errors
    ///
    /// [`CallError`]: the closure's own error, or why this side refused the call or cut it short.
    pub async fn run<G, Fut, T, E>(&self, call: G) -> Result<T, CallError>
    where
        G: FnOnce() -> Fut,
        Fut: Future<Output = Result<T, E>>,
        E: Into<BoxError>,
        C: Classify<T>,
    {
        let request = Or::new(Once(call), NoFallback);
        self.stack.send(request).await.map_err(CallError::new)
    }

    /// Runs `call`, which the caller says may be repeated: its effect is the same however often it runs.
    ///
    /// # Errors
    ///
    /// [`CallError`]: the last error of the closure, or why this side refused the call or cut it short.
    pub async fn run_repeatable<G, Fut, T, E>(&self, call: G) -> Result<T, CallError>
    where
        G: Fn() -> Fut,
        Fut: Future<Output = Result<T, E>>,
        E: Into<BoxError>,
        C: Classify<T>,
    {
        let request = Or::new(Repeatable(&call), NoFallback);
        self.stack.send(request).await.map_err(CallError::new)
    }

    /// Runs `call` once; when it fails, times out or is refused, `fallback` answers.
    ///
    /// # Errors
    ///
    /// [`CallError`]: the closure's own error when it was the caller's fault, or the fallback's.
    pub async fn run_or<G, A, Fut, T, E>(&self, call: G, fallback: A) -> Result<T, CallError>
    where
        G: FnOnce() -> Fut,
        A: FnOnce(Why) -> Result<T, BoxError>,
        Fut: Future<Output = Result<T, E>>,
        E: Into<BoxError>,
        C: Classify<T>,
    {
        let request = Or::new(Once(call), Answering(once(fallback)));
        self.stack.send(request).await.map_err(CallError::new)
    }

    /// Runs `call`, which may be repeated; when it fails in the end, times out or is refused, `fallback` answers.
    ///
    /// # Errors
    ///
    /// [`CallError`]: the closure's own error when it was the caller's fault, or the fallback's.
    pub async fn run_repeatable_or<G, A, Fut, T, E>(&self, call: G, fallback: A) -> Result<T, CallError>
    where
        G: Fn() -> Fut,
        A: FnOnce(Why) -> Result<T, BoxError>,
        Fut: Future<Output = Result<T, E>>,
        E: Into<BoxError>,
        C: Classify<T>,
    {
        let request = Or::new(Repeatable(&call), Answering(once(fallback)));
        self.stack.send(request).await.map_err(CallError::new)
    }

    /// Runs `call` once; when it fails, times out or is refused, the future that `fallback` gives answers.
    ///
    /// The call ends a quarter of the timeout, and at most 100 ms, sooner, so that the fallback has that time for itself.
    /// It is cut where the timeout ends; until then it sees that as its [`Deadline`](crate::Deadline).
    ///
    /// # Errors
    ///
    /// [`CallError`]: the closure's own error when it was the caller's fault, the fallback's, or that its time was over.
    pub async fn run_or_async<G, A, Fut, AFut, T, E>(&self, call: G, fallback: A) -> Result<T, CallError>
    where
        G: FnOnce() -> Fut,
        A: FnOnce(Why) -> AFut,
        Fut: Future<Output = Result<T, E>>,
        AFut: Future<Output = Result<T, BoxError>>,
        E: Into<BoxError>,
        C: Classify<T>,
    {
        let request = Or::new(Once(call), AnsweringAsync::new(once(fallback)));
        self.stack.send(request).await.map_err(CallError::new)
    }

    /// Runs `call`, which may be repeated; when it fails in the end, times out or is refused, the future that `fallback`
    /// gives answers, in the time that [`run_or_async`](Self::run_or_async) keeps for it.
    ///
    /// # Errors
    ///
    /// [`CallError`]: the closure's own error when it was the caller's fault, the fallback's, or that its time was over.
    pub async fn run_repeatable_or_async<G, A, Fut, AFut, T, E>(
        &self,
        call: G,
        fallback: A,
    ) -> Result<T, CallError>
    where
        G: Fn() -> Fut,
        A: FnOnce(Why) -> AFut,
        Fut: Future<Output = Result<T, E>>,
        AFut: Future<Output = Result<T, BoxError>>,
        E: Into<BoxError>,
        C: Classify<T>,
    {
        let request = Or::new(Repeatable(&call), AnsweringAsync::new(once(fallback)));
        self.stack.send(request).await.map_err(CallError::new)
    }
}

impl<C, H> fmt::Debug for Calls<C, H> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Calls").field("handle", &self.handle).finish_non_exhaustive()
    }
}

/// The service of [`Calls`]: it runs the closure that is its request.
#[derive(Clone, Copy, Debug)]
#[non_exhaustive]
pub struct Closure;

impl<G, Fut, T, E> Service<Once<G>> for Closure
where
    G: FnOnce() -> Fut,
    Fut: Future<Output = Result<T, E>>,
{
    type Response = T;
    type Error = E;
    type Future = Fut;

    fn poll_ready(&mut self, _cx: &mut Context<'_>) -> Poll<Result<(), E>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, Once(call): Once<G>) -> Fut {
        call()
    }
}

impl<G, Fut, T, E> Service<Repeatable<&G>> for Closure
where
    G: Fn() -> Fut,
    Fut: Future<Output = Result<T, E>>,
{
    type Response = T;
    type Error = E;
    type Future = Fut;

    fn poll_ready(&mut self, _cx: &mut Context<'_>) -> Poll<Result<(), E>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, Repeatable(call): Repeatable<&G>) -> Fut {
        call()
    }
}

/// A closure that is asked once at most, where one is wanted that might be asked again.
fn once<A, R>(ask: A) -> impl Fn(Why) -> R
where
    A: FnOnce(Why) -> R,
{
    let ask = Cell::new(Some(ask));
    move |why| ask.take().expect("a call asks its fallback once")(why)
}

/// A call with a fallback of its own, or without.
#[derive(Debug)]
pub struct Or<R, K> {
    call: R,
    fallback: K,
}

impl<R, K> Or<R, K> {
    fn new(call: R, fallback: K) -> Self {
        Self { call, fallback }
    }
}

/// Answers a failed call with the fallback that came with it.
#[derive(Clone, Debug)]
pub struct OrPolicy<I> {
    limit: Duration,
    observer: Observer,
    inner: I,
}

impl<I> OrPolicy<I> {
    /// `limit` is that of the whole call, the fallback included.
    pub(super) fn new(limit: Duration, observer: Observer, inner: I) -> Self {
        Self { limit, observer, inner }
    }
}

pin_project! {
    /// The pass of an [`OrPolicy`].
    #[derive(Debug)]
    pub struct OrPass<P, R, K> {
        // `None` before the call begins.
        fallback: Option<K>,
        parcel: Parcel<R>,
        #[pin]
        inner: P,
    }
}

impl<I> Sealed for OrPolicy<I> {}

impl<I, S, R, K> Lend<S, Or<R, K>> for OrPolicy<I>
where
    I: Lend<S, R>,
    K: FallbackKind<R>,
{
    type Pass = OrPass<K::Pass<I::Pass>, R, K>;

    fn pass(&self) -> Self::Pass {
        OrPass { fallback: None, parcel: Parcel::EMPTY, inner: K::pass(self.inner.pass()) }
    }

    fn begin(&self, pass: Pin<&mut Self::Pass>, parcel: &mut Parcel<Or<R, K>>, course: &mut Course) {
        let mut pass = pass.project();
        let Or { call, fallback } = parcel.take();
        pass.parcel.put(call);
        let fallback = pass.fallback.insert(fallback.within(self.limit));
        fallback.begin(pass.inner.as_mut(), pass.parcel.request(), course);
        if let Some(inner) = K::inner(pass.inner) {
            self.inner.begin(inner, pass.parcel, course);
        }
    }

    fn abandon(&self, pass: Pin<&mut Self::Pass>, course: &mut Course, ending: Ending, now: Instant) {
        if let Some(inner) = K::inner(pass.project().inner) {
            self.inner.abandon(inner, course, ending, now);
        }
    }
}

impl<I, S, R, K> Policy<S, Or<R, K>> for OrPolicy<I>
where
    I: Policy<S, R>,
    K: Answers<R, I::Response, Same>,
{
    type Response = K::Response;

    fn poll(
        &self,
        pass: Pin<&mut Self::Pass>,
        _parcel: &mut Parcel<Or<R, K>>,
        seat: &mut Seat<S>,
        cx: &mut Poller<'_, '_>,
        out: &mut Slot<Self::Response>,
    ) -> Poll<()> {
        let pass = pass.project();
        let (parcel, fallback) =
            (pass.parcel, pass.fallback.as_ref().expect("it was kept when the call began"));
        let inner = |inner: Pin<&mut I::Pass>, cx: &mut Poller<'_, '_>, out: &mut Slot<I::Response>| {
            self.inner.poll(inner, parcel, seat, cx, out)
        };
        drive(fallback, pass.inner, inner, &self.observer, cx, out)
    }

    fn poll_ready(&self, seat: &mut Seat<S>, cx: &mut Context<'_>) -> Poll<Result<(), BoxError>> {
        self.inner.poll_ready(seat, cx)
    }
}
