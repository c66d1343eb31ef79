use std::{fmt, sync::Arc};

use http::Request;

use super::{Caller, Look, Subject, Tenant};
use crate::{
    classify::ByStatus,
    head::{Head, RouteOf},
    policy::sealed::Sealed,
    repeat::IDEMPOTENCY_KEY,
};

/// Requests of HTTP, or of a protocol over it.
///
/// `C` judges the answers that a fault altered.
#[derive(Clone)]
pub struct Heads<C = ByStatus> {
    route_of: Option<Arc<RouteOf>>,
    pub(super) classifier: C,
}

impl<C> Heads<C> {
    pub(crate) fn new(classifier: C) -> Self {
        Self { route_of: None, classifier }
    }

    /// Those of a server whose routes this finds.
    pub(crate) fn routed(self, route_of: Option<Arc<RouteOf>>) -> Self {
        Self { route_of, ..self }
    }
}

impl<C> fmt::Debug for Heads<C> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Heads").finish_non_exhaustive()
    }
}

impl<C> Sealed for Heads<C> {}

impl<B, C> Look<Request<B>> for Heads<C> {
    fn look<T>(&self, request: &Request<B>, see: impl FnOnce(&dyn Subject) -> T) -> T {
        see(&Seen { head: Head::of(request), route_of: self.route_of.as_deref() })
    }
}

struct Seen<'a> {
    head: Head<'a>,
    route_of: Option<&'a RouteOf>,
}

impl Sealed for Seen<'_> {}

impl Subject for Seen<'_> {
    fn method(&self) -> Option<&str> {
        Some(self.head.method.as_str())
    }

    fn route(&self) -> Option<&str> {
        self.head.route(self.route_of)
    }

    fn path(&self) -> Option<&str> {
        Some(self.head.uri.path())
    }

    fn header(&self, name: &str) -> Option<&[u8]> {
        self.head.headers.get(name).map(http::HeaderValue::as_bytes)
    }

    fn caller(&self) -> Option<&str> {
        self.head.extensions.get::<Caller>().map(|caller| &*caller.0)
    }

    fn tenant(&self) -> Option<&str> {
        self.head.extensions.get::<Tenant>().map(|tenant| &*tenant.0)
    }

    fn is_delicate(&self) -> bool {
        // An empty one keeps nothing from happening twice.
        let has_key = self.head.headers.get(IDEMPOTENCY_KEY).is_some_and(|key| !key.is_empty());
        !self.head.method.is_safe() && !has_key
    }
}
