mod finish;
mod service;

use std::{fmt, sync::Arc, time::Duration};

use http::HeaderName;

pub use self::{
    finish::{ServerBody, ServerPolicy},
    service::{Server, ServerFuture, ServerLayer},
};

use super::{Limit, Missing, Off, choice::positive, objectives::Objectives};
#[cfg(feature = "idempotency")]
use crate::idempotency::{IdempotencyLayer, Store};
#[cfg(feature = "rate-limit")]
use crate::rate_limit::RateLimitLayer;
#[cfg(feature = "slo")]
use crate::slo::{ErrorBudget, Scope};
use crate::{
    bulkhead::{BulkheadLayer, ByHead, ConcurrencyLimit},
    classify::ByError,
    dial::Dial,
    fault::Faults,
    head::Head,
    http::{Priorities, REQUEST_TIMEOUT, Trust},
    name::Name,
    observer::Sink,
    priority::Priority,
    registry::Registry,
    timeout::LimitByHead,
};

/// Builds the stack of a server; see [`server`](super::server).
#[must_use = "a server's layer is built by `.layer()`"]
pub struct ServerBuilder<T, K = Off> {
    name: Name,
    timeout: T,
    keys: K,
    deadline_header: HeaderName,
    trust: Trust,
    priorities: Priorities,
    sheds: bool,
    shed_dial: Option<Dial>,
    #[cfg(feature = "rate-limit")]
    rate_limit: Option<RateLimitLayer<ByHead>>,
    bulkhead: Option<BulkheadLayer<ByError, ByHead>>,
    bulkhead_until_body_end: bool,
    faults: Faults,
    ingress_faults: Faults,
    registry: Option<Registry>,
    sinks: Vec<Arc<dyn Sink>>,
    objectives: Objectives,
}

impl ServerBuilder<Missing> {
    pub(super) fn new(name: Name) -> Self {
        Self {
            name,
            timeout: Missing,
            keys: Off,
            deadline_header: REQUEST_TIMEOUT,
            trust: Trust::default(),
            priorities: Priorities::default(),
            sheds: false,
            shed_dial: None,
            #[cfg(feature = "rate-limit")]
            rate_limit: None,
            bulkhead: Some(BulkheadLayer::new(1024).max_queue(0).into_by_head()),
            bulkhead_until_body_end: false,
            faults: Faults::new(),
            ingress_faults: Faults::new(),
            registry: None,
            sinks: Vec::new(),
            objectives: Objectives::default(),
        }
    }
}

impl<T, K> ServerBuilder<T, K> {
    /// The limit of a call: the caller gets a 504 then, over gRPC `DEADLINE_EXCEEDED`, and the handler is dropped. It has
    /// no default.
    ///
    /// A caller can shorten it with a deadline header, never lengthen it.
    ///
    /// # Panics
    ///
    /// When `limit` is zero.
    #[track_caller]
    pub fn timeout(self, limit: Duration) -> ServerBuilder<Limit, K> {
        let limit = Limit(positive("a timeout", limit));
        self.with(|_, keys| (limit, keys))
    }

    /// Takes the limit of each call from the head of its request, in the place of one [`timeout`](Self::timeout) for all.
    ///
    /// The function is asked once a call and must not block. A call whose limit is zero is refused as one that arrives
    /// after its deadline.
    ///
    /// ```
    /// use std::time::Duration;
    /// use moneta_resilience::golden;
    ///
    /// let layer = golden::server("payments")
    ///     .timeout_by(|head| match head.uri.path() {
    ///         "/reports" => Duration::from_secs(30),
    ///         _ => Duration::from_secs(2),
    ///     })
    ///     .layer();
    /// # let _ = layer;
    /// ```
    pub fn timeout_by(
        self,
        limit: impl Fn(Head<'_>) -> Duration + Send + Sync + 'static,
    ) -> ServerBuilder<LimitByHead, K> {
        self.with(|_, keys| (LimitByHead::new(limit), keys))
    }

    /// Runs each `Idempotency-Key` once, and keeps in `store` what came of it: see
    /// [`idempotency::http`](crate::idempotency::http), also for gRPC. Off unless said.
    ///
    /// Of a request with a key, the timeout answers its caller, and the handler runs on; only the
    /// [run limit](crate::idempotency::IdempotencyLayer::run_limit) drops it. It keeps its place in the bulkhead until it has
    /// answered. At shutdown, [`Handle::drain`](super::Handle::drain) waits for it.
    ///
    /// ```
    /// use std::time::Duration;
    /// use moneta_resilience::{golden, idempotency::MemoryStore};
    ///
    /// let layer = golden::server("payments")
    ///     .timeout(Duration::from_secs(2))
    ///     .idempotency(MemoryStore::default())
    ///     .layer();
    /// # let _ = layer;
    /// ```
    #[cfg(feature = "idempotency")]
    pub fn idempotency<St: Store>(self, store: St) -> ServerBuilder<T, IdempotencyLayer<St>> {
        self.idempotency_layer(IdempotencyLayer::new(store))
    }

    /// The same with rules of its own. It tells the stack's observer.
    #[cfg(feature = "idempotency")]
    pub fn idempotency_layer<St: Store>(
        self,
        layer: IdempotencyLayer<St>,
    ) -> ServerBuilder<T, IdempotencyLayer<St>> {
        self.with(|timeout, _| (timeout, layer))
    }

    pub(super) fn with<U, L>(self, choices: impl FnOnce(T, K) -> (U, L)) -> ServerBuilder<U, L> {
        let (timeout, keys) = choices(self.timeout, self.keys);
        ServerBuilder {
            timeout,
            keys,
            name: self.name,
            deadline_header: self.deadline_header,
            trust: self.trust,
            priorities: self.priorities,
            sheds: self.sheds,
            shed_dial: self.shed_dial,
            #[cfg(feature = "rate-limit")]
            rate_limit: self.rate_limit,
            bulkhead: self.bulkhead,
            bulkhead_until_body_end: self.bulkhead_until_body_end,
            faults: self.faults,
            ingress_faults: self.ingress_faults,
            registry: self.registry,
            sinks: self.sinks,
            objectives: self.objectives,
        }
    }

    /// The header in which callers say how many milliseconds they will wait; by default `x-request-timeout-ms`.
    /// `x-envoy-expected-rq-timeout-ms` is read as well.
    pub fn deadline_header(mut self, name: HeaderName) -> Self {
        self.deadline_header = name;
        self
    }

    /// Finds the route of a request, the pattern of paths that it matched: what spans and metrics call it by. It is never the
    /// path itself, of which there is no end.
    ///
    /// axum's router leaves the route with the request, and with feature `axum` it is read from there; this is for
    /// everything else. Only the first 2000 routes keep their names.
    ///
    /// Over gRPC it says which method a request asks for, `package.Service/Method`, and `None` where there is no such method,
    /// which is then told of as `_OTHER`. Without it, methods are known by their answers: see
    /// `docs/telemetry.md`.
    ///
    /// ```
    /// use std::time::Duration;
    /// use moneta_resilience::golden;
    ///
    /// let layer = golden::server("accounts")
    ///     .timeout(Duration::from_secs(2))
    ///     .route_of(|head| head.uri.path().starts_with("/accounts/").then_some("/accounts/{id}"))
    ///     .layer();
    /// # let _ = layer;
    /// ```
    pub fn route_of(
        mut self,
        route_of: impl Fn(Head<'_>) -> Option<&'static str> + Send + Sync + 'static,
    ) -> Self {
        self.trust.route_of = Some(Arc::new(route_of));
        self
    }

    /// For a service that faces the internet: each call begins a trace of its own, with a link to that of its caller, whose
    /// sampling and baggage do not come in. Without this, the caller's trace goes on here.
    pub fn edge(mut self) -> Self {
        self.trust.edge = true;
        self
    }

    /// What a request is worth to this service; without this, everything is [`Priority::Critical`].
    ///
    /// A caller can lower it in `x-request-priority`. It is asked in every call and must not block.
    ///
    /// ```
    /// use std::time::Duration;
    /// use moneta_resilience::{Priority, golden};
    ///
    /// let layer = golden::server("accounts")
    ///     .timeout(Duration::from_secs(2))
    ///     .priority_of(|head| match head.uri.path() {
    ///         "/transfers" => Priority::CriticalPlus,
    ///         path if path.starts_with("/reports") => Priority::Sheddable,
    ///         _ => Priority::Critical,
    ///     })
    ///     .layer();
    /// # let _ = layer;
    /// ```
    pub fn priority_of(mut self, own: impl Fn(Head<'_>) -> Priority + Send + Sync + 'static) -> Self {
        self.priorities.own = Some(Arc::new(own));
        self
    }

    /// Keeps room for the more important calls: each priority may fill its [`share`](Priority::share) of the bulkhead, so that
    /// in an overload money movement goes on while reports wait. Off unless said: everyone has all of it.
    ///
    /// Refusals are a 503 whose `Retry-After` is drawn between 0.5 and 4 s. See
    /// [`BulkheadLayer::priorities`].
    pub fn priorities(mut self) -> Self {
        self.sheds = true;
        self
    }

    /// The same, and calls that may be shed, [`Sheddable`](Priority::Sheddable) and
    /// [`SheddablePlus`](Priority::SheddablePlus), get only that part of their share at which the dial stands: while the error
    /// budget of what users see burns, reports can wait.
    pub fn priorities_scaled_by(self, dial: &Dial) -> Self {
        Self { shed_dial: Some(dial.clone()), ..self.priorities() }
    }

    /// Says which requests come from callers who may raise their priority in `x-request-priority`: those of services behind
    /// the same gateway, which strips the header from what comes from outside. Without this, nobody may.
    ///
    /// It is asked when a request wants more than it is worth, and must not block.
    pub fn trust_priority(mut self, trusted: impl Fn(Head<'_>) -> bool + Send + Sync + 'static) -> Self {
        self.priorities.trusted = Some(Arc::new(trusted));
        self
    }

    /// Lets calls in as this layer says and answers the others with a 429; off unless it is given. With
    /// [`key_by_head`](RateLimitLayer::key_by_head) each caller has a quota of its own. The quota is shared with every other
    /// stack that got a clone of the layer.
    #[cfg(feature = "rate-limit")]
    pub fn rate_limit<By>(mut self, layer: RateLimitLayer<By>) -> Self
    where
        By: Clone + Into<ByHead>,
    {
        self.rate_limit = Some(layer.into_by_head());
        self
    }

    /// Handles at most so many calls at once and refuses more with a 503; no call waits. A number, or a law by which it
    /// adapts ([`Gradient`](crate::bulkhead::Gradient), [`Aimd`](crate::bulkhead::Aimd)).
    ///
    /// # Panics
    ///
    /// When the limit is zero.
    #[track_caller]
    pub fn bulkhead(self, limit: impl Into<ConcurrencyLimit>) -> Self {
        self.bulkhead_layer(BulkheadLayer::new(limit).max_queue(0))
    }

    /// Limits the calls that are handled at once as this layer says. Its places are shared with every other stack that
    /// got a clone of it. With [`partition_by_head`](BulkheadLayer::partition_by_head) each tenant has a share of its own.
    pub fn bulkhead_layer<By>(mut self, layer: BulkheadLayer<ByError, By>) -> Self
    where
        By: Clone + Into<ByHead>,
    {
        self.bulkhead = Some(layer.into_by_head());
        self
    }

    /// Counts a call as handled only when the *body* of its answer ends: read to its end, failed, or dropped with its
    /// connection. For downloads and streams. By default it is handled when the head of the answer is there. See
    /// [`BulkheadLayer::until_body_end`].
    pub fn bulkhead_until_body_end(mut self) -> Self {
        self.bulkhead_until_body_end = true;
        self
    }

    /// Handles any number of calls at once.
    pub fn without_bulkhead(mut self) -> Self {
        self.bulkhead = None;
        self
    }

    /// Uses these faults in front of the handler, so that several stacks are armed with one handle; by default each stack has its
    /// own.
    pub fn faults(mut self, faults: Faults) -> Self {
        self.faults = faults;
        self
    }

    /// Uses these faults where a call comes in, outside of its deadline and of its idempotency key; by default each stack has its
    /// own. An answer that is lost there was kept: whoever comes again gets it. What hangs there does so until its caller goes.
    pub fn ingress_faults(mut self, faults: Faults) -> Self {
        self.ingress_faults = faults;
        self
    }

    /// Lists the stack, and counts its calls, in this registry instead of the process's. Its metrics are not exported
    /// then: what is exported is the process's registry.
    pub fn registry(mut self, registry: &Registry) -> Self {
        self.registry = Some(registry.clone());
        self
    }

    /// Counts the calls for an objective, or for a budget that others count for as well. It may be said of several.
    ///
    /// A call is good when it ends in time, the body of its answer included, and well or by a fault of its caller. A 5xx, a 429,
    /// a refusal, a timeout and a panic are bad. A call whose caller went away counts, as bad, when that had waited for as
    /// long as the objective grants, and not otherwise.
    ///
    /// ```
    /// use std::time::Duration;
    /// use moneta_resilience::{golden, slo::Objective};
    ///
    /// let layer = golden::server("accounts")
    ///     .timeout(Duration::from_secs(5))
    ///     .slo(Objective::new("accounts").target(99.9))
    ///     .route_slo("/login", Objective::new("login").target(99.9).within(Duration::from_secs(2)))
    ///     .synthetic(|head| head.headers.contains_key("x-probe"))
    ///     .layer();
    /// # let _ = layer;
    /// ```
    ///
    /// # Panics
    ///
    /// When the objective is one of daily runs.
    #[cfg(feature = "slo")]
    #[track_caller]
    pub fn slo(mut self, budget: impl Into<ErrorBudget>) -> Self {
        self.objectives.add(budget.into(), Scope::Server);
        self
    }

    /// Counts the calls to one route for an objective: the pattern of paths as it is in metrics, see
    /// [`route_of`](Self::route_of); over gRPC the method, `package.Service/Method`.
    ///
    /// # Panics
    ///
    /// When the objective is one of daily runs.
    #[cfg(feature = "slo")]
    #[track_caller]
    pub fn route_slo(mut self, route: &str, budget: impl Into<ErrorBudget>) -> Self {
        self.objectives.add(budget.into(), Scope::Route(route.into()));
        self
    }

    /// Says which requests are synthetic, nobody's: probes, tests in production. They count for no objective, and for
    /// everything else, and so do the calls that are made for them: see [`synthetic`](crate::synthetic). Nobody's request is unless this is said; who is let through as one hides from the objective.
    ///
    /// It is asked once a call and must not block.
    pub fn synthetic(mut self, is_synthetic: impl Fn(Head<'_>) -> bool + Send + Sync + 'static) -> Self {
        self.trust.synthetic = Some(Arc::new(is_synthetic));
        self
    }

    /// Tells one more sink what happens.
    pub fn sink(mut self, sink: Arc<dyn Sink>) -> Self {
        self.sinks.push(sink);
        self
    }
}

impl<T, K> fmt::Debug for ServerBuilder<T, K> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ServerBuilder").field("name", &self.name).finish_non_exhaustive()
    }
}
