use std::{fmt, pin::Pin, task::Poll, time::Duration};

use pin_project_lite::pin_project;
use tower::{Service, util::Oneshot};

use super::{Answers, AsyncPass, End, Failed, FallbackKind, Join, Kind};
use crate::{
    error::BoxError,
    observer::Observer,
    policy::{Course, Poller, Slot, sealed::Sealed},
    repeat::Repeat,
};

/// A fallback that another service answers, with a copy of the request.
#[derive(Clone)]
pub struct AnsweringByService<S> {
    service: S,
    limit: Option<Duration>,
}

impl<S> AnsweringByService<S> {
    pub(crate) fn new(service: S) -> Self {
        Self { service, limit: None }
    }
}

impl<S> Sealed for AnsweringByService<S> {}
impl<S> Kind for AnsweringByService<S> {
    fn within(self, limit: Duration) -> Self {
        Self { limit: Some(limit), ..self }
    }
}

impl<S, Req> FallbackKind<Req> for AnsweringByService<S>
where
    S: Service<Req>,
    Req: Repeat,
{
    type Pass<P> = ServicePass<P, S, Req>;

    fn pass<P>(inner: P) -> Self::Pass<P> {
        ServicePass { copy: None, inner: AsyncPass::new(inner) }
    }

    fn begin<P>(&self, pass: Pin<&mut Self::Pass<P>>, request: &Req, course: &mut Course) {
        let pass = pass.project();
        *pass.copy = request.again();
        pass.inner.begin(self.limit, course);
    }

    fn inner<P>(pass: Pin<&mut Self::Pass<P>>) -> Option<Pin<&mut P>> {
        pass.project().inner.inner()
    }
}

impl<S, Req, T, J> Answers<Req, T, J> for AnsweringByService<S>
where
    S: Service<Req, Error: Into<BoxError>> + Clone,
    Req: Repeat,
    J: Join<T, S::Response>,
{
    type Response = J::Joined;

    fn poll<P>(
        &self,
        pass: Pin<&mut Self::Pass<P>>,
        inner: impl FnOnce(Pin<&mut P>, &mut Poller<'_, '_>, &mut Slot<T>) -> Poll<End<T>>,
        observer: &Observer,
        cx: &mut Poller<'_, '_>,
        out: &mut Slot<J::Joined>,
    ) -> Poll<()> {
        let pass = pass.project();
        let ask = |failed: Failed<T>| {
            // A copy of the copy: of a body that was recorded, only the newest copy may read on.
            let again = pass.copy.take().and_then(|copy| copy.again()).filter(Repeat::still_repeatable);
            let Some(request) = again else { return Err(failed.into_answer()) };
            let (_, verdict) = failed.into_why();
            Ok((Oneshot::new(self.service.clone(), request), verdict))
        };
        pass.inner.poll::<_, _, _, J>(inner, ask, observer, cx, out)
    }
}

impl<S> fmt::Debug for AnsweringByService<S> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("AnsweringByService").field("limit", &self.limit).finish_non_exhaustive()
    }
}

pin_project! {
    /// The pass of a fallback that another service answers.
    pub struct ServicePass<P, S, Req>
    where
        S: Service<Req>,
    {
        copy: Option<Req>,
        #[pin]
        inner: AsyncPass<P, Oneshot<S, Req>>,
    }
}

impl<P, S: Service<Req>, Req> fmt::Debug for ServicePass<P, S, Req> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ServicePass").finish_non_exhaustive()
    }
}
