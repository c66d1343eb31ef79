use std::{pin::Pin, task::Poll};

use super::{Answers, End, FallbackKind, Kind};
use crate::{
    observer::Observer,
    policy::{Answer, Poller, sealed::Sealed},
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

    fn is_wanted(&self, _answer: &Answer<T>) -> bool {
        false
    }

    fn poll<P>(
        &self,
        pass: Pin<&mut P>,
        inner: impl FnOnce(Pin<&mut P>, &mut Poller<'_, '_>) -> Poll<End<T>>,
        _observer: &Observer,
        cx: &mut Poller<'_, '_>,
    ) -> Poll<Answer<T>> {
        inner(pass, cx).map(|end| match end {
            End::Stands(answer) => answer,
            End::Failed(failed) => failed.into_answer(),
        })
    }
}
