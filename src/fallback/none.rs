use std::{
    pin::Pin,
    task::{Poll, ready},
};

use super::{Answers, End, FallbackKind, Kind};
use crate::{
    observer::Observer,
    policy::{Poller, Slot, sealed::Sealed},
};

/// No fallback, said aloud: a failure stays a failure.
#[derive(Clone, Copy, Debug)]
pub struct NoFallback;

impl Sealed for NoFallback {}
impl Kind for NoFallback {}

impl<Req> FallbackKind<Req> for NoFallback {
    type Pass<P> = P;

    fn pass<P>(inner: P) -> P {
        inner
    }

    fn inner<P>(pass: Pin<&mut P>) -> Option<Pin<&mut P>> {
        Some(pass)
    }
}

impl<Req, T, J> Answers<Req, T, J> for NoFallback {
    type Response = T;

    fn is_wanted(&self, _given: &Slot<T>) -> bool {
        false
    }

    fn poll<P>(
        &self,
        pass: Pin<&mut P>,
        inner: impl FnOnce(Pin<&mut P>, &mut Poller<'_, '_>, &mut Slot<T>) -> Poll<End<T>>,
        _observer: &Observer,
        cx: &mut Poller<'_, '_>,
        out: &mut Slot<T>,
    ) -> Poll<()> {
        match ready!(inner(pass, cx, out)) {
            End::Stands => Poll::Ready(()),
            End::Failed(failed) => out.put(failed.into_answer()),
        }
    }
}
