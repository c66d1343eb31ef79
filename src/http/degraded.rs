use http::{HeaderMap, Response, StatusCode};

use super::AnswerBody;
use crate::{
    fallback::{FallbackPolicy, Join, Judged},
    policy::sealed::Sealed,
};

/// Stands in the extensions of a response that a fallback gave.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Degraded;

/// A fallback whose response may have another type of body than the transport's, and is marked as [`Degraded`].
pub type HttpFallbackPolicy<F, I> = FallbackPolicy<F, I, Bodies>;

/// The responses of a dependency and of its fallback differ in their bodies.
#[derive(Clone, Copy, Debug)]
#[non_exhaustive]
pub struct Bodies;

impl Sealed for Bodies {}
impl<B, FB> Join<Response<B>, Response<FB>> for Bodies {
    type Joined = Response<AnswerBody<B, FB>>;

    fn of_dependency(response: Response<B>) -> Self::Joined {
        response.map(AnswerBody::of_dependency)
    }

    fn of_fallback(mut response: Response<FB>) -> Self::Joined {
        response.extensions_mut().insert(Degraded);
        response.map(AnswerBody::of_fallback)
    }
}

impl<'a, B> Judged<'a, Response<B>> {
    /// The status of the response.
    pub fn status(&self) -> Option<StatusCode> {
        self.response().map(Response::status)
    }

    /// The header fields of the response.
    pub fn headers(&self) -> Option<&'a HeaderMap> {
        self.response().map(Response::headers)
    }
}
