use std::{pin::Pin, task::Poll};

use tokio::time::Instant;

use super::{HedgePolicy, NoHedge, config::sealed::Choice};
use crate::{
    budget::RetryBudget,
    class::Ending,
    policy::{Course, Lend, Parcel, Policy, Poller, Seat, Slot},
};

impl Choice for NoHedge {
    type Pass<P, Req, S> = P;

    fn drawing_on(self, _: Option<RetryBudget>) -> Self {
        self
    }

    fn pass<I, S, Req>(policy: &HedgePolicy<Self, I>) -> I::Pass
    where
        I: Lend<S, Req>,
    {
        policy.inner.pass()
    }

    fn begin<I, S, Req>(
        policy: &HedgePolicy<Self, I>,
        pass: Pin<&mut I::Pass>,
        parcel: &mut Parcel<Req>,
        course: &mut Course,
    ) where
        I: Lend<S, Req>,
    {
        policy.inner.begin(pass, parcel, course);
    }

    fn abandon<I, S, Req>(
        policy: &HedgePolicy<Self, I>,
        pass: Pin<&mut I::Pass>,
        course: &mut Course,
        ending: Ending,
        now: Instant,
    ) where
        I: Lend<S, Req>,
    {
        policy.inner.abandon(pass, course, ending, now);
    }

    fn poll<I, S, Req>(
        policy: &HedgePolicy<Self, I>,
        pass: Pin<&mut I::Pass>,
        parcel: &mut Parcel<Req>,
        seat: &mut Seat<S>,
        cx: &mut Poller<'_, '_>,
        out: &mut Slot<I::Response>,
    ) -> Poll<()>
    where
        I: Policy<S, Req>,
    {
        policy.inner.poll(pass, parcel, seat, cx, out)
    }
}
