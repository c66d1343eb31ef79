use std::{
    mem,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll, ready},
    time::Duration,
};

use http::{HeaderMap, HeaderName, HeaderValue, Request, Response, StatusCode, header::Entry};
use pin_project_lite::pin_project;
use tokio::time::Instant;

use super::{
    deadline::{Patience, REQUEST_TIMEOUT},
    priority::REQUEST_PRIORITY,
    telemetry::inject,
};
use crate::{
    call::Call,
    class::{Class, Ending},
    classify::retry_after,
    error::BoxError,
    policy::{Course, Lend, Parcel, Policy, Poller, Seat, Slot, sealed::Sealed},
    repeat::has_key,
};

/// Which attempt a request is. Envoy's name, because no RFC has one and meshes already read, log and set this.
const ATTEMPT: HeaderName = HeaderName::from_static("x-envoy-attempt-count");

/// Which headers an attempt carries.
#[derive(Clone, Debug)]
pub(crate) struct WireHeaders {
    pub(crate) enabled: bool,
    /// The name of the remaining time.
    pub(crate) deadline: HeaderName,
    /// The only hosts that are told of the trace, if not all are.
    pub(crate) trace_hosts: Option<Arc<[String]>>,
    format: Format,
    in_progress: InProgress,
}

/// Writes what a protocol says on an attempt; the name is that of the remaining time.
type Format = fn(&HeaderName, &Call, Instant, &mut HeaderMap);

/// Says that an answer to a request with a key means: an earlier one is still being worked on, come back then.
type InProgress = fn(StatusCode, &HeaderMap) -> Option<Class>;

impl Default for WireHeaders {
    fn default() -> Self {
        Self {
            enabled: true,
            deadline: REQUEST_TIMEOUT,
            trace_hosts: None,
            format: milliseconds_and_count,
            in_progress,
        }
    }
}

impl WireHeaders {
    /// The same for a protocol that says it in another way.
    #[cfg(feature = "grpc")]
    pub(crate) fn of_protocol(self, deadline: HeaderName, format: Format, in_progress: InProgress) -> Self {
        Self { deadline, format, in_progress, ..self }
    }

    fn trusts(&self, host: Option<&str>) -> bool {
        self.trace_hosts.as_ref().is_none_or(|hosts| {
            host.is_some_and(|host| hosts.iter().any(|trusted| trusted.eq_ignore_ascii_case(host)))
        })
    }

    fn write(&self, call: &Call, now: Instant, headers: &mut HeaderMap) {
        (self.format)(&self.deadline, call, now, headers);
        if let (Some(priority), Entry::Vacant(entry)) = (call.priority, headers.entry(REQUEST_PRIORITY)) {
            entry.insert(HeaderValue::from_static(priority.as_str()));
        }
    }
}

fn milliseconds_and_count(name: &HeaderName, call: &Call, now: Instant, headers: &mut HeaderMap) {
    if let Some(deadline) = call.deadline {
        let left = whole_milliseconds(deadline.saturating_duration_since(now));
        let asked = Patience::read(headers, name).limit.map(whole_milliseconds);
        let value = asked.map_or(left, |asked| asked.min(left));
        headers.insert(name.clone(), HeaderValue::from(value));
    }
    if call.attempt > 1 {
        headers.insert(ATTEMPT, HeaderValue::from(call.attempt));
    }
}

/// Rounded down, so that nobody further in works past the deadline, and at least 1, because zero reads as "no limit" in
/// more than one server.
fn whole_milliseconds(left: Duration) -> u64 {
    u64::try_from(left.as_millis()).unwrap_or(u64::MAX).max(1)
}

/// Writes on each attempt of an HTTP or gRPC client what the other side should know; see the [module](super). It also
/// judges the one answer that only the request explains: to a request with an `Idempotency-Key`, that an earlier one is
/// still being worked on. Over HTTP that is 409 with `Retry-After`, over gRPC `ABORTED` with a pushback.
///
/// The headers are written when the attempt is first polled, after any wait for a place, so that they say what is left
/// then. The request that the retry layer copies does not carry them.
#[derive(Clone, Debug)]
pub struct WireHeadersPolicy<I> {
    headers: WireHeaders,
    inner: I,
}

impl<I> WireHeadersPolicy<I> {
    pub(crate) fn new(headers: WireHeaders, inner: I) -> Self {
        Self { headers, inner }
    }
}

pin_project! {
    /// The pass of a [`WireHeadersPolicy`].
    #[derive(Debug)]
    pub struct WireHeadersPass<P> {
        keyed: bool,
        // From the first poll on. What is further in begins then.
        written: bool,
        #[pin]
        inner: P,
    }
}

impl<I> Sealed for WireHeadersPolicy<I> {}

impl<I, S, B> Lend<S, Request<B>> for WireHeadersPolicy<I>
where
    I: Lend<S, Request<B>>,
{
    type Pass = WireHeadersPass<I::Pass>;

    fn pass(&self) -> Self::Pass {
        WireHeadersPass { keyed: false, written: false, inner: self.inner.pass() }
    }

    fn begin(&self, pass: Pin<&mut Self::Pass>, parcel: &mut Parcel<Request<B>>, _course: &mut Course) {
        *pass.project().keyed = has_key(parcel.request());
    }

    fn abandon(&self, pass: Pin<&mut Self::Pass>, course: &mut Course, ending: Ending, now: Instant) {
        self.inner.abandon(pass.project().inner, course, ending, now);
    }
}

impl<I, S, B, RB> Policy<S, Request<B>> for WireHeadersPolicy<I>
where
    I: Policy<S, Request<B>, Response = Response<RB>>,
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
        let mut pass = pass.project();
        if !mem::replace(pass.written, true) {
            if self.headers.enabled {
                let (now, request) = (cx.now(), parcel.request_mut());
                self.headers.write(&cx.course.call, now, request.headers_mut());
                if self.headers.trusts(request.uri().host()) {
                    inject(request.headers_mut());
                }
            }
            self.inner.begin(pass.inner.as_mut(), parcel, cx.course);
        }
        ready!(self.inner.poll(pass.inner, parcel, seat, cx, out));
        if let (true, Ok(response)) = (*pass.keyed, out.result()) {
            if let Some(class) = (self.headers.in_progress)(response.status(), response.headers()) {
                out.judge(class, class.into());
            }
        }
        Poll::Ready(())
    }

    fn poll_ready(&self, seat: &mut Seat<S>, cx: &mut Context<'_>) -> Poll<Result<(), BoxError>> {
        self.inner.poll_ready(seat, cx)
    }
}

fn in_progress(status: StatusCode, headers: &HeaderMap) -> Option<Class> {
    if status != StatusCode::CONFLICT {
        return None;
    }
    let wait = retry_after(headers)?;
    Some(Class::Transient { retry_after: Some(wait) })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Priority, call::Carried};

    const MS: Duration = Duration::from_millis(1);

    fn written(attempt: u32, left: Option<Duration>, already: &[&'static str]) -> HeaderMap {
        let now = Instant::now();
        let mut call = Call::new(Carried::default());
        call.attempt = attempt;
        call.deadline = left.map(|left| now + left);
        let mut headers = HeaderMap::new();
        for value in already {
            headers.append(REQUEST_TIMEOUT, HeaderValue::from_static(value));
        }
        WireHeaders::default().write(&call, now, &mut headers);
        headers
    }

    fn limit(headers: &HeaderMap) -> Option<&str> {
        let value = headers.get(REQUEST_TIMEOUT);
        assert!(headers.get_all(REQUEST_TIMEOUT).iter().count() <= 1);
        value.map(|value| value.to_str().expect("digits"))
    }

    #[test]
    fn what_is_left_is_rounded_down_and_never_below_one() {
        for (left, expected) in [
            (Duration::from_micros(299_999), "299"),
            (300 * MS, "300"),
            (Duration::from_micros(999), "1"),
            (Duration::ZERO, "1"),
        ] {
            assert_eq!(limit(&written(1, Some(left), &[])), Some(expected), "{left:?}");
        }
        assert_eq!(limit(&written(1, None, &[])), None);
    }

    #[test]
    fn a_shorter_limit_that_the_request_carries_stays_and_everything_else_is_replaced() {
        for (already, expected) in [
            (&["20"][..], "20"),
            (&["900"], "300"),
            (&["900", "20", "400"], "20"),
            (&["soon"], "300"),
            (&["0"], "1"),
        ] {
            assert_eq!(limit(&written(1, Some(300 * MS), already)), Some(expected), "{already:?}");
        }
    }

    #[test]
    fn a_priority_is_written_where_there_is_one_and_one_of_the_requests_own_stays() {
        let mut call = Call::new(Carried::default());
        let mut headers = HeaderMap::new();
        WireHeaders::default().write(&call, Instant::now(), &mut headers);
        assert_eq!(headers.get(REQUEST_PRIORITY), None);
        for (priority, written) in [(Priority::Sheddable, "sheddable"), (Priority::Critical, "sheddable")] {
            call.priority = Some(priority);
            WireHeaders::default().write(&call, Instant::now(), &mut headers);
            assert_eq!(headers.get(REQUEST_PRIORITY), Some(&HeaderValue::from_static(written)));
        }
    }

    #[test]
    fn only_later_attempts_say_which_they_are() {
        assert_eq!(written(1, None, &[]).get(ATTEMPT), None);
        assert_eq!(written(2, None, &[]).get(ATTEMPT), Some(&HeaderValue::from_static("2")));
    }
}
