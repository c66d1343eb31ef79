//! What every layer of the crate is made of.
//!
//! A pattern (timeout, retry, circuit breaker, …) is a [`Policy`]: the state that all its calls share, which *lends
//! itself* to each call. What a policy keeps of one call is its *pass*, a plain value that the policy makes, polls and,
//! when the call is dropped, is told to abandon. A policy wraps the next one by value, and the innermost is the
//! [`Leaf`], which calls the service.
//!
//! What the policies of a stack share of a call they find in one place each, however many they are: the request, until
//! the service is called with it; the [`Seat`], which is the service; and the [`Course`], which is what travels with the
//! call. Nothing of it is handed from policy to policy.
//!
//! ```text
//! Stack<P, S>                 the tower service:   one Arc of the policies, and the service
//!   └─ StackFuture            the call's future:   that Arc, the service's clone, request, course, the nested passes
//!        └─ P = RetryPolicy<CircuitBreakerPolicy<…<Leaf>>>
//! ```
//!
//! Compared with one tower service around the other, this gives a stack of any depth *one* future with *one* shared
//! pointer, whose drop is seen in exactly one place, one clock reading at each end of a call, and one verdict on each
//! result. Seen from outside it is an ordinary tower service: `poll_ready` is passed on, the instance that was made
//! ready is the one that is called.
//!
//! The trait is public because it stands in the types of the stacks, and sealed because its contract is subtle. What
//! has to do with the pass alone is a trait of its own, [`Lend`].
//!
//! * `pass` makes an empty pass: that of a call, or of an attempt, that has not begun.
//! * `begin` comes once, before the first poll. It looks at the request and prepares, and has no effect that anybody sees.
//! * `poll` may be called until it is ready once. What it was given it gives back by then, and the service's future is gone.
//! * `abandon` is called instead, when the pass is to be dropped before that, and gives everything back. It may also
//!   come on an empty pass, and after the answer, when code further out (a fallback's closure) panics over it: then there
//!   is nothing to give back, and it has no effect.
//! * What a policy changes in the `Course`, it changes for those further in. Who further out needs what it was (a retry,
//!   for the next attempt) keeps it in its pass.

use std::{
    fmt, mem,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll, ready},
    time::Duration,
};

use pin_project_lite::pin_project;
use tokio::time::Instant;
use tower::Service;

use crate::{
    call::{Call, Carried},
    class::{Class, Ending},
    classify::{ByError, Classify},
    error::{BoxError, Reason, Rejected},
    event::Outcome,
    trial::Enrolled,
};

pub(crate) mod sealed {
    /// Keeps [`Policy`](super::Policy) closed.
    #[expect(unnameable_types, reason = "that is what seals the trait")]
    pub trait Sealed {}
}

/// What a policy gives to each call and takes back: its pass.
///
/// It stands apart from [`Policy`] because less must be known to make and to drop a pass than to drive it, and because
/// of how the compiler finds out whether a spawned task or an axum handler is `Send`: it erases the lifetimes in what
/// the task holds, also the one in `Box<dyn Error>`. A bound that names that type (`Error: Into<BoxError>`, the
/// signature of a fallback) cannot be proven then, and every call that is awaited in a task would be refused:
/// "implementation of `From` is not general enough". So such bounds stand on `Policy` alone, and the type of a
/// [`StackFuture`] asks for no more than this trait.
pub trait Lend<S, Req>: sealed::Sealed {
    /// What is kept of one call.
    type Pass;

    /// The pass of a call that has not begun.
    fn pass(&self) -> Self::Pass;

    /// Prepares the call, which begins now, without any effect.
    fn begin(&self, pass: Pin<&mut Self::Pass>, parcel: &mut Parcel<Req>, course: &mut Course);

    /// Takes back what the call holds, before it is dropped without an answer.
    fn abandon(&self, pass: Pin<&mut Self::Pass>, course: &mut Course, ending: Ending, now: Instant);
}

/// A pattern that lends itself to the calls of a stack; see the [module](self).
#[diagnostic::on_unimplemented(
    message = "this stack cannot call `{S}` with a request of type `{Req}`",
    label = "not a service for this request, or a bound of one of the layers is missing",
    note = "the service must be `tower::Service<{Req}> + Clone` with `Error: Into<BoxError>`",
    note = "retries need `{Req}: Repeat`; classifiers must know the response type"
)]
pub trait Policy<S, Req>: Lend<S, Req> {
    /// What a successful call gives.
    type Response;

    /// Drives the call.
    fn poll(
        &self,
        pass: Pin<&mut Self::Pass>,
        parcel: &mut Parcel<Req>,
        seat: &mut Seat<S>,
        cx: &mut Poller<'_, '_>,
    ) -> Poll<Answer<Self::Response>>;

    /// Whether a call may be made. Policies that can answer without the service are ready without it.
    ///
    /// # Errors
    ///
    /// The service's own, which tower reads as "broken for good".
    fn poll_ready(&self, seat: &mut Seat<S>, cx: &mut Context<'_>) -> Poll<Result<(), BoxError>>;
}

/// The result of a call, with the verdict on it that all layers share.
#[derive(Debug)]
#[non_exhaustive]
pub struct Answer<T> {
    /// What the caller gets.
    pub result: Result<T, BoxError>,
    /// What it says about the dependency.
    pub class: Class,
    /// How it is told to observers.
    pub outcome: Outcome,
    /// What of its time the call spent in queues of this side, which says nothing about the dependency.
    pub(crate) queued: Duration,
    /// Whether the call was cut short by a caller in a hurry, before it could say anything about the dependency.
    pub(crate) hurried: bool,
    /// How many further copies of the call were sent meanwhile, each an attempt with a number of its own.
    pub(crate) hedges: u32,
}

impl<T> Answer<T> {
    pub(crate) fn new(result: Result<T, BoxError>, class: Class, outcome: Outcome) -> Self {
        Self { result, class, outcome, queued: Duration::ZERO, hurried: false, hedges: 0 }
    }

    /// The same verdict on a response that was made into another.
    pub(crate) fn map<U>(self, change: impl FnOnce(T) -> U) -> Answer<U> {
        let Self { result, class, outcome, queued, hurried, hedges } = self;
        Answer { result: result.map(change), class, outcome, queued, hurried, hedges }
    }

    /// A result of the service, as the classifier judged it.
    pub(crate) fn judged(result: Result<T, BoxError>, class: Class) -> Self {
        let outcome = match &result {
            Err(error) => outcome_of(error, class),
            Ok(_) => class.into(),
        };
        Self::new(result, class, outcome)
    }

    /// A refusal of this side.
    pub(crate) fn rejected(rejected: Rejected) -> Self {
        let reason: Reason = rejected.reason();
        Self::new(Err(rejected.into()), reason.class(), reason.into())
    }
}

/// How a failure is told. It can be a rejection of a stack further in; looking is kept off where it cannot.
pub(crate) fn outcome_of(error: &BoxError, class: Class) -> Outcome {
    match class {
        Class::Neutral | Class::Transient { .. } => {
            Rejected::find(&**error).map_or_else(|| class.into(), |rejected| rejected.reason().into())
        }
        _ => class.into(),
    }
}

/// The request of a call, until the service is called with it.
#[derive(Debug)]
pub struct Parcel<Req>(Option<Req>);

impl<Req> Parcel<Req> {
    const THERE: &str = "the request is there until the service was called with it";

    pub(crate) const EMPTY: Self = Self(None);

    pub(crate) const fn new(request: Req) -> Self {
        Self(Some(request))
    }

    pub(crate) const fn request(&self) -> &Req {
        self.0.as_ref().expect(Self::THERE)
    }

    #[cfg(feature = "http")]
    pub(crate) const fn request_mut(&mut self) -> &mut Req {
        self.0.as_mut().expect(Self::THERE)
    }

    /// Puts the request of another attempt there.
    pub(crate) fn put(&mut self, request: Req) {
        self.0 = Some(request);
    }

    pub(crate) const fn take(&mut self) -> Req {
        self.0.take().expect(Self::THERE)
    }
}

/// What travels with a call, in one place for all policies of its stack.
#[derive(Debug)]
pub struct Course {
    /// The call as it concerns the policy that is polled.
    pub(crate) call: Call,
    /// In which experiments it takes part.
    pub(crate) enrolled: Enrolled,
    /// Whether a fault hook of the stack has done something to it, or to one of its attempts.
    pub(crate) injected: bool,
}

impl Course {
    pub(crate) fn new(call: Call) -> Self {
        Self { call, enrolled: Enrolled::default(), injected: false }
    }
}

/// The task that polls, and the instant of the poll, read from the clock once at most.
pub struct Poller<'a, 'b> {
    /// The task's context.
    pub task: &'a mut Context<'b>,
    /// What travels with the call.
    pub(crate) course: &'a mut Course,
    reading: Reading,
    reached: bool,
    /// Who further out hears of an attempt that begins.
    admitted: Option<&'a mut dyn FnMut(Instant)>,
}

/// What the clock said in a poll.
#[derive(Clone, Copy, Debug, Default)]
struct Reading {
    now: Option<Instant>,
    /// An instant that it was compared with, and how long ago that was.
    since: Option<(Instant, Duration)>,
}

impl Reading {
    fn at(now: Option<Instant>) -> Self {
        Self { now, since: None }
    }
}

impl<'a, 'b> Poller<'a, 'b> {
    fn new(task: &'a mut Context<'b>, course: &'a mut Course, now: Option<Instant>) -> Self {
        Self { task, course, reading: Reading::at(now), reached: false, admitted: None }
    }

    /// The same poll of another course: that of a further copy of the call.
    pub(crate) fn along<T>(&mut self, course: &mut Course, poll: impl FnOnce(&mut Poller<'_, 'b>) -> T) -> T {
        let mut inner = Poller {
            task: self.task,
            course,
            reading: self.reading,
            reached: self.reached,
            admitted: match &mut self.admitted {
                Some(admitted) => Some(&mut **admitted),
                None => None,
            },
        };
        let result = poll(&mut inner);
        (self.reading, self.reached) = (inner.reading, inner.reached);
        self.course.injected |= inner.course.injected;
        result
    }

    /// The same poll, in which `admitted` hears of each attempt that begins.
    #[cfg(feature = "http")]
    pub(crate) fn hearing<T>(
        &mut self,
        admitted: &mut dyn FnMut(Instant),
        poll: impl FnOnce(&mut Poller<'_, 'b>) -> T,
    ) -> T {
        let mut inner = Poller {
            task: self.task,
            course: self.course,
            reading: self.reading,
            reached: self.reached,
            admitted: Some(admitted),
        };
        let result = poll(&mut inner);
        (self.reading, self.reached) = (inner.reading, inner.reached);
        result
    }

    /// Says that an attempt begins: everything that could have refused it has let it in.
    #[inline]
    pub(crate) fn admit(&mut self) {
        let now = self.now();
        if let Some(admitted) = &mut self.admitted {
            admitted(now);
        }
    }

    /// The instant of this poll; after the service has answered, the instant of its answer.
    #[inline]
    pub fn now(&mut self) -> Instant {
        *self.reading.now.get_or_insert_with(Instant::now)
    }

    /// How long before that `started` was. Most layers of a stack ask for the same, so it is worked out once.
    #[inline]
    pub(crate) fn since(&mut self, started: Instant) -> Duration {
        let now = self.now();
        match self.reading.since {
            Some((known, elapsed)) if known == started => elapsed,
            _ => {
                let elapsed = now.saturating_duration_since(started);
                self.reading.since = Some((started, elapsed));
                elapsed
            }
        }
    }

    /// Says that the attempt got as far as the service, or to what stands in for it.
    pub(crate) fn reach(&mut self) {
        self.reached = true;
    }

    /// Whether it did in this poll. One that was refused on the way has not begun, and is nothing to count.
    pub(crate) fn reached(&self) -> bool {
        self.reached
    }
}

impl fmt::Debug for Poller<'_, '_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Poller").field("now", &self.reading.now).finish_non_exhaustive()
    }
}

/// A service and whether it said that it is ready for a call.
#[derive(Debug)]
pub struct Seat<S> {
    service: S,
    ready: bool,
}

impl<S> Seat<S> {
    pub(crate) fn new(service: S) -> Self {
        Self { service, ready: false }
    }

    /// Asks the service whether it is ready, and remembers that it was.
    pub(crate) fn poll_ready<Req>(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), BoxError>>
    where
        S: Service<Req>,
        S::Error: Into<BoxError>,
    {
        if !self.ready {
            ready!(self.service.poll_ready(cx)).map_err(Into::into)?;
            self.ready = true;
        }
        Poll::Ready(Ok(()))
    }

    /// Takes a fresh clone of the service for another attempt. What the old one held (a permit it had reserved, a
    /// place in a queue for one) goes with it, and an instance that failed to get ready is never asked again.
    pub(crate) fn renew(&mut self)
    where
        S: Clone,
    {
        *self = Self::new(self.service.clone());
    }

    /// A seat beside this one, for an attempt that runs at the same time.
    pub(crate) fn another(&self) -> Self
    where
        S: Clone,
    {
        Self::new(self.service.clone())
    }

    fn call<Req>(&mut self, request: Req) -> S::Future
    where
        S: Service<Req>,
    {
        debug_assert!(self.ready, "a service is called only after it said that it is ready");
        self.ready = false;
        self.service.call(request)
    }
}

/// The innermost policy: it readies the service, calls it and has the result judged.
#[derive(Clone, Copy, Debug, Default)]
pub struct Leaf<C = ByError> {
    classifier: C,
}

impl<C> Leaf<C> {
    pub(crate) const fn new(classifier: C) -> Self {
        Self { classifier }
    }
}

pin_project! {
    /// The pass of a [`Leaf`].
    #[derive(Debug)]
    pub struct LeafPass<F> {
        // There from when the service is called to when it has answered.
        #[pin]
        future: Option<F>,
    }
}

impl<C> sealed::Sealed for Leaf<C> {}

impl<C, S, Req> Lend<S, Req> for Leaf<C>
where
    S: Service<Req>,
{
    type Pass = LeafPass<S::Future>;

    fn pass(&self) -> Self::Pass {
        LeafPass { future: None }
    }

    fn begin(&self, _pass: Pin<&mut Self::Pass>, _parcel: &mut Parcel<Req>, _course: &mut Course) {}

    fn abandon(&self, _pass: Pin<&mut Self::Pass>, _course: &mut Course, _ending: Ending, _now: Instant) {}
}

impl<C, S, Req> Policy<S, Req> for Leaf<C>
where
    S: Service<Req>,
    S::Error: Into<BoxError>,
    C: Classify<S::Response>,
{
    type Response = S::Response;

    fn poll(
        &self,
        pass: Pin<&mut Self::Pass>,
        parcel: &mut Parcel<Req>,
        seat: &mut Seat<S>,
        cx: &mut Poller<'_, '_>,
    ) -> Poll<Answer<S::Response>> {
        let mut future = pass.project().future;
        cx.reach();
        let task = &mut *cx.task;
        let carried = Carried { lot: None, ..cx.course.call.without_reserve().carried() };
        let step = || {
            if future.is_none() {
                ready!(seat.poll_ready(task))?;
                future.set(Some(seat.call(parcel.take())));
            }
            let called = future.as_mut().as_pin_mut().expect("the service was called above or before");
            let result = ready!(called.poll(task)).map_err(Into::into);
            future.set(None);
            Poll::Ready(result)
        };
        let result = ready!(carried.enter(step));
        cx.reading = Reading::default();
        let class = self.classifier.classify(result.as_ref());
        Poll::Ready(Answer::judged(result, class))
    }

    fn poll_ready(&self, seat: &mut Seat<S>, cx: &mut Context<'_>) -> Poll<Result<(), BoxError>> {
        seat.poll_ready(cx)
    }
}

/// A tower service with policies in front of it: what every layer of the crate makes.
///
/// Clones share the policies and clone the service. The policies are borrowed by each call through one shared
/// pointer.
///
/// # Cancellation
///
/// Dropping a call's future at any point gives back all that the call holds (permits, places in a queue, probes) and is
/// told to the observers once.
pub struct Stack<P, S> {
    policy: Arc<P>,
    seat: Seat<S>,
}

impl<P, S> Stack<P, S> {
    pub(crate) fn new(policy: Arc<P>, service: S) -> Self {
        Self { policy, seat: Seat::new(service) }
    }

    /// Makes a call on a clone of the service, which gets ready inside the call's future.
    pub(crate) fn send<Req>(&self, request: Req) -> StackFuture<P, S, Req>
    where
        P: Policy<S, Req>,
        S: Clone,
    {
        StackFuture::new(Arc::clone(&self.policy), Seat::new(self.seat.service.clone()), request)
    }
}

impl<P, S: Clone> Clone for Stack<P, S> {
    /// The clone shares the policies; its service has yet to say that it is ready.
    fn clone(&self) -> Self {
        Self { policy: Arc::clone(&self.policy), seat: Seat::new(self.seat.service.clone()) }
    }
}

impl<P, S: fmt::Debug> fmt::Debug for Stack<P, S> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Stack").field("service", &self.seat.service).finish_non_exhaustive()
    }
}

impl<P, S, Req> Service<Req> for Stack<P, S>
where
    P: Policy<S, Req>,
    S: Clone,
{
    type Response = P::Response;
    type Error = BoxError;
    type Future = StackFuture<P, S, Req>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), BoxError>> {
        self.policy.poll_ready(&mut self.seat, cx)
    }

    fn call(&mut self, request: Req) -> Self::Future {
        let fresh = Seat::new(self.seat.service.clone());
        let seat = mem::replace(&mut self.seat, fresh);
        StackFuture::new(Arc::clone(&self.policy), seat, request)
    }
}

/// How far a call is.
enum Way {
    /// It was not polled, and nothing has happened. What the work carries that it was made in.
    Made(Carried),
    Begun(Course),
}

#[derive(Clone, Copy, Debug)]
enum State {
    /// Called, or between two polls.
    Waiting,
    /// Inside a poll; found by the drop only when that poll unwinds.
    Polling,
    /// The answer was given.
    Done,
}

pin_project! {
    /// The future of a [`Stack`].
    #[must_use = "futures do nothing unless polled"]
    pub struct StackFuture<P: Lend<S, Req>, S, Req> {
        policy: Arc<P>,
        seat: Seat<S>,
        state: State,
        way: Way,
        parcel: Parcel<Req>,
        #[pin]
        pass: P::Pass,
    }

    impl<P: Lend<S, Req>, S, Req> PinnedDrop for StackFuture<P, S, Req> {
        fn drop(this: Pin<&mut Self>) {
            let this = this.project();
            let ending = match this.state {
                State::Waiting => Ending::Cancelled,
                State::Polling => Ending::Panicked,
                State::Done => return,
            };
            if let Way::Begun(course) = this.way {
                this.policy.abandon(this.pass, course, ending, Instant::now());
            }
        }
    }
}

impl<P: Policy<S, Req>, S, Req> StackFuture<P, S, Req> {
    pub(crate) fn new(policy: Arc<P>, seat: Seat<S>, request: Req) -> Self {
        let pass = policy.pass();
        let (parcel, way) = (Parcel::new(request), Way::Made(Carried::current()));
        Self { policy, seat, state: State::Waiting, way, parcel, pass }
    }

    /// Whether a fault hook has done something to the call by now.
    #[cfg(feature = "idempotency")]
    pub(crate) fn is_injected(&self) -> bool {
        matches!(&self.way, Way::Begun(course) if course.injected)
    }

    /// Drives the call to its answer. `reached` becomes true when it gets as far as the service; while it never did, it had no
    /// effect.
    #[inline]
    pub(crate) fn poll_answer(
        self: Pin<&mut Self>,
        task: &mut Context<'_>,
        reached: &mut bool,
    ) -> Poll<Answer<P::Response>> {
        let mut this = self.project();
        assert!(!matches!(this.state, State::Done), "a future is not polled again once it is ready");
        *this.state = State::Polling;
        let mut now = None;
        if let Way::Made(made_in) = *this.way {
            // A call begins here: the time that its future lay around is neither its own nor the dependency's.
            let call = Call::begin(made_in.polled_in(Carried::current()));
            now = Some(call.started);
            *this.way = Way::Begun(Course::new(call));
            if let Way::Begun(course) = this.way {
                this.policy.begin(this.pass.as_mut(), this.parcel, course);
            }
        }
        let Way::Begun(course) = this.way else { unreachable!("it begins in the first poll") };
        let mut poller = Poller::new(task, course, now);
        let poll = this.policy.poll(this.pass, this.parcel, this.seat, &mut poller);
        *reached |= poller.reached();
        *this.state = if poll.is_ready() { State::Done } else { State::Waiting };
        poll
    }
}

impl<P: Policy<S, Req>, S, Req> Future for StackFuture<P, S, Req> {
    type Output = Result<P::Response, BoxError>;

    fn poll(self: Pin<&mut Self>, task: &mut Context<'_>) -> Poll<Self::Output> {
        match self.poll_answer(task, &mut false) {
            Poll::Ready(answer) => Poll::Ready(answer.result),
            Poll::Pending => Poll::Pending,
        }
    }
}

impl<P: Lend<S, Req>, S, Req> fmt::Debug for StackFuture<P, S, Req> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("StackFuture").field("state", &self.state).finish_non_exhaustive()
    }
}
