//! The work that every contestant does: the same request to the same service, polled by hand.

use std::{
    error::Error,
    fmt,
    hint::black_box,
    marker::PhantomData,
    pin::Pin,
    task::{Context, Poll, Waker},
};

use moneta_resilience::Repeat;

/// What is asked: a number that comes back as the answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Request(pub u64);

impl Request {
    /// A request that the service fails.
    pub const FAILS: Self = Self(u64::MAX);
    /// A request that the service never answers.
    pub const HANGS: Self = Self(u64::MAX - 1);
}

impl Repeat for Request {
    fn again(&self) -> Option<Self> {
        Some(*self)
    }
}

/// The error of the service. It has a size, so that boxing it allocates, as the errors of real services do.
#[derive(Clone, Copy, Debug)]
pub struct Failed(pub u64);

impl fmt::Display for Failed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "failed with {}", self.0)
    }
}

impl Error for Failed {}

/// The service below every contestant. It answers after `pending` polls.
///
/// Each contestant has one of a type of its own, `T`: else the compiler makes code for several of them together, and what
/// one costs depends on who else is there.
#[derive(Debug)]
pub struct Inner<T> {
    pending: u32,
    of: PhantomData<fn(T)>,
}

impl<T> Clone for Inner<T> {
    fn clone(&self) -> Self {
        *self
    }
}

impl<T> Copy for Inner<T> {}

impl<T> Inner<T> {
    /// So many polls of a call only wake its task.
    pub const fn new(pending: u32) -> Self {
        Self { pending, of: PhantomData }
    }

    /// The call of the service, for contestants that wrap futures.
    pub fn answer(self, request: Request) -> Answer {
        let pending = if request == Request::HANGS { u32::MAX } else { self.pending };
        Answer { request, pending }
    }
}

impl<T> tower::Service<Request> for Inner<T> {
    type Response = u64;
    type Error = Failed;
    type Future = Answer;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Failed>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: Request) -> Answer {
        self.answer(request)
    }
}

impl<T> layered::Service<Request> for Inner<T> {
    type Out = Result<u64, Failed>;

    fn execute(&self, request: Request) -> impl Future<Output = Self::Out> + Send {
        self.answer(request)
    }
}

/// The future of [`Inner`].
#[derive(Debug)]
pub struct Answer {
    request: Request,
    pending: u32,
}

impl Future for Answer {
    type Output = Result<u64, Failed>;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        if self.pending > 0 {
            // Opaque, or a bare service is optimised into one that answers at once.
            self.pending = black_box(self.pending - 1);
            cx.waker().wake_by_ref();
            return Poll::Pending;
        }
        if self.request == Request::FAILS {
            return Poll::Ready(Err(Failed(self.request.0)));
        }
        Poll::Ready(Ok(self.request.0))
    }
}

/// A service as its users call it.
pub trait Caller: Send + 'static {
    /// How it fails.
    type Error;

    /// Waits for the service to be ready, and begins a call.
    fn start(&mut self, request: Request) -> impl Future<Output = Result<u64, Self::Error>>;
}

/// A service of tower.
#[derive(Clone, Debug)]
pub struct Tower<S>(pub S);

impl<S> Caller for Tower<S>
where
    S: tower::Service<Request, Response = u64> + Send + 'static,
{
    type Error = S::Error;

    fn start(&mut self, request: Request) -> impl Future<Output = Result<u64, S::Error>> {
        let cx = &mut Context::from_waker(Waker::noop());
        let ready = loop {
            if let Poll::Ready(ready) = self.0.poll_ready(cx) {
                break ready;
            }
        };
        assert!(ready.is_ok(), "no service here breaks");
        self.0.call(request)
    }
}

/// A service of `layered`, on which seatbelt is built.
#[derive(Clone, Debug)]
pub struct Layered<S>(pub S);

impl<S> Caller for Layered<S>
where
    S: layered::Service<Request, Out = Result<u64, Failed>> + Send + 'static,
{
    type Error = Failed;

    fn start(&mut self, request: Request) -> impl Future<Output = Result<u64, Failed>> {
        self.0.execute(request)
    }
}

/// The calls of [`Inner`] through a wrapper of futures.
#[derive(Clone, Debug)]
pub struct Wrapped<W, T> {
    /// What wraps them.
    pub wrapper: W,
    /// What they call.
    pub inner: Inner<T>,
}

impl<F, T> Caller for Wrapped<failsafe::StateMachine<F, ()>, T>
where
    F: failsafe::FailurePolicy + Send + Sync + 'static,
    T: 'static,
{
    type Error = failsafe::Error<Failed>;

    fn start(&mut self, request: Request) -> impl Future<Output = Result<u64, Self::Error>> {
        failsafe::futures::CircuitBreaker::call(&self.wrapper, self.inner.answer(request))
    }
}

impl<T: 'static> Caller for Wrapped<recloser::AsyncRecloser, T> {
    type Error = recloser::Error<Failed>;

    fn start(&mut self, request: Request) -> impl Future<Output = Result<u64, Self::Error>> {
        self.wrapper.call(self.inner.answer(request))
    }
}

/// The bare service, and something else before each call.
#[derive(Clone, Debug)]
pub struct After<F, T> {
    /// What is done before.
    pub first: F,
    /// What is called.
    pub inner: Inner<T>,
}

impl<F: FnMut() + Send + 'static, T: 'static> Caller for After<F, T> {
    type Error = Failed;

    fn start(&mut self, request: Request) -> impl Future<Output = Result<u64, Failed>> {
        (self.first)();
        self.inner.answer(request)
    }
}
