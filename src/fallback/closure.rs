use std::{
    pin::Pin,
    task::{Poll, ready},
};

use super::{Answers, End, FallbackKind, Join, Kind, Why};
use crate::{
    error::BoxError,
    observer::Observer,
    policy::{Poller, Slot, sealed::Sealed},
};

/// A fallback that a closure answers.
#[derive(Clone, Copy, Debug)]
pub struct Answering<G>(pub(crate) G);

impl<G> Sealed for Answering<G> {}
impl<G> Kind for Answering<G> {}

impl<G, Req> FallbackKind<Req> for Answering<G> {
    type Pass<P> = P;

    fn pass<P>(inner: P) -> P {
        inner
    }

    fn inner<P>(pass: Pin<&mut P>) -> Option<Pin<&mut P>> {
        Some(pass)
    }
}

impl<G, Req, T, U, J> Answers<Req, T, J> for Answering<G>
where
    G: Fn(Why) -> Result<U, BoxError>,
    J: Join<T, U>,
{
    type Response = J::Joined;

    fn poll<P>(
        &self,
        pass: Pin<&mut P>,
        inner: impl FnOnce(Pin<&mut P>, &mut Poller<'_, '_>, &mut Slot<T>) -> Poll<End<T>>,
        observer: &Observer,
        cx: &mut Poller<'_, '_>,
        out: &mut Slot<J::Joined>,
    ) -> Poll<()> {
        match ready!(J::poll_into(out, |slot| inner(pass, cx, slot))) {
            End::Stands => Poll::Ready(()),
            End::Failed(failed) => {
                let (why, verdict) = failed.into_why();
                out.put(verdict.replaced((self.0)(why), observer).map(J::of_fallback))
            }
        }
    }
}
