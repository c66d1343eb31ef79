//! The service at the end of a stack, and the policy that calls it.

use std::{
    pin::Pin,
    task::{Context, Poll, ready},
};

use pin_project_lite::pin_project;
use tokio::time::Instant;
use tower::Service;

use super::{Answer, Course, Lend, Parcel, Policy, Poller, Slot, sealed::Sealed};
use crate::{
    class::{Class, Ending},
    classify::{ByError, Classify},
    error::BoxError,
};

/// A service and whether it said that it is ready for a call.
#[derive(Debug)]
pub struct Seat<S> {
    service: S,
    ready: bool,
}

impl<S> Seat<S> {
    pub(crate) fn new(service: S) -> Self {
        Self { service, ready: false }
    }

    /// Asks the service whether it is ready, and remembers that it was.
    fn poll_ready<Req>(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), S::Error>>
    where
        S: Service<Req>,
    {
        if !self.ready {
            ready!(self.service.poll_ready(cx))?;
            self.ready = true;
        }
        Poll::Ready(Ok(()))
    }

    /// Takes a fresh clone of the service for another attempt. What the old one held (a permit it had reserved, a
    /// place in a queue for one) goes with it, and an instance that failed to get ready is never asked again.
    pub(crate) fn renew(&mut self)
    where
        S: Clone,
    {
        *self = Self::new(self.service.clone());
    }

    /// A seat beside this one, for an attempt that runs at the same time.
    pub(crate) fn another(&self) -> Self
    where
        S: Clone,
    {
        Self::new(self.service.clone())
    }

    fn call<Req>(&mut self, request: Req) -> S::Future
    where
        S: Service<Req>,
    {
        debug_assert!(self.ready, "a service is called only after it said that it is ready");
        self.ready = false;
        self.service.call(request)
    }
}

/// The innermost policy: it readies the service, calls it and has the result judged.
#[derive(Clone, Copy, Debug, Default)]
pub struct Leaf<C = ByError> {
    classifier: C,
}

impl<C> Leaf<C> {
    pub(crate) const fn new(classifier: C) -> Self {
        Self { classifier }
    }
}

pin_project! {
    /// The pass of a [`Leaf`].
    #[derive(Debug)]
    pub struct LeafPass<F> {
        // There from when the service is called to when it has answered.
        #[pin]
        future: Option<F>,
    }
}

impl<C> Sealed for Leaf<C> {}

impl<C, S, Req> Lend<S, Req> for Leaf<C>
where
    S: Service<Req>,
{
    type Pass = LeafPass<S::Future>;

    fn pass(&self) -> Self::Pass {
        LeafPass { future: None }
    }

    fn begin(&self, _pass: Pin<&mut Self::Pass>, _parcel: &mut Parcel<Req>, _course: &mut Course) {}

    fn abandon(&self, _pass: Pin<&mut Self::Pass>, _course: &mut Course, _ending: Ending, _now: Instant) {}
}

impl<C, S, Req> Policy<S, Req> for Leaf<C>
where
    S: Service<Req>,
    S::Error: Into<BoxError>,
    C: Classify<S::Response>,
{
    type Response = S::Response;

    fn poll(
        &self,
        pass: Pin<&mut Self::Pass>,
        parcel: &mut Parcel<Req>,
        seat: &mut Seat<S>,
        cx: &mut Poller<'_, '_>,
        out: &mut Slot<S::Response>,
    ) -> Poll<()> {
        let mut future = pass.project().future;
        cx.reach();
        let task = &mut *cx.task;
        let carried = cx.course.call.carried_to_service();
        let step = || {
            if future.is_none() {
                ready!(seat.poll_ready(task))?;
                future.set(Some(seat.call(parcel.take())));
            }
            let called = future.as_mut().as_pin_mut().expect("the service was called above or before");
            let poll = called.poll(task);
            if poll.is_ready() {
                future.set(None);
            }
            poll
        };
        let poll = carried.enter(step);
        if poll.is_ready() {
            cx.answered();
        }
        // A response is judged where it lies: it may be large, and is moved once.
        let class = match &poll {
            Poll::Ready(Ok(response)) => self.classifier.classify(Ok(response)),
            Poll::Ready(Err(_)) | Poll::Pending => Class::Success,
        };
        match ready!(poll) {
            Ok(response) => out.put_judged(Ok(response), class, class.into()),
            Err(error) => {
                let result = Err(error.into());
                let class = self.classifier.classify(result.as_ref());
                out.put(Answer::judged(result, class))
            }
        }
    }

    fn poll_ready(&self, seat: &mut Seat<S>, cx: &mut Context<'_>) -> Poll<Result<(), BoxError>> {
        seat.poll_ready(cx).map_err(Into::into)
    }
}
