use std::{fmt, time::Duration};

use crate::policy::sealed::Sealed;

/// How long a request may take: a fixed time, or what a function of the request says.
#[diagnostic::on_unimplemented(
    message = "this timeout has no limit for a request of type `{Req}`",
    note = "the function that was given to `TimeoutLayer::per_request` takes another type"
)]
pub trait LimitOf<Req>: Sealed {
    /// The limit of this request.
    fn limit_of(&self, request: &Req) -> Duration;
}

impl Sealed for Duration {}

#[diagnostic::do_not_recommend]
impl<Req> LimitOf<Req> for Duration {
    fn limit_of(&self, _request: &Req) -> Duration {
        *self
    }
}

/// A limit that depends on the request; see [`TimeoutLayer::per_request`](super::TimeoutLayer::per_request).
#[derive(Clone, Copy)]
pub struct PerRequest<F>(pub(super) F);

impl<F> Sealed for PerRequest<F> {}

#[diagnostic::do_not_recommend]
impl<Req, F> LimitOf<Req> for PerRequest<F>
where
    F: Fn(&Req) -> Duration,
{
    fn limit_of(&self, request: &Req) -> Duration {
        self.0(request)
    }
}

impl<F> fmt::Debug for PerRequest<F> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("PerRequest").finish_non_exhaustive()
    }
}
