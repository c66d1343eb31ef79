//! seatbelt, whose services are such of its own trait, whose futures borrow them and are not boxed, and of tower, where each
//! layer boxes its own.

use std::{
    sync::{
        OnceLock,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use layered::{Service, Stack};
use seatbelt::{
    RecoveryInfo, ResilienceContext, breaker::Breaker, chaos::injection::Injection, fallback::Fallback,
    hedging::Hedging, retry::Retry, timeout::Timeout,
};
use tick::Clock;

use super::{FAR, HOUR};
use crate::work::{Failed, Inner, Request};

type Out = Result<u64, Failed>;

/// As on the [runtime](crate::clock::runtime), there is always a timer that ends earlier than those of the calls.
fn clock() -> &'static Clock {
    static CLOCK: OnceLock<Clock> = OnceLock::new();
    CLOCK.get_or_init(|| {
        let clock = Clock::new_tokio();
        let timers = clock.clone();
        tokio::spawn(async move {
            loop {
                timers.delay(Duration::from_secs(10)).await;
            }
        });
        clock
    })
}

fn context() -> ResilienceContext<Request, Out> {
    ResilienceContext::new(clock()).name("peers")
}

fn recovery(result: &Out) -> RecoveryInfo {
    if result.is_ok() { RecoveryInfo::never() } else { RecoveryInfo::retry() }
}

macro_rules! service {
    () => {
        impl Service<Request, Out = Out>
        + tower::Service<Request, Response = u64, Error = Failed>
        + Clone
        + 'static
    };
}

pub(super) fn timeout<T: 'static>(inner: Inner<T>) -> service!() {
    let layer = Timeout::layer("timeout", &context()).timeout_error(|_| Failed(1)).timeout(FAR);
    (layer, inner).into_service()
}

pub(super) fn retry<T: 'static>(inner: Inner<T>) -> service!() {
    let layer = Retry::layer("retry", &context()).clone_input().recovery_with(|result, _| recovery(result));
    (layer.max_retry_attempts(2), inner).into_service()
}

pub(super) fn breaker<T: 'static>(inner: Inner<T>) -> service!() {
    let layer = Breaker::layer("breaker", &context())
        .recovery_with(|result, _| recovery(result))
        .rejected_input_error(|_, _| Failed(2))
        .break_duration(HOUR);
    (layer, inner).into_service()
}

pub(super) fn fallback<T: 'static>(inner: Inner<T>) -> service!() {
    let layer = Fallback::layer("fallback", &context())
        .should_fallback(|result: &Out| result.is_err())
        .fallback(|_, _| Ok(0));
    (layer, inner).into_service()
}

/// It is armed by a word that can change at any time, as ours is.
pub(super) fn fault<T: 'static>(inner: Inner<T>) -> service!() {
    static ARMED: AtomicBool = AtomicBool::new(false);
    let layer = Injection::layer("injection", &context())
        .rate(1.0)
        .output_error(Failed(3))
        .enable_if(|_| ARMED.load(Ordering::Relaxed));
    (layer, inner).into_service()
}

pub(super) fn hedge<T: 'static>(inner: Inner<T>) -> service!() {
    let layer = Hedging::layer("hedging", &context())
        .clone_input()
        .recovery_with(|result, _| recovery(result))
        .hedging_delay(FAR);
    (layer, inner).into_service()
}

/// It has no bulkhead, and its retries no budget.
pub(super) fn stack<T: 'static>(inner: Inner<T>) -> service!() {
    let context = context();
    let fallback = Fallback::layer("fallback", &context)
        .should_fallback(|result: &Out| result.is_err())
        .fallback(|_, _| Ok(0));
    let retry = Retry::layer("retry", &context)
        .clone_input()
        .recovery_with(|result, _| recovery(result))
        .max_retry_attempts(2);
    let breaker = Breaker::layer("breaker", &context)
        .recovery_with(|result, _| recovery(result))
        .rejected_input_error(|_, _| Failed(2));
    let timeout = Timeout::layer("timeout", &context).timeout_error(|_| Failed(1)).timeout(FAR);
    (fallback, retry, breaker, timeout, inner).into_service()
}
