use std::{
    pin::Pin,
    task::{Context, Poll},
};

use http::{HeaderValue, Method, Request};
use tokio::time::Instant;

use crate::{
    class::Ending,
    error::BoxError,
    policy::{Course, Lend, Parcel, Policy, Poller, Seat, Slot, sealed::Sealed},
    random::unique,
    repeat::{IDEMPOTENCY_KEY, has_key},
};

/// Gives each call that would do harm if it were sent twice a key, so that the other side can tell; off by default.
///
/// It stands outside of the retries: one key a call, the same on every attempt.
#[derive(Clone, Debug)]
pub struct IdempotencyKeyPolicy<I> {
    enabled: bool,
    inner: I,
}

impl<I> IdempotencyKeyPolicy<I> {
    pub(crate) fn new(enabled: bool, inner: I) -> Self {
        Self { enabled, inner }
    }
}

impl<I> Sealed for IdempotencyKeyPolicy<I> {}

impl<I, S, B> Lend<S, Request<B>> for IdempotencyKeyPolicy<I>
where
    I: Lend<S, Request<B>>,
{
    type Pass = I::Pass;

    fn pass(&self) -> Self::Pass {
        self.inner.pass()
    }

    fn begin(&self, pass: Pin<&mut Self::Pass>, parcel: &mut Parcel<Request<B>>, course: &mut Course) {
        let request = parcel.request_mut();
        // The methods that the draft names. Of others nobody knows what a server makes of a key.
        let unsafe_method = matches!(*request.method(), Method::POST | Method::PATCH);
        if self.enabled && unsafe_method && !has_key(request) {
            request.headers_mut().insert(IDEMPOTENCY_KEY, key(unique()));
        }
        self.inner.begin(pass, parcel, course);
    }

    fn abandon(&self, pass: Pin<&mut Self::Pass>, course: &mut Course, ending: Ending, now: Instant) {
        self.inner.abandon(pass, course, ending, now);
    }
}

impl<I, S, B> Policy<S, Request<B>> for IdempotencyKeyPolicy<I>
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
        self.inner.poll(pass, parcel, seat, cx, out)
    }

    fn poll_ready(&self, seat: &mut Seat<S>, cx: &mut Context<'_>) -> Poll<Result<(), BoxError>> {
        self.inner.poll_ready(seat, cx)
    }
}

/// A UUID of version 4 (RFC 9562) as a string of structured fields (RFC 9651), which is how the draft writes a key.
fn key(random: u128) -> HeaderValue {
    let uuid = random & !(0xf << 76) & !(0b11 << 62) | 4 << 76 | 0b10 << 62;
    let part = |shift: u32, bits: u32| (uuid >> shift) & ((1 << bits) - 1);
    let text = format!(
        "\"{:08x}-{:04x}-{:04x}-{:04x}-{:012x}\"",
        part(96, 32),
        part(80, 16),
        part(64, 16),
        part(48, 16),
        part(0, 48)
    );
    HeaderValue::try_from(text).expect("hexadecimal digits, hyphens and quotes are visible")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_is_a_quoted_uuid_of_version_4() {
        assert_eq!(key(0), "\"00000000-0000-4000-8000-000000000000\"");
        assert_eq!(key(u128::MAX), "\"ffffffff-ffff-4fff-bfff-ffffffffffff\"");
        let counted = 0x0123_4567_89ab_cdef_0123_4567_89ab_cdef;
        assert_eq!(key(counted), "\"01234567-89ab-4def-8123-456789abcdef\"");
    }
}
