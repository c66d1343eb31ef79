use std::{
    marker::PhantomData,
    pin::Pin,
    task::{Context, Poll},
};

use tokio::time::Instant;

use super::{Answers, End, Failed, FallbackKind, Same};
use crate::{
    class::Ending,
    error::BoxError,
    observer::Observer,
    policy::{Course, Lend, Parcel, Policy, Poller, Seat, Slot, sealed::Sealed},
};

/// The policy of a [`FallbackLayer`](super::FallbackLayer): `F` answers, and `J` makes its responses and the
/// dependency's one type.
#[derive(Clone, Debug)]
pub struct FallbackPolicy<F, I, J = Same> {
    pub(super) fallback: F,
    pub(super) observer: Observer,
    pub(super) inner: I,
    _join: PhantomData<fn() -> J>,
}

impl<F, I, J> FallbackPolicy<F, I, J> {
    pub(crate) fn new(fallback: F, observer: Observer, inner: I) -> Self {
        Self { fallback, observer, inner, _join: PhantomData }
    }
}

impl<F, I, J> Sealed for FallbackPolicy<F, I, J> {}

impl<F, I, J, S, Req> Lend<S, Req> for FallbackPolicy<F, I, J>
where
    F: FallbackKind<Req>,
    I: Lend<S, Req>,
{
    type Pass = F::Pass<I::Pass>;

    fn pass(&self) -> Self::Pass {
        F::pass(self.inner.pass())
    }

    fn begin(&self, mut pass: Pin<&mut Self::Pass>, parcel: &mut Parcel<Req>, course: &mut Course) {
        self.fallback.begin(pass.as_mut(), parcel.request(), course);
        if let Some(inner) = F::inner(pass) {
            self.inner.begin(inner, parcel, course);
        }
    }

    fn abandon(&self, pass: Pin<&mut Self::Pass>, course: &mut Course, ending: Ending, now: Instant) {
        if let Some(inner) = F::inner(pass) {
            self.inner.abandon(inner, course, ending, now);
        }
    }
}

impl<F, I, J, S, Req> Policy<S, Req> for FallbackPolicy<F, I, J>
where
    F: Answers<Req, I::Response, J>,
    I: Policy<S, Req>,
{
    type Response = F::Response;

    fn poll(
        &self,
        pass: Pin<&mut Self::Pass>,
        parcel: &mut Parcel<Req>,
        seat: &mut Seat<S>,
        cx: &mut Poller<'_, '_>,
        out: &mut Slot<Self::Response>,
    ) -> Poll<()> {
        let inner = |inner: Pin<&mut I::Pass>, cx: &mut Poller<'_, '_>, out: &mut Slot<I::Response>| {
            self.inner.poll(inner, parcel, seat, cx, out)
        };
        drive(&self.fallback, pass, inner, &self.observer, cx, out)
    }

    fn poll_ready(&self, seat: &mut Seat<S>, cx: &mut Context<'_>) -> Poll<Result<(), BoxError>> {
        self.inner.poll_ready(seat, cx)
    }
}

/// Drives a call with this fallback to its answer.
pub(crate) fn drive<Req, T, J, F, P>(
    fallback: &F,
    pass: Pin<&mut F::Pass<P>>,
    inner: impl FnOnce(Pin<&mut P>, &mut Poller<'_, '_>, &mut Slot<T>) -> Poll<()>,
    observer: &Observer,
    cx: &mut Poller<'_, '_>,
    out: &mut Slot<F::Response>,
) -> Poll<()>
where
    F: Answers<Req, T, J>,
{
    let inner = |pass: Pin<&mut P>, cx: &mut Poller<'_, '_>, out: &mut Slot<T>| {
        inner(pass, cx, out).map(|()| {
            if fallback.is_wanted(out) { End::Failed(Failed::new(out.take())) } else { End::Stands }
        })
    };
    fallback.poll(pass, inner, observer, cx, out)
}
