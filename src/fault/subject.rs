use std::sync::{Arc, OnceLock};

use crate::policy::sealed::Sealed;

/// Who calls, as an extension of a request: set by what authenticates callers, for [`Target::Caller`](super::Target::Caller).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Caller(pub Arc<str>);

/// For whom a call is made, as an extension of a request, for [`Target::Tenant`](super::Target::Tenant).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Tenant(pub Arc<str>);

/// What a fault hook can know of a request.
pub trait Subject: Sealed {
    /// The method.
    fn method(&self) -> Option<&str> {
        None
    }

    /// The path of the target.
    fn path(&self) -> Option<&str> {
        None
    }

    /// The route that the server's router matched.
    fn route(&self) -> Option<&str> {
        None
    }

    /// The value of a header; of several, the first.
    fn header(&self, name: &str) -> Option<&[u8]> {
        _ = name;
        None
    }

    /// Who calls.
    fn caller(&self) -> Option<&str> {
        None
    }

    /// For whom.
    fn tenant(&self) -> Option<&str> {
        None
    }

    /// Whether it may have effects that nothing keeps from happening twice: its method is not safe (RFC 9110, section 9.2.1), and
    /// it has no idempotency key.
    fn is_delicate(&self) -> bool {
        false
    }
}

/// How a fault hook looks at a request.
pub trait Look<Req>: Sealed {
    /// Shows `request` to `see`.
    fn look<T>(&self, request: &Req, see: impl FnOnce(&dyn Subject) -> T) -> T;
}

/// Requests of which nothing is known.
#[derive(Clone, Copy, Debug, Default)]
pub struct Unseen;

impl Sealed for Unseen {}

impl Subject for Unseen {}

impl<Req> Look<Req> for Unseen {
    fn look<T>(&self, _request: &Req, see: impl FnOnce(&dyn Subject) -> T) -> T {
        see(self)
    }
}

static INSTANCE: OnceLock<Box<str>> = OnceLock::new();

/// Names this process, for [`Target::Instance`](super::Target::Instance): a pod, a host. By default it is what the environment
/// variable `HOSTNAME` says when it is first asked for.
///
/// Returns false where the process had its name already: it keeps that.
pub fn name_instance(name: &str) -> bool {
    INSTANCE.set(name.into()).is_ok()
}

pub(super) fn instance() -> &'static str {
    INSTANCE.get_or_init(|| std::env::var("HOSTNAME").unwrap_or_default().into())
}
