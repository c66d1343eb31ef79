//! What every layer of the crate is made of.
//!
//! A pattern (timeout, retry, circuit breaker, …) is a [`Policy`]: the state that all its calls share, which *lends
//! itself* to each call. What a policy keeps of one call is its *pass*, a plain value that the policy makes, polls and,
//! when the call is dropped, is told to abandon. A policy wraps the next one by value, and the innermost is the
//! [`Leaf`], which calls the service.
//!
//! What the policies of a stack share of a call they find in one place each, however many they are: the request, until
//! the service is called with it; the [`Seat`], which is the service; the [`Course`], which is what travels with the call;
//! and the [`Slot`] for its answer. Nothing of it is handed from policy to policy.
//!
//! ```text
//! Stack<P, S>                 the tower service:   one Arc of the policies, and the service
//!   └─ StackFuture            the call's future:   that Arc, the service's clone, request, course, the nested passes
//!        └─ P = RetryPolicy<CircuitBreakerPolicy<…<Leaf>>>
//! ```
//!
//! Compared with one tower service around the other, this gives a stack of any depth *one* future with *one* shared
//! pointer, whose drop is seen in exactly one place, one clock reading at most at each end of a call, and one verdict on each
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

mod answer;
mod course;
mod leaf;
#[cfg(all(feature = "http", feature = "otel"))]
mod lent;
#[cfg(not(all(feature = "http", feature = "otel")))]
#[path = "policy/no_lent.rs"]
mod lent;
mod poller;
mod stack;

use std::{
    pin::Pin,
    task::{Context, Poll},
};

use tokio::time::Instant;

#[cfg(feature = "http")]
pub(crate) use self::answer::outcome_of;
pub use self::{
    answer::{Answer, Slot},
    course::{Course, Parcel},
    leaf::{Leaf, LeafPass, Seat},
    poller::Poller,
    stack::{Stack, StackFuture},
};
use crate::{class::Ending, error::BoxError};

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

    /// Drives the call. Once it is ready, its answer is in `out`.
    fn poll(
        &self,
        pass: Pin<&mut Self::Pass>,
        parcel: &mut Parcel<Req>,
        seat: &mut Seat<S>,
        cx: &mut Poller<'_, '_>,
        out: &mut Slot<Self::Response>,
    ) -> Poll<()>;

    /// Whether a call may be made. Policies that can answer without the service are ready without it.
    ///
    /// # Errors
    ///
    /// The service's own, which tower reads as "broken for good".
    fn poll_ready(&self, seat: &mut Seat<S>, cx: &mut Context<'_>) -> Poll<Result<(), BoxError>>;
}
