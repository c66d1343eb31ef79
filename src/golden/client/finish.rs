//! From what a builder was told to the stack: the layers in their order, and what each kind of service adds.

use std::{convert::identity, sync::Arc, time::Duration};

use super::{ClientBuilder, Settings};
use crate::golden::{
    Calls, Client, Closure, DeclinesFallback, Handle, HasFallback, HasOneTimeout, HasTimeout, OrPolicy,
    handle::{Parts, observer},
};
use crate::{
    bulkhead::BulkheadPolicy,
    circuit_breaker::{CircuitBreakerLayer, CircuitBreakerPolicy},
    classify::ByError,
    error::Reason,
    fallback::FallbackPolicy,
    fault::{EnrolPolicy, FaultPolicy, Unseen},
    hedge::{HedgeChoice, HedgePolicy, NoHedge},
    load_shed::ThrottlePolicy,
    observer::Observer,
    policy::{Leaf, Stack},
    registry::Profile,
    retry::{RetryLayer, RetryPolicy},
    telemetry::{AttemptTelemetryPolicy, CallTelemetryPolicy, Side},
    timeout::{DeadlinePolicy, TimeoutPolicy},
};
#[cfg(feature = "http")]
use crate::{
    classify::ByStatus,
    fault::{FaultBody, Heads},
    http::{
        AnswerBody, BodyBulkheadPolicy, BodyLimits, BodyTimeoutPolicy, HeldBody, Http, HttpFallbackPolicy,
        HttpTelemetryPolicy, IdempotencyKeyPolicy, Part, StaleBody, Teller, TimedBody, ToldBody, WireHeaders,
        WireHeadersPolicy,
    },
    timeout::{LimitByHead, LimitByHeadPolicy},
};

/// What stands innermost, before the transport; `L` is how faults look at its requests.
pub type Innermost<C, L = Unseen> = FaultPolicy<Leaf<C>, L>;
/// What stands inside the bulkhead of a client, round the limit of an attempt.
pub type Admitted<I> = AttemptTelemetryPolicy<I>;
/// What stands round each attempt of a client; `B` is its bulkhead.
pub type AttemptPolicy<B> = CircuitBreakerPolicy<ThrottlePolicy<RateLimited<B>>>;
/// What stands inside the rate limit of a client.
#[cfg(feature = "rate-limit")]
pub type RateLimited<I> = crate::rate_limit::RateLimitPolicy<I>;
/// What stands where feature `rate-limit` puts the rate limit of a client: nothing.
#[cfg(not(feature = "rate-limit"))]
pub type RateLimited<I> = I;
/// What stands inside the fallback of a client; `B` is its bulkhead, `L` how faults look at its requests.
pub type Attempts<B, H = NoHedge, L = Unseen> =
    DeadlinePolicy<EnrolPolicy<RetryPolicy<HedgePolicy<H, AttemptPolicy<B>>>, L>>;
/// The attempts of a client for any service.
pub type PlainAttempts<C, H = NoHedge> = Attempts<BulkheadPolicy<Admitted<TimeoutPolicy<Innermost<C>>>>, H>;
/// The layers of a client for any service.
pub type ClientPolicy<F, C = ByError, H = NoHedge> =
    CallTelemetryPolicy<FallbackPolicy<F, PlainAttempts<C, H>>>;
/// The layers of a client for HTTP.
#[cfg(feature = "http")]
pub type HttpClientPolicy<F, H = NoHedge> =
    HttpTelemetryPolicy<LimitByHeadPolicy<HttpFallbackPolicy<F, BodyTimeoutPolicy<HttpAttempts<H>>>>>;
/// The body of an answer to a client for HTTP without a fallback, whose transport's are `B`: what the builder says of
/// bodies, done to it.
#[cfg(feature = "http")]
pub type ClientBody<B> = ToldBody<AttemptBody<B>>;
/// The body of an answer to a client for HTTP, whose transport's are `B`, and its fallback's `FB`.
#[cfg(feature = "http")]
pub type ClientBodyOr<B, FB> = ToldBody<AnswerBody<AttemptBody<B>, FB>>;
/// The body of an answer to a client for HTTP with a [stale cache](ClientBuilder::stale_cache), whose transport's are `B`.
#[cfg(feature = "http")]
pub type ClientBodyOrStale<B> = ToldBody<StaleBody<AttemptBody<B>>>;
/// The body of an answer as it comes to the fallback of a client.
#[cfg(feature = "http")]
pub type AttemptBody<B> = TimedBody<HeldBody<ToldBody<FaultBody<B>>>>;
/// What stands inside the limits on the body of a client for HTTP.
#[cfg(feature = "http")]
pub type HttpAttempts<H = NoHedge> =
    IdempotencyKeyPolicy<WiredAttempts<HttpTelemetryPolicy<Wired<ByStatus>>, H>>;
/// The attempts of a protocol over HTTP; `A` is one of them.
#[cfg(feature = "http")]
pub type WiredAttempts<A, H = NoHedge> = Attempts<BodyBulkheadPolicy<Admitted<A>>, H, Heads>;
/// An attempt of a protocol over HTTP, with what it says; `C` judges its answers.
#[cfg(feature = "http")]
pub type Wired<C> = TimeoutPolicy<WireHeadersPolicy<Innermost<C, Heads<C>>>>;

impl<T, F, C, H> ClientBuilder<T, F, C, H> {
    /// A client of an HTTP service: hyper-util's, or any `Service<http::Request<B>>`. Results are judged by
    /// [`ByStatus`], requests repeated by method; a body that is not `Clone` goes in as a
    /// [`RecordBody`](crate::http::RecordBody). The timeout goes on over the body of the answer.
    ///
    /// # Panics
    ///
    /// When it has objectives that are to open its circuit breaker, and none: `slo_opening_breaker` and
    /// `without_circuit_breaker`.
    #[cfg(feature = "http")]
    #[track_caller]
    pub fn http<S>(self, service: S) -> Client<HttpClientPolicy<F, H>, S>
    where
        T: HasTimeout,
        F: HasFallback,
        H: HedgeChoice,
    {
        let (keys, limits) = (self.settings.idempotency_keys, self.limits_of_bodies());
        let by_head = self.limit_by_head();
        let tell = |observer: &Observer, attempt| {
            HttpTelemetryPolicy::new(Teller::new(&Http, observer.clone(), Part::Client), attempt)
        };
        let (fallback, observer, handle, attempts) = self.wired(ByStatus, |headers| headers, tell);
        let policy = IdempotencyKeyPolicy::new(keys, attempts);
        let policy = BodyTimeoutPolicy::new(limits, observer.clone(), policy);
        let policy = HttpFallbackPolicy::new(fallback, observer.clone(), policy);
        let policy = LimitByHeadPolicy::new(by_head, policy);
        let policy = HttpTelemetryPolicy::new(Teller::new(&Http, observer, Part::Call), policy);
        Client::new(Stack::new(Arc::new(policy), service), handle)
    }

    /// What says the limit of each call of a protocol over HTTP, if that is not the same for all.
    #[cfg(feature = "http")]
    pub(in crate::golden) fn limit_by_head(&self) -> Option<LimitByHead>
    where
        T: HasTimeout,
    {
        self.timeout.by_head().cloned()
    }

    /// The limits on the bodies of a protocol over HTTP: the timeout goes on over them.
    #[cfg(feature = "http")]
    pub(in crate::golden) fn limits_of_bodies(&self) -> BodyLimits
    where
        T: HasTimeout,
    {
        BodyLimits { total: Some(self.timeout.limit()), ..self.settings.body_limits.clone() }
    }

    /// The attempts of a protocol over HTTP: how its answers are judged, what its attempts say, and what is told of each.
    #[cfg(feature = "http")]
    #[track_caller]
    pub(in crate::golden) fn wired<D, A>(
        self,
        classifier: D,
        wire: impl FnOnce(WireHeaders) -> WireHeaders,
        tell: impl FnOnce(&Observer, Wired<D>) -> A,
    ) -> (F, Observer, Handle, WiredAttempts<A, H>)
    where
        T: HasTimeout,
        F: HasFallback,
        H: HedgeChoice,
        D: Copy,
    {
        let Self { timeout, fallback, hedge, settings, .. } = self;
        let headers = wire(settings.wire_headers.clone());
        let wire = |innermost| WireHeadersPolicy::new(headers, innermost);
        let until_body_end = settings.bulkhead_until_body_end;
        let hold = |bulkhead| BodyBulkheadPolicy::new(bulkhead, until_body_end);
        let tell = |observer: Observer, attempt| {
            let attempt = tell(&observer, attempt);
            AttemptTelemetryPolicy::new(observer, attempt).without_spans()
        };
        let (observer, handle, attempts) = settings.attempts(
            timeout.limit(),
            (classifier, Heads::new(classifier), Heads::new(ByStatus)),
            wire,
            tell,
            hold,
            hedge,
        );
        (fallback.within(timeout.limit()), observer, handle, attempts)
    }

    /// A client of any tower service.
    ///
    /// # Panics
    ///
    /// When it has objectives that are to open its circuit breaker, and none: `slo_opening_breaker` and
    /// `without_circuit_breaker`.
    #[track_caller]
    pub fn service<S>(self, service: S) -> Client<ClientPolicy<F, C, H>, S>
    where
        T: HasTimeout + HasOneTimeout,
        F: HasFallback,
        H: HedgeChoice,
    {
        let Self { timeout, fallback, classifier, hedge, settings } = self;
        let (observer, handle, attempts) = settings.attempts(
            timeout.limit(),
            (classifier, Unseen, Unseen),
            identity,
            AttemptTelemetryPolicy::new,
            identity,
            hedge,
        );
        let fallback = fallback.within(timeout.limit());
        let policy = FallbackPolicy::new(fallback, observer.clone(), attempts);
        let policy = CallTelemetryPolicy::new(observer, Side::Internal, policy);
        Client::new(Stack::new(Arc::new(policy), service), handle)
    }

    /// A client of something that is no tower service: a database, an SDK. Its calls are closures, and each may bring a
    /// fallback of its own.
    ///
    /// # Panics
    ///
    /// When it has objectives that are to open its circuit breaker, and none: `slo_opening_breaker` and
    /// `without_circuit_breaker`.
    #[track_caller]
    pub fn calls(self) -> Calls<C, H>
    where
        T: HasTimeout + HasOneTimeout,
        F: DeclinesFallback,
        H: HedgeChoice,
    {
        let Self { timeout, classifier, hedge, settings, .. } = self;
        let (observer, handle, attempts) = settings.attempts(
            timeout.limit(),
            (classifier, Unseen, Unseen),
            identity,
            AttemptTelemetryPolicy::new,
            identity,
            hedge,
        );
        let policy = OrPolicy::new(timeout.limit(), observer.clone(), attempts);
        let policy = CallTelemetryPolicy::new(observer, Side::Internal, policy);
        Calls::new(Stack::new(Arc::new(policy), Closure), handle)
    }
}

impl Settings {
    /// Everything from the deadline inwards, innermost first. `wire` puts what a protocol has to say on the wire round the
    /// innermost, `tell` what is told of an attempt, and `hold` says until when a call keeps its place.
    #[track_caller]
    fn attempts<C, L, E, I, A, B, H: HedgeChoice>(
        self,
        limit: Duration,
        innermost: (C, L, E),
        wire: impl FnOnce(Innermost<C, L>) -> I,
        tell: impl FnOnce(Observer, TimeoutPolicy<I>) -> A,
        hold: impl FnOnce(BulkheadPolicy<A>) -> B,
        hedge: H,
    ) -> (Observer, Handle, Attempts<B, H, E>) {
        let (classifier, look, seen) = innermost;
        let objectives =
            self.objectives.opening(self.circuit_breaker.as_ref().map(CircuitBreakerLayer::handle));
        let observer = observer(&self.name, self.registry.as_ref(), self.sinks, objectives);
        let policy = FaultPolicy::new(self.faults.clone(), look, observer.clone(), Leaf::new(classifier));
        let policy = wire(policy);
        // One beyond the call's would make a hurry of every deadline from outside.
        let attempt = self.attempt_timeout.map_or(limit, |attempt| attempt.min(limit));
        let policy = TimeoutPolicy::new(attempt, Reason::Timeout, observer.clone(), policy);
        let policy = if attempt < limit { policy } else { policy.within_deadline() };
        let policy = tell(observer.clone(), policy);
        let policy = match self.bulkhead {
            Some(layer) => layer.over(observer.clone(), policy),
            None => BulkheadPolicy::off(observer.clone(), policy),
        };
        let bulkhead = policy.handle();
        let policy = hold(policy);
        #[cfg(feature = "rate-limit")]
        let policy = match self.rate_limit {
            Some(layer) => layer.over(observer.clone(), policy),
            None => RateLimited::off(observer.clone(), policy),
        };
        #[cfg(feature = "rate-limit")]
        let rate_limit = policy.handle();
        let policy = match self.throttle {
            Some(layer) => layer.over(observer.clone(), policy),
            None => ThrottlePolicy::off(observer.clone(), policy),
        };
        let policy = match self.circuit_breaker {
            Some(layer) => layer.over(observer.clone(), policy),
            None => CircuitBreakerPolicy::off(policy),
        };
        let circuit_breaker = policy.handle();
        let hedge = hedge.drawing_on(self.retry.as_ref().map(RetryLayer::shared_budget));
        let policy = HedgePolicy::new(hedge, observer.clone(), policy);
        let policy = match self.retry {
            Some(layer) => layer.over(observer.clone(), policy),
            None => RetryPolicy::off(observer.clone(), policy),
        };
        let policy = EnrolPolicy::new(observer.name().clone(), self.faults.clone(), None, seen, policy);
        let policy = DeadlinePolicy::new(limit, observer.clone(), policy);
        let parts = Parts {
            profile: Profile::Client,
            observer: observer.clone(),
            circuit_breaker,
            #[cfg(feature = "rate-limit")]
            rate_limit,
            bulkhead,
            #[cfg(feature = "idempotency")]
            keyed: None,
            faults: self.faults,
            ingress_faults: None,
        };
        (observer, Handle::enlist(parts, self.registry.as_ref()), policy)
    }
}
