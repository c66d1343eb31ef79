mod fallback;
mod finish;

use std::{fmt, sync::Arc, time::Duration};

pub use finish::{Admitted, AttemptPolicy, Attempts, ClientPolicy, Innermost, PlainAttempts, RateLimited};
#[cfg(feature = "http")]
pub use finish::{
    AttemptBody, ClientBody, ClientBodyOr, ClientBodyOrStale, HttpAttempts, HttpClientPolicy, Wired,
    WiredAttempts,
};

use super::{Limit, Missing, choice::positive, objectives::Objectives};
#[cfg(feature = "rate-limit")]
use crate::rate_limit::RateLimitLayer;
#[cfg(feature = "slo")]
use crate::slo::{ErrorBudget, Scope};
use crate::{
    bulkhead::{BulkheadLayer, ConcurrencyLimit},
    circuit_breaker::CircuitBreakerLayer,
    classify::ByError,
    fault::Faults,
    hedge::{HedgeLayer, Hedging, NoHedge},
    load_shed::ThrottleLayer,
    name::Name,
    observer::Sink,
    registry::Registry,
    retry::RetryLayer,
};
#[cfg(feature = "http")]
use crate::{
    head::Head,
    http::{BodyLimits, WireHeaders},
    timeout::LimitByHead,
};

/// Builds the stack of a client; see [`client`](super::client).
///
/// The finishers say what kind of service it is for: `http`, `grpc`, [`service`](Self::service), [`calls`](Self::calls).
#[must_use = "a client is built by `.http(..)`, `.grpc(..)`, `.service(..)` or `.calls()`"]
pub struct ClientBuilder<T, F, C = ByError, H = NoHedge> {
    timeout: T,
    fallback: F,
    classifier: C,
    hedge: H,
    settings: Settings,
}

/// What a builder is told that changes no type.
struct Settings {
    name: Name,
    attempt_timeout: Option<Duration>,
    retry: Option<RetryLayer>,
    circuit_breaker: Option<CircuitBreakerLayer>,
    throttle: Option<ThrottleLayer>,
    #[cfg(feature = "rate-limit")]
    rate_limit: Option<RateLimitLayer>,
    bulkhead: Option<BulkheadLayer>,
    faults: Faults,
    #[cfg(feature = "http")]
    wire_headers: WireHeaders,
    #[cfg(feature = "http")]
    idempotency_keys: bool,
    #[cfg(feature = "http")]
    bulkhead_until_body_end: bool,
    #[cfg(feature = "http")]
    body_limits: BodyLimits,
    registry: Option<Registry>,
    sinks: Vec<Arc<dyn Sink>>,
    objectives: Objectives,
}

impl ClientBuilder<Missing, Missing> {
    pub(super) fn new(name: Name) -> Self {
        let settings = Settings {
            name,
            attempt_timeout: None,
            retry: Some(RetryLayer::new()),
            circuit_breaker: Some(CircuitBreakerLayer::new()),
            throttle: None,
            #[cfg(feature = "rate-limit")]
            rate_limit: None,
            bulkhead: Some(BulkheadLayer::new(256)),
            faults: Faults::new(),
            #[cfg(feature = "http")]
            wire_headers: WireHeaders::default(),
            #[cfg(feature = "http")]
            idempotency_keys: false,
            #[cfg(feature = "http")]
            bulkhead_until_body_end: false,
            #[cfg(feature = "http")]
            body_limits: BodyLimits::default(),
            registry: None,
            sinks: Vec::new(),
            objectives: Objectives::default(),
        };
        Self { timeout: Missing, fallback: Missing, classifier: ByError, hedge: NoHedge, settings }
    }
}

impl<T, F, C, H> ClientBuilder<T, F, C, H> {
    /// The limit of the whole call: all attempts and the waits between them share it. It has no default.
    ///
    /// The [`Deadline`](crate::Deadline) of the work in hand shortens it.
    ///
    /// # Panics
    ///
    /// When `limit` is zero.
    #[track_caller]
    pub fn timeout(self, limit: Duration) -> ClientBuilder<Limit, F, C, H> {
        self.with(Limit(positive("a timeout", limit)))
    }

    /// Takes the limit of each call of `.http(..)` or `.grpc(..)` from the head of its request, in the place of one
    /// [`timeout`](Self::timeout) for all.
    ///
    /// The function is asked once a call and must not block. A call whose limit is zero fails as one whose deadline has
    /// passed.
    ///
    /// ```
    /// # #[tokio::main(flavor = "current_thread")] async fn main() {
    /// use std::time::Duration;
    /// use moneta_resilience::golden;
    /// # let transport = tower::service_fn(|_: http::Request<String>| async {
    /// #     Ok::<_, std::io::Error>(http::Response::new(String::new()))
    /// # });
    ///
    /// let ledger = golden::client("ledger")
    ///     .timeout_by(|head| match head.uri.path() {
    ///         "/statements" => Duration::from_secs(30),
    ///         _ => Duration::from_millis(800),
    ///     })
    ///     .no_fallback()
    ///     .http(transport);
    /// # ledger.send(http::Request::new(String::new())).await.expect("it answers");
    /// # }
    /// ```
    #[cfg(feature = "http")]
    pub fn timeout_by(
        self,
        limit: impl Fn(Head<'_>) -> Duration + Send + Sync + 'static,
    ) -> ClientBuilder<LimitByHead, F, C, H> {
        self.with(LimitByHead::new(limit))
    }

    fn with<U>(self, timeout: U) -> ClientBuilder<U, F, C, H> {
        let Self { fallback, classifier, hedge, settings, .. } = self;
        ClientBuilder { timeout, fallback, classifier, hedge, settings }
    }

    /// Judges the results of `.service(..)` and `.calls()` with `classifier` instead of [`ByError`].
    ///
    /// [`errors`](crate::classify::errors) makes one from a function of the error alone, fit for `.calls()`.
    pub fn classify<D>(self, classifier: D) -> ClientBuilder<T, F, D, H> {
        let Self { timeout, fallback, hedge, settings, .. } = self;
        ClientBuilder { timeout, fallback, classifier, hedge, settings }
    }

    /// Sends an attempt that takes too long a second time, as this layer says, and takes the first success; off unless
    /// it is given. Only requests that may be sent twice are hedged.
    ///
    /// It draws on the budget of the client's retry, unless the layer was given one. What is known of the latencies is
    /// shared with every other stack that got a clone of the layer.
    ///
    /// ```
    /// # #[tokio::main(flavor = "current_thread")] async fn main() -> anyhow::Result<()> {
    /// use std::time::Duration;
    /// use moneta_resilience::{golden, hedge::HedgeLayer};
    /// # async fn quote() -> Result<u32, std::io::Error> { Ok(9312) }
    ///
    /// let quotes = golden::client("market-data")
    ///     .timeout(Duration::from_millis(800))
    ///     .no_fallback()
    ///     .hedge(HedgeLayer::new())
    ///     .calls();
    /// assert_eq!(quotes.run_repeatable(quote).await?, 9312);
    /// # Ok(()) }
    /// ```
    pub fn hedge(self, layer: HedgeLayer) -> ClientBuilder<T, F, C, Hedging> {
        let Self { timeout, fallback, classifier, settings, .. } = self;
        ClientBuilder { timeout, fallback, classifier, hedge: layer.into_hedging(), settings }
    }

    /// The limit of one attempt; by default what is left of the whole call. One long attempt beats three cut ones, so
    /// give it only where the dependency's latency is known.
    ///
    /// # Panics
    ///
    /// When `limit` is zero.
    #[track_caller]
    pub fn attempt_timeout(mut self, limit: Duration) -> Self {
        self.settings.attempt_timeout = Some(positive("an attempt's timeout", limit));
        self
    }

    /// Retries as this layer says. Its budget is shared with every other stack that got a clone of it.
    pub fn retry(mut self, layer: RetryLayer) -> Self {
        self.settings.retry = Some(layer);
        self
    }

    /// Makes every call one attempt.
    pub fn without_retry(mut self) -> Self {
        self.settings.retry = None;
        self
    }

    /// Breaks the circuit as this layer says. The breaker is shared with every other stack that got a clone of it.
    pub fn circuit_breaker(mut self, layer: CircuitBreakerLayer) -> Self {
        self.settings.circuit_breaker = Some(layer);
        self
    }

    /// Asks the dependency however often it fails.
    pub fn without_circuit_breaker(mut self) -> Self {
        self.settings.circuit_breaker = None;
        self
    }

    /// Sends less to a dependency that refuses calls because it is in overload, as this layer says; off unless it is given.
    /// What it knows is shared with every other stack that got a clone of it.
    pub fn throttle(mut self, layer: ThrottleLayer) -> Self {
        self.settings.throttle = Some(layer);
        self
    }

    /// Lets attempts begin as this layer says: what a contract with the dependency grants. Off unless it is given. The
    /// quota is shared with every other stack that got a clone of it.
    #[cfg(feature = "rate-limit")]
    pub fn rate_limit(mut self, layer: RateLimitLayer) -> Self {
        self.settings.rate_limit = Some(layer);
        self
    }

    /// Lets at most so many attempts run at once, with the default queue: a number, or a law by which it adapts
    /// ([`Gradient`](crate::bulkhead::Gradient), [`Aimd`](crate::bulkhead::Aimd)).
    ///
    /// # Panics
    ///
    /// When the limit is zero.
    #[track_caller]
    pub fn bulkhead(self, limit: impl Into<ConcurrencyLimit>) -> Self {
        self.bulkhead_layer(BulkheadLayer::new(limit))
    }

    /// Limits the attempts that run at once as this layer says. Its places are shared with every other stack that got a
    /// clone of it.
    pub fn bulkhead_layer(mut self, layer: BulkheadLayer) -> Self {
        self.settings.bulkhead = Some(layer);
        self
    }

    /// Holds the place of an attempt of `.http(..)` and `.grpc(..)` until the *body* of its answer ends: read to its end, cut,
    /// failed or dropped. For downloads and streams. By default the place is free when the head of the answer is there.
    /// See [`BulkheadLayer::until_body_end`].
    #[cfg(feature = "http")]
    pub fn bulkhead_until_body_end(mut self) -> Self {
        self.settings.bulkhead_until_body_end = true;
        self
    }

    /// Lets any number of attempts run at once.
    pub fn without_bulkhead(mut self) -> Self {
        self.settings.bulkhead = None;
        self
    }

    /// Uses these faults, so that several stacks are armed with one handle; by default each stack has its own.
    pub fn faults(mut self, faults: Faults) -> Self {
        self.settings.faults = faults;
        self
    }

    /// The header in which each attempt of `.http(..)` says how many milliseconds are left; by default
    /// `x-request-timeout-ms`. The server's `deadline_header` has the same name.
    #[cfg(feature = "http")]
    pub fn deadline_header(mut self, name: http::HeaderName) -> Self {
        self.settings.wire_headers.deadline = name;
        self
    }

    /// Gives every POST and PATCH of `.http(..)` that has none an `Idempotency-Key`: a random one per call, the same on
    /// every attempt. The call may be repeated then, so say it only of a dependency that honours the key. Off by
    /// default.
    ///
    /// A request that has a key keeps it, on all attempts. So a caller that wants to ask again after a crash makes a key of its own,
    /// stores it with what is to be done, and sends it in the header.
    #[cfg(feature = "http")]
    pub fn idempotency_keys(mut self) -> Self {
        self.settings.idempotency_keys = true;
        self
    }

    /// The only hosts whose requests carry the trace and its baggage on; without this, all do. For clients whose requests
    /// also go to others than one's own services.
    #[cfg(feature = "http")]
    pub fn trace_hosts<I>(mut self, hosts: I) -> Self
    where
        I: IntoIterator<Item: Into<String>>,
    {
        self.settings.wire_headers.trace_hosts = Some(hosts.into_iter().map(Into::into).collect());
        self
    }

    /// Writes no headers on the attempts of `.http(..)` and `.grpc(..)`: neither the time that is left, nor which attempt
    /// it is, nor the trace. For services of others that refuse headers they do not know.
    #[cfg(feature = "http")]
    pub fn without_wire_headers(mut self) -> Self {
        self.settings.wire_headers.enabled = false;
        self
    }

    /// The longest wait for a single frame of an answer's body, while the body is read and nothing comes;
    /// by default 60 s. See [`BodyTimeoutLayer`](crate::http::BodyTimeoutLayer).
    ///
    /// # Panics
    ///
    /// When `limit` is zero.
    #[cfg(feature = "http")]
    #[track_caller]
    pub fn body_idle_timeout(mut self, limit: Duration) -> Self {
        self.settings.body_limits.idle = Some(positive("a body's idle timeout", limit));
        self
    }

    /// Lets the body of an answer be silent for as long as the timeout of the call allows; a stream, for ever.
    #[cfg(feature = "http")]
    pub fn without_body_idle_timeout(mut self) -> Self {
        self.settings.body_limits.idle = None;
        self
    }

    /// Says which answers of `.http(..)` are streams, told from their heads: server-sent events, long downloads. The
    /// timeout of the call then ends with the head, and the body has only its idle timeout. Over `.grpc(..)` the head says
    /// nothing: its `streaming_methods` are named by their paths.
    #[cfg(feature = "http")]
    pub fn streaming(
        mut self,
        is_stream: impl Fn(&http::response::Parts) -> bool + Send + Sync + 'static,
    ) -> Self {
        self.settings.body_limits.streaming = Some(Arc::new(is_stream));
        self
    }

    /// Lists the stack, and counts its calls, in this registry instead of the process's. Its metrics are not exported
    /// then: what is exported is the process's registry.
    pub fn registry(mut self, registry: &Registry) -> Self {
        self.settings.registry = Some(registry.clone());
        self
    }

    /// Counts the calls for an objective, or for a budget that others count for as well. It may be said of several.
    ///
    /// A call is good when it ends in time, and well or by its own fault. Everything else is bad: what failed, what was refused
    /// on this side or took too long, and what a fallback answered. A call that was dropped counts, as bad, when it had
    /// lasted for as long as the objective grants.
    ///
    /// ```
    /// # #[tokio::main(flavor = "current_thread", start_paused = true)] async fn main() -> anyhow::Result<()> {
    /// use std::time::Duration;
    /// use moneta_resilience::{golden, slo::{ErrorBudget, Objective, Window}};
    /// # async fn quote() -> Result<u32, std::io::Error> { Ok(9312) }
    ///
    /// let fresh = Objective::new("fresh-quotes").target(99.5).within(Duration::from_millis(300));
    /// let budget = ErrorBudget::new(fresh);
    /// let quotes = golden::client("market-data")
    ///     .timeout(Duration::from_millis(800))
    ///     .no_fallback()
    ///     .slo(budget.clone())
    ///     .calls();
    /// quotes.run(quote).await?;
    /// assert_eq!(budget.counts(Window::Hour), (1, 0));
    /// # Ok(()) }
    /// ```
    ///
    /// # Panics
    ///
    /// When the objective is one of daily runs.
    #[cfg(feature = "slo")]
    #[track_caller]
    pub fn slo(mut self, budget: impl Into<ErrorBudget>) -> Self {
        self.settings.objectives.add(budget.into(), Scope::Client);
        self
    }

    /// The same, and the circuit breaker opens each time that the budget begins to burn fast enough to wake somebody. It comes
    /// back by probes, as after any other trip.
    ///
    /// A breaker judges the dependency by the last seconds; the budget also sees what fails slowly, and what the caller finds
    /// too slow. Refusals of the open breaker are bad for the budget as well: what it saves is the dependency.
    ///
    /// # Panics
    ///
    /// When the objective is one of daily runs.
    #[cfg(feature = "slo")]
    #[track_caller]
    pub fn slo_opening_breaker(mut self, budget: impl Into<ErrorBudget>) -> Self {
        self.settings.objectives.add_opening_breaker(budget.into(), Scope::Client);
        self
    }

    /// Tells one more sink what happens.
    pub fn sink(mut self, sink: Arc<dyn Sink>) -> Self {
        self.settings.sinks.push(sink);
        self
    }
}

impl<T, F, C, H> fmt::Debug for ClientBuilder<T, F, C, H> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ClientBuilder").field("name", &self.settings.name).finish_non_exhaustive()
    }
}
