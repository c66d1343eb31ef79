//! What the policies of a stack share of a call.

use super::lent::Lent;
use crate::{call::Call, trial::Enrolled};

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
    /// The span of its request.
    #[cfg_attr(not(all(feature = "http", feature = "otel")), expect(dead_code, reason = "nobody makes one"))]
    pub(crate) span: Lent,
}

impl Course {
    pub(crate) fn new(call: Call) -> Self {
        Self { call, enrolled: Enrolled::default(), injected: false, span: Lent::default() }
    }
}
