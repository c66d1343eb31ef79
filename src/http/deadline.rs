use std::{
    pin::Pin,
    task::{Context, Poll},
    time::Duration,
};

use http::{HeaderMap, HeaderName, HeaderValue, Request};
use pin_project_lite::pin_project;
use tokio::time::Instant;

use crate::{
    call::later,
    class::Ending,
    error::BoxError,
    event::Event,
    observer::Observer,
    policy::{Course, Lend, Parcel, Policy, Poller, Seat, Slot, sealed::Sealed},
};

/// The header that says how many milliseconds the caller will wait.
pub(crate) const REQUEST_TIMEOUT: HeaderName = HeaderName::from_static("x-request-timeout-ms");
const ENVOY_TIMEOUT: HeaderName = HeaderName::from_static("x-envoy-expected-rq-timeout-ms");

/// Reads the caller's deadline from the request; see the [module](super).
#[derive(Clone, Debug)]
pub struct DeadlineHeaderPolicy<I> {
    header: HeaderName,
    read: fn(&HeaderMap, &HeaderName) -> Patience,
    observer: Observer,
    inner: I,
}

impl<I> DeadlineHeaderPolicy<I> {
    pub(crate) fn new(header: HeaderName, observer: Observer, inner: I) -> Self {
        Self { header, read: Patience::read, observer, inner }
    }

    /// The same for a protocol that says it in another way.
    #[cfg(feature = "grpc")]
    pub(crate) fn reading(self, read: fn(&HeaderMap, &HeaderName) -> Patience) -> Self {
        Self { read, ..self }
    }
}

pin_project! {
    /// The pass of a [`DeadlineHeaderPolicy`].
    #[derive(Debug)]
    pub struct DeadlineHeaderPass<P> {
        malformed: bool,
        #[pin]
        inner: P,
    }
}

impl<I> Sealed for DeadlineHeaderPolicy<I> {}

impl<I, S, B> Lend<S, Request<B>> for DeadlineHeaderPolicy<I>
where
    I: Lend<S, Request<B>>,
{
    type Pass = DeadlineHeaderPass<I::Pass>;

    fn pass(&self) -> Self::Pass {
        DeadlineHeaderPass { malformed: false, inner: self.inner.pass() }
    }

    fn begin(&self, pass: Pin<&mut Self::Pass>, parcel: &mut Parcel<Request<B>>, course: &mut Course) {
        let (pass, call) = (pass.project(), &mut course.call);
        let Patience { limit, malformed } = (self.read)(parcel.request().headers(), &self.header);
        if let Some(limit) = limit {
            let patience = later(call.started(), limit);
            call.inherit(patience);
        }
        *pass.malformed = malformed;
        self.inner.begin(pass.inner, parcel, course);
    }

    fn abandon(&self, pass: Pin<&mut Self::Pass>, course: &mut Course, ending: Ending, now: Instant) {
        self.inner.abandon(pass.project().inner, course, ending, now);
    }
}

impl<I, S, B> Policy<S, Request<B>> for DeadlineHeaderPolicy<I>
where
    I: Policy<S, Request<B>>,
{
    type Response = I::Response;

    fn poll(
        &self,
        pass: Pin<&mut Self::Pass>,
        parcel: &mut Parcel<Request<B>>,
        seat: &mut Seat<S>,
        cx: &mut Poller<'_, '_>,
        out: &mut Slot<Self::Response>,
    ) -> Poll<()> {
        let pass = pass.project();
        if std::mem::take(pass.malformed) {
            self.observer.emit(Event::DeadlineMalformed);
        }
        self.inner.poll(pass.inner, parcel, seat, cx, out)
    }

    fn poll_ready(&self, seat: &mut Seat<S>, cx: &mut Context<'_>) -> Poll<Result<(), BoxError>> {
        self.inner.poll_ready(seat, cx)
    }
}

/// How long a caller says that it will wait.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct Patience {
    pub(crate) limit: Option<Duration>,
    pub(crate) malformed: bool,
}

impl Patience {
    pub(super) fn read(headers: &HeaderMap, own: &HeaderName) -> Self {
        let values = headers.get_all(own).iter().chain(headers.get_all(&ENVOY_TIMEOUT));
        Self::of(values, milliseconds)
    }

    /// The shortest of the limits that `parse` finds.
    pub(crate) fn of<'a>(
        values: impl Iterator<Item = &'a HeaderValue>,
        parse: impl Fn(&HeaderValue) -> Option<Duration>,
    ) -> Self {
        let mut patience = Self::default();
        for value in values {
            match parse(value) {
                Some(limit) => patience.limit = Some(patience.limit.map_or(limit, |least| least.min(limit))),
                None => patience.malformed = true,
            }
        }
        patience
    }
}

fn milliseconds(value: &HeaderValue) -> Option<Duration> {
    let text = value.to_str().ok()?;
    // `u64::from_str` takes a leading `+`, which no sender of this header writes.
    if !text.bytes().all(|byte| byte.is_ascii_digit()) {
        return None;
    }
    text.parse().ok().map(Duration::from_millis)
}
