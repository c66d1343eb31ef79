//! The key of a request, by which a layer keeps requests apart.

#[cfg(feature = "http")]
mod by_head;

use std::{
    fmt,
    hash::{BuildHasher, Hash, RandomState},
    sync::Arc,
};

#[cfg(feature = "http")]
pub use by_head::ByHead;

use crate::policy::sealed::Sealed;

/// Whose quota or share a request draws on: everybody's, or that of a key.
#[diagnostic::on_unimplemented(
    message = "this layer has no key for a request of type `{Req}`",
    note = "the function that takes the key takes another type"
)]
pub trait KeyOf<Req>: Sealed {
    /// The hash of the request's key; `None` draws on what all share.
    fn key_of(&self, request: &Req) -> Option<u64>;
}

/// One quota, or one set of places, for all calls.
#[derive(Clone, Copy, Debug, Default)]
pub struct Unkeyed;

impl Sealed for Unkeyed {}

#[diagnostic::do_not_recommend]
impl<Req> KeyOf<Req> for Unkeyed {
    fn key_of(&self, _request: &Req) -> Option<u64> {
        None
    }
}

/// A quota or a share for each key that a function takes from the request.
pub struct KeyedBy<F> {
    key: Arc<F>,
    /// Its keys are drawn by the standard library: nobody outside can make two keys collide on purpose.
    hasher: RandomState,
}

impl<F> KeyedBy<F> {
    pub(crate) fn new(key: F) -> Self {
        Self { key: Arc::new(key), hasher: RandomState::new() }
    }
}

impl<F> Clone for KeyedBy<F> {
    fn clone(&self) -> Self {
        Self { key: Arc::clone(&self.key), hasher: self.hasher.clone() }
    }
}

impl<F> Sealed for KeyedBy<F> {}

#[diagnostic::do_not_recommend]
impl<Req, K, F> KeyOf<Req> for KeyedBy<F>
where
    F: Fn(&Req) -> K,
    K: Hash,
{
    fn key_of(&self, request: &Req) -> Option<u64> {
        Some(self.hasher.hash_one((self.key)(request)))
    }
}

impl<F> fmt::Debug for KeyedBy<F> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("KeyedBy").finish_non_exhaustive()
    }
}
