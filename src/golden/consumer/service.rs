//! The stack of a consumer as the service that it is.

use std::{
    convert::Infallible,
    fmt,
    pin::Pin,
    task::{Context, Poll},
    time::Duration,
};

use futures::{FutureExt, future::Map};
use pin_project_lite::pin_project;
use tower::Service;

use crate::{
    bulkhead::BulkheadPolicy,
    fault::{ByClone, DuplicatePolicy, EnrolPolicy, FaultPolicy, Unseen},
    golden::{Handle, Off},
    messaging::{
        ByHandler, DeadLetter, DeadLetterPolicy, Delivery, DeliveryTelemetryPolicy, Handling, Marked, Rules,
        VerdictPolicy,
    },
    policy::{Leaf, Lend, Policy, Stack, StackFuture},
    retry::RetryPolicy,
    timeout::TimeoutPolicy,
};
#[cfg(feature = "idempotency")]
use crate::{
    idempotency::{IdempotencyHandle, IdempotencyLayer, Store},
    messaging::{KeyedMessagesPolicy, Messages},
    observer::Observer,
};

/// The layers of a consumer of messages `M`. `C` judges the results of its handler.
pub type ConsumerPolicy<M, K = Off, C = ByHandler> =
    DeliveryTelemetryPolicy<M, EnrolPolicy<FaultPolicy<Delivered<M, K, C>>, Unseen>>;
/// What stands inside the ingress of a consumer.
pub type Delivered<M, K, C> = DuplicatePolicy<
    DeadLetterPolicy<M, TimeoutPolicy<<K as MessagesKeyedOrNot<M>>::Policy<Handled<C>>>>,
    ByClone,
>;
/// What stands round the handler of a consumer.
pub type Handled<C> = BulkheadPolicy<RetryPolicy<FaultPolicy<Leaf<Marked<C>>>>>;

mod sealed {
    #[expect(unnameable_types, reason = "that is what seals the trait")]
    pub trait Sealed {}
}

/// Whether a consumer handles each message once, by its key.
pub trait MessagesKeyedOrNot<M>: sealed::Sealed + Sized {
    /// The policy that says what the end of a handler means.
    type Policy<I>;

    #[doc(hidden)]
    fn over<I>(self, delivering: Delivering<M>, inner: I) -> Self::Policy<I>;

    #[cfg(feature = "idempotency")]
    #[doc(hidden)]
    fn handle(&self, observer: Observer) -> Option<IdempotencyHandle>;
}

/// What is the same for all deliveries of a consumer.
#[cfg_attr(not(feature = "idempotency"), expect(dead_code, reason = "keys ask for more"))]
#[expect(unnameable_types, reason = "the trait whose methods take it is sealed")]
pub struct Delivering<M> {
    pub(super) limit: Duration,
    pub(super) rules: Rules<M>,
    pub(super) dead_letter: DeadLetter<M>,
}

impl sealed::Sealed for Off {}

#[diagnostic::do_not_recommend]
impl<M> MessagesKeyedOrNot<M> for Off {
    type Policy<I> = VerdictPolicy<M, I>;

    fn over<I>(self, delivering: Delivering<M>, inner: I) -> VerdictPolicy<M, I> {
        VerdictPolicy::new(delivering.rules, inner)
    }

    #[cfg(feature = "idempotency")]
    fn handle(&self, _observer: Observer) -> Option<IdempotencyHandle> {
        None
    }
}

#[cfg(feature = "idempotency")]
impl<M, St: Store> sealed::Sealed for IdempotencyLayer<St, Messages<M>> {}

#[cfg(feature = "idempotency")]
#[diagnostic::do_not_recommend]
impl<M, St: Store> MessagesKeyedOrNot<M> for IdempotencyLayer<St, Messages<M>> {
    type Policy<I> = KeyedMessagesPolicy<M, St, I>;

    fn over<I>(self, delivering: Delivering<M>, inner: I) -> KeyedMessagesPolicy<M, St, I> {
        let Delivering { limit, rules, dead_letter } = delivering;
        KeyedMessagesPolicy::new(&self, limit, rules, dead_letter, inner)
    }

    fn handle(&self, observer: Observer) -> Option<IdempotencyHandle> {
        Some(self.handle_over(observer))
    }
}

/// A handler of messages `M` with the golden path in front of it.
///
/// It is always ready, and clones share everything, so that a worker delivers through `&self`. It is a tower service as well,
/// which never fails.
pub struct Consumer<M, S, K: MessagesKeyedOrNot<M> = Off, C = ByHandler> {
    stack: Stack<ConsumerPolicy<M, K, C>, Handling<S>>,
    handle: Handle,
}

impl<M, S, K: MessagesKeyedOrNot<M>, C> Consumer<M, S, K, C> {
    pub(super) fn new(stack: Stack<ConsumerPolicy<M, K, C>, Handling<S>>, handle: Handle) -> Self {
        Self { stack, handle }
    }

    /// A grip on the running stack.
    pub fn handle(&self) -> &Handle {
        &self.handle
    }

    /// Delivers one message, and says what the queue is to be told.
    ///
    /// # Cancellation
    ///
    /// Dropping the future drops the handler, unless the message has a key: then it runs on. The queue has been told nothing, so
    /// the message comes again.
    pub fn deliver(&self, message: M) -> DeliveryFuture<M, S, K, C>
    where
        ConsumerPolicy<M, K, C>: Policy<Handling<S>, M, Response = Delivery>,
        S: Clone,
    {
        DeliveryFuture { call: self.stack.send(message) }
    }
}

impl<M, S: Clone, K: MessagesKeyedOrNot<M>, C> Clone for Consumer<M, S, K, C> {
    fn clone(&self) -> Self {
        Self { stack: self.stack.clone(), handle: self.handle.clone() }
    }
}

impl<M, S, K: MessagesKeyedOrNot<M>, C> fmt::Debug for Consumer<M, S, K, C> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Consumer").field("handle", &self.handle).finish_non_exhaustive()
    }
}

/// The future of a [`Consumer`] as a tower service.
pub type ConsumerFuture<M, S, K = Off, C = ByHandler> =
    Map<DeliveryFuture<M, S, K, C>, fn(Delivery) -> Result<Delivery, Infallible>>;

impl<M, S, K, C> Service<M> for Consumer<M, S, K, C>
where
    K: MessagesKeyedOrNot<M>,
    ConsumerPolicy<M, K, C>: Policy<Handling<S>, M, Response = Delivery>,
    S: Clone,
{
    type Response = Delivery;
    type Error = Infallible;
    type Future = ConsumerFuture<M, S, K, C>;

    /// Always ready: the handler's own readiness is awaited inside the delivery, under its deadline.
    fn poll_ready(&mut self, _cx: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, message: M) -> Self::Future {
        self.deliver(message).map(Ok)
    }
}

pin_project! {
    /// The future of [`Consumer::deliver`].
    #[must_use = "futures do nothing unless polled"]
    pub struct DeliveryFuture<M, S, K, C>
    where
        K: MessagesKeyedOrNot<M>,
        ConsumerPolicy<M, K, C>: Lend<Handling<S>, M>,
    {
        #[pin]
        call: StackFuture<ConsumerPolicy<M, K, C>, Handling<S>, M>,
    }
}

impl<M, S, K, C> Future for DeliveryFuture<M, S, K, C>
where
    K: MessagesKeyedOrNot<M>,
    ConsumerPolicy<M, K, C>: Policy<Handling<S>, M, Response = Delivery>,
{
    type Output = Delivery;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Delivery> {
        self.project()
            .call
            .poll(cx)
            .map(|result| result.expect("its telemetry makes a delivery of every end"))
    }
}

impl<M, S, K, C> fmt::Debug for DeliveryFuture<M, S, K, C>
where
    K: MessagesKeyedOrNot<M>,
    ConsumerPolicy<M, K, C>: Lend<Handling<S>, M>,
{
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("DeliveryFuture").field("call", &self.call).finish()
    }
}
