use std::{
    fmt,
    hash::{BuildHasher, Hash, RandomState},
    sync::Arc,
};

use http::Request;

use super::{KeyOf, Unkeyed};
use crate::{head::Head, policy::sealed::Sealed};

/// A quota or a share for each key of an HTTP request, or one for all.
#[derive(Clone, Default)]
pub struct ByHead {
    key: Option<Arc<HashOf>>,
}

/// Takes the key and hashes it.
type HashOf = dyn Fn(Head<'_>) -> u64 + Send + Sync;

impl ByHead {
    pub(crate) fn new<K: Hash>(key: impl Fn(Head<'_>) -> K + Send + Sync + 'static) -> Self {
        let hasher = RandomState::new();
        Self { key: Some(Arc::new(move |head| hasher.hash_one(key(head)))) }
    }
}

impl From<Unkeyed> for ByHead {
    fn from(_: Unkeyed) -> Self {
        Self::default()
    }
}

impl Sealed for ByHead {}

#[diagnostic::do_not_recommend]
impl<B> KeyOf<Request<B>> for ByHead {
    fn key_of(&self, request: &Request<B>) -> Option<u64> {
        self.key.as_ref().map(|key| key(Head::of(request)))
    }
}

impl fmt::Debug for ByHead {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ByHead").field("keyed", &self.key.is_some()).finish()
    }
}
