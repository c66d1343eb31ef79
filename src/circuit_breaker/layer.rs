use std::{fmt, sync::Arc, time::Duration};

use tower::Layer;

use super::{
    AbandonedPolicy, CircuitBreakerHandle, CircuitBreakerPolicy,
    config::{CircuitBreakerConfig, Outage, Slow},
    policy::{Breaker, OneBreaker},
};
use crate::{
    classify::ByError,
    observer::Observer,
    policy::{Leaf, Stack, StackFuture},
    ratio::Ratio,
    window::Extent,
};

/// A service behind a circuit breaker.
pub type CircuitBreaker<S, C = ByError> = Stack<CircuitBreakerPolicy<Leaf<C>>, S>;
/// The future of a [`CircuitBreaker`].
pub type CircuitBreakerFuture<S, Req, C = ByError> = StackFuture<CircuitBreakerPolicy<Leaf<C>>, S, Req>;

/// Stops calling a dependency that fails; see the [module](super).
///
/// The breaker belongs to the layer: all services that one layer, or its clones, was put in front of share it. A setter
/// gives a layer with a breaker of its own, closed and empty, so take the [`handle`](Self::handle) after the last one.
#[must_use = "a layer does nothing until it is put in front of a service"]
pub struct CircuitBreakerLayer<C = ByError> {
    policy: Arc<CircuitBreakerPolicy<Leaf<C>>>,
}

impl CircuitBreakerLayer {
    /// A circuit breaker with the defaults of the [module](super), which judges results [by error](ByError).
    pub fn new() -> Self {
        let observer = Observer::unnamed("circuit_breaker");
        Self::with(CircuitBreakerConfig::default(), observer, Leaf::default())
    }
}

impl Default for CircuitBreakerLayer {
    fn default() -> Self {
        Self::new()
    }
}

impl<C> CircuitBreakerLayer<C> {
    /// Judges results with `classifier`.
    pub fn classify<D>(self, classifier: D) -> CircuitBreakerLayer<D> {
        let breaker = self.breaker();
        CircuitBreakerLayer::with(self.config().clone(), breaker.observer.clone(), Leaf::new(classifier))
    }

    /// The breaker while it runs: its state, its counts and the ways to force it.
    pub fn handle(&self) -> CircuitBreakerHandle {
        self.breaker().handle()
    }

    pub(crate) fn config(&self) -> &CircuitBreakerConfig {
        self.breaker().choice.machine.config()
    }

    fn breaker(&self) -> &Breaker<OneBreaker> {
        self.policy.breaker.as_ref().expect("a layer's breaker is never off")
    }

    /// The same breaker round another policy, told to another observer.
    pub(crate) fn over<I>(&self, observer: Observer, inner: I) -> CircuitBreakerPolicy<I> {
        self.policy.over(observer, inner)
    }

    fn with(config: CircuitBreakerConfig, observer: Observer, leaf: Leaf<C>) -> Self {
        Self { policy: Arc::new(CircuitBreakerPolicy::new(config, observer, leaf)) }
    }
}

impl<C: Clone> CircuitBreakerLayer<C> {
    /// How long a call counts. Default 10 s.
    ///
    /// It slides by tenths.
    ///
    /// # Panics
    ///
    /// When `window` is below 100 ms: so few calls say nothing.
    #[track_caller]
    pub fn window(self, window: Duration) -> Self {
        assert!(
            window >= Duration::from_millis(100),
            "a window below 100 ms holds too few calls to judge by"
        );
        self.map(|config| config.window = Extent::Time(window))
    }

    /// Looks at the last so many calls instead of a stretch of time: for a dependency that is called too rarely for
    /// any. Rounded up to a multiple of ten.
    ///
    /// It slides by tenths, too, so that between nine tenths and all of them count, those that were abandoned included.
    /// They count however old they are; only the calls that follow push them out, and every change of state. For a
    /// [minimum](Self::minimum_calls) above what the window holds, a full window is enough. What a newest tenth is for
    /// the [outage](Self::outage) is a tenth of the calls.
    ///
    /// # Panics
    ///
    /// When `calls` is below 10 or above 1,000,000.
    #[track_caller]
    pub fn last_calls(self, calls: u32) -> Self {
        assert!(
            (10..=1_000_000).contains(&calls),
            "a window of calls holds 10 to 1,000,000 of them: fewer say nothing, and more are never old"
        );
        self.map(|config| config.window = Extent::Calls(calls.next_multiple_of(10)))
    }

    /// How many calls the window must hold before a rate is looked at. Default 20.
    ///
    /// With fewer, only the [failures in a row](Self::consecutive_failures) decide.
    ///
    /// # Panics
    ///
    /// When `calls` is zero: there is no rate of no calls.
    #[track_caller]
    pub fn minimum_calls(self, calls: u32) -> Self {
        assert!(calls > 0, "a minimum of zero calls would judge a rate of nothing; give it at least 1");
        self.map(|config| config.minimum_calls = calls)
    }

    /// Opens when at least this share of the window's calls failed. Default 50 %.
    ///
    /// Probes are held to the same share: with 3 probes and 50 %, two that fail open the breaker again and two that
    /// succeed close it.
    ///
    /// # Panics
    ///
    /// When `rate` is zero: the breaker would open without a failure.
    #[track_caller]
    pub fn failure_rate(self, rate: Ratio) -> Self {
        let rate = above_zero(rate);
        self.map(|config| config.failure_rate = rate)
    }

    /// Opens when at least `rate` of the calls in the newest two tenths of the window failed, and they are at least
    /// `minimum_calls`. Default 90 % of 20 calls.
    ///
    /// A total outage after good times opens the breaker in a second or two, and not only once it fills half of the
    /// window.
    ///
    /// # Panics
    ///
    /// When `rate` or `minimum_calls` is zero.
    #[track_caller]
    pub fn outage(self, rate: Ratio, minimum_calls: u32) -> Self {
        assert!(
            minimum_calls > 0,
            "a minimum of zero calls would judge a rate of nothing; give it at least 1"
        );
        let rate = above_zero(rate);
        self.map(|config| config.outage = Outage { rate, minimum_calls })
    }

    /// Opens after this many failures in a row, as long as the window holds fewer calls than the
    /// [minimum](Self::minimum_calls). Default 5.
    ///
    /// So a dependency that is rarely called has a breaker too, and one that is called often does not open on a streak.
    ///
    /// # Panics
    ///
    /// When `failures` is zero: the breaker would open without a failure.
    #[track_caller]
    pub fn consecutive_failures(self, failures: u16) -> Self {
        assert!(failures > 0, "zero failures in a row would open at once; give it at least 1");
        self.map(|config| config.consecutive_failures = Some(failures))
    }

    /// Leaves failures in a row without a say.
    pub fn without_consecutive_failures(self) -> Self {
        self.map(|config| config.consecutive_failures = None)
    }

    /// Opens when at least `rate` of the window's calls succeeded after `duration` or more. Off by default.
    ///
    /// A probe that is slow fails. The time counts from the start of the call; what it spent waiting for a place in the
    /// bulkhead of the same golden stack is not the dependency's and does not count.
    ///
    /// # Panics
    ///
    /// When `duration` or `rate` is zero: every call would be slow, or none needed to be.
    #[track_caller]
    pub fn slow_calls(self, duration: Duration, rate: Ratio) -> Self {
        assert!(!duration.is_zero(), "every call takes longer than zero; say when a call is slow");
        let rate = above_zero(rate);
        self.map(|config| config.slow = Some(Slow { duration, rate }))
    }

    /// How long the breaker stays open: `first` to begin with, doubled each time the probes fail, up to `longest`.
    /// Default 1 s and 10 s.
    ///
    /// The actual time lies between half of that and all of it, at random, so that the instances of a service do not
    /// probe together.
    ///
    /// # Panics
    ///
    /// When `first` is below 1 ms or over `longest`.
    #[track_caller]
    pub fn open_time(self, first: Duration, longest: Duration) -> Self {
        assert!(
            first >= Duration::from_millis(1),
            "an open time below 1 ms gives no dependency time to recover"
        );
        assert!(first <= longest, "the first open time is over the longest");
        self.map(|config| config.open_time = (first, longest))
    }

    /// How many calls a half-open breaker lets through. Default 3.
    ///
    /// # Panics
    ///
    /// When `probes` is zero: the breaker could never close.
    #[track_caller]
    pub fn probes(self, probes: u32) -> Self {
        assert!(probes > 0, "without a probe the breaker could never close; give it at least 1");
        self.map(|config| config.probes = probes)
    }

    /// How long a probe may take before nobody waits for it: the next call then opens the breaker again. By default as long as
    /// its call has, by its [`Deadline`](crate::Deadline) or the timeout of a golden client, but 5 s to 10 min.
    ///
    /// Well above the time that calls take while all is well, or a slow dependency that is back is taken for one that hangs.
    ///
    /// # Panics
    ///
    /// When `timeout` is zero: no probe could succeed.
    #[track_caller]
    pub fn probe_timeout(self, timeout: Duration) -> Self {
        assert!(
            !timeout.is_zero(),
            "a probe timeout of zero would fail every probe; give it a limit above zero"
        );
        self.map(|config| config.probe_timeout = Some(timeout))
    }

    /// How long a breaker whose probes succeeded takes to let everything through again. Default 5 s; zero closes it at
    /// once.
    ///
    /// The share of calls that pass grows evenly with time, from a tenth at least; the others are refused. The usual
    /// rules open it again.
    pub fn ramp(self, ramp: Duration) -> Self {
        self.map(|config| config.ramp = ramp)
    }

    /// What a call counts as that was dropped before its outcome was known. Default [`AbandonedPolicy::IfAll`].
    pub fn abandoned(self, policy: AbandonedPolicy) -> Self {
        self.map(|config| config.abandoned = policy)
    }

    /// Tells this observer; by default the layer has one of its own, named `circuit_breaker`.
    pub fn observer(self, observer: Observer) -> Self {
        Self::with(self.config().clone(), observer, self.policy.inner.clone())
    }

    /// What `per_key` makes its breakers of.
    pub(super) fn into_parts(self) -> (CircuitBreakerConfig, Observer, Leaf<C>) {
        (self.config().clone(), self.breaker().observer.clone(), self.policy.inner.clone())
    }

    fn map(self, change: impl FnOnce(&mut CircuitBreakerConfig)) -> Self {
        let mut config = self.config().clone();
        change(&mut config);
        Self::with(config, self.breaker().observer.clone(), self.policy.inner.clone())
    }
}

#[track_caller]
fn above_zero(rate: Ratio) -> Ratio {
    assert!(rate > Ratio::ZERO, "a rate of zero is reached without a failure; give it a rate above zero");
    rate
}

impl<C> Clone for CircuitBreakerLayer<C> {
    /// The clone shares the breaker.
    fn clone(&self) -> Self {
        Self { policy: Arc::clone(&self.policy) }
    }
}

impl<C> fmt::Debug for CircuitBreakerLayer<C> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("CircuitBreakerLayer").field("config", self.config()).finish_non_exhaustive()
    }
}

impl<S, C> Layer<S> for CircuitBreakerLayer<C> {
    type Service = CircuitBreaker<S, C>;

    fn layer(&self, service: S) -> Self::Service {
        Stack::new(Arc::clone(&self.policy), service)
    }
}
