//! Whether a server runs each key once: a type parameter, because what a store and a handler that runs on ask of their types is
//! not to be asked of those who want neither.

use super::Off;
#[cfg(feature = "idempotency")]
use super::copies::ByReading;
#[cfg(feature = "idempotency")]
use crate::fault::DuplicatePolicy;
#[cfg(feature = "idempotency")]
use crate::idempotency::{
    IdempotencyHandle, IdempotencyLayer, IdempotencyPolicy, Store,
    http::{Http, KeyedBody},
};
use crate::{
    fault::{Faults, Heads},
    observer::Observer,
};

mod sealed {
    #[expect(unnameable_types, reason = "that is what seals the trait")]
    pub trait Sealed {}
}

/// Whether a server runs each `Idempotency-Key` once.
pub trait KeyedOrNot: sealed::Sealed + Sized {
    /// The policy that does so, round another.
    type Policy<I>;
    /// What becomes of the body of an answer.
    type Body<B>;
    /// What becomes of the body of a request.
    type Asked<B>;

    #[doc(hidden)]
    fn over<I>(self, observer: Observer, ingress: Ingress, inner: I) -> Self::Policy<I>;

    /// The same over gRPC.
    #[cfg(feature = "grpc")]
    #[doc(hidden)]
    fn over_grpc(self) -> Self;

    #[cfg(feature = "idempotency")]
    #[doc(hidden)]
    fn handle(&self, observer: Observer) -> Option<IdempotencyHandle>;
}

/// What faults are armed where calls come in, and how they look at requests.
#[cfg_attr(
    not(feature = "idempotency"),
    expect(dead_code, reason = "what has no key is not delivered twice")
)]
#[expect(unnameable_types, reason = "the trait whose methods take it is sealed")]
pub struct Ingress {
    pub(super) faults: Faults,
    pub(super) heads: Heads<()>,
}

impl sealed::Sealed for Off {}

/// Keys mean nothing to the server.
#[diagnostic::do_not_recommend]
impl KeyedOrNot for Off {
    type Policy<I> = I;
    type Body<B> = B;
    type Asked<B> = B;

    fn over<I>(self, _observer: Observer, _ingress: Ingress, inner: I) -> I {
        inner
    }

    #[cfg(feature = "grpc")]
    fn over_grpc(self) -> Self {
        self
    }

    #[cfg(feature = "idempotency")]
    fn handle(&self, _observer: Observer) -> Option<IdempotencyHandle> {
        None
    }
}

#[cfg(feature = "idempotency")]
impl<St: Store> sealed::Sealed for IdempotencyLayer<St> {}

#[cfg(feature = "idempotency")]
#[diagnostic::do_not_recommend]
impl<St: Store> KeyedOrNot for IdempotencyLayer<St> {
    type Policy<I> = DuplicatePolicy<IdempotencyPolicy<I, St, Http>, ByReading>;
    type Body<B> = KeyedBody<B>;
    type Asked<B> = KeyedBody<KeyedBody<B>>;

    fn over<I>(self, observer: Observer, ingress: Ingress, inner: I) -> Self::Policy<I> {
        let (_, face) = self.parts(observer.clone());
        let copies = ByReading::new(ingress.heads, Http::clone(&face));
        let inner = IdempotencyLayer::over(&self, observer.clone(), inner);
        DuplicatePolicy::new(ingress.faults, copies, observer, inner)
    }

    #[cfg(feature = "grpc")]
    fn over_grpc(self) -> Self {
        IdempotencyLayer::over_grpc(self)
    }

    fn handle(&self, observer: Observer) -> Option<IdempotencyHandle> {
        Some(self.handle_over(observer))
    }
}
