use std::{fmt, hash::Hash, sync::Arc, time::Duration};

use tokio::time::Instant;
use tower::Layer;

use super::{
    CircuitBreakerHandle, CircuitBreakerLayer, CircuitBreakerPolicy,
    config::CircuitBreakerConfig,
    machine::Machine,
    policy::{Breaker, Choice},
};
use crate::{
    classify::ByError,
    event::CircuitState,
    keyed::Keyed,
    observer::Observer,
    policy::{Leaf, Stack, StackFuture},
    random::Random,
};

/// A service behind one circuit breaker per key.
pub type PerKeyBreaker<S, F, K, C = ByError> = Stack<CircuitBreakerPolicy<Leaf<C>, PerKey<F, K>>, S>;
/// The future of a [`PerKeyBreaker`].
pub type PerKeyBreakerFuture<S, Req, F, K, C = ByError> =
    StackFuture<CircuitBreakerPolicy<Leaf<C>, PerKey<F, K>>, S, Req>;

/// How many keys have a breaker of their own, unless the user says otherwise.
const MAX_KEYS: usize = 10_000;
/// How long nobody has to ask an open breaker, after it would have let a call through, until it is thrown away.
pub(super) const PATIENCE: Duration = Duration::from_secs(60);

/// A circuit breaker for each key of the requests: a host, a tenant, a shard. One that fails is left alone, and the
/// others are not.
///
/// [`CircuitBreakerLayer::per_key`] makes one. The key is asked for in every call and must not block; one that is cheap to
/// clone (a number, an `Arc<str>`, `http::uri::Authority`) costs no allocation.
///
/// # Bounds
///
/// At most [`max_keys`](Self::max_keys) keys have a breaker of their own, below 1 KiB each. A further key takes the
/// place of one that was not used lately: never of one with a call on its way, never of one that is not closed. An open one
/// counts as closed again once nobody has asked it for a minute after it would have let a call through. Keys for which
/// there is no place share one breaker.
///
/// A service of its own is ready whether its inner service is or not: which breaker is asked is known only with the
/// request. The inner service gets ready inside the call.
///
/// # Telemetry
///
/// As the [circuit breaker](super), all keys together: a key is a word from outside, and no label.
///
/// # Example
///
/// ```
/// # #[tokio::main(flavor = "current_thread")] async fn main() {
/// use std::io::{Error, ErrorKind};
/// use moneta_resilience::{BoxError, Rejected, circuit_breaker::CircuitBreakerLayer};
/// use tower::{Service, ServiceBuilder, ServiceExt, service_fn};
///
/// let per_shard = CircuitBreakerLayer::new().consecutive_failures(3).per_key(|shard: &u32| *shard);
/// let mut service = ServiceBuilder::new().layer(&per_shard).service(service_fn(async |shard: u32| match shard {
///     7 => Err(Error::from(ErrorKind::ConnectionRefused)),
///     _ => Ok("here"),
/// }));
///
/// for _ in 0..3 {
///     service.ready().await.unwrap().call(7).await.expect_err("nobody listens");
/// }
/// let error = service.ready().await.unwrap().call(7).await.expect_err("its breaker is open");
/// assert!(Rejected::find(&*error).is_some());
/// assert_eq!(service.ready().await.unwrap().call(8).await.unwrap(), "here");
/// # }
/// ```
///
/// In a golden client it takes the place of the client's own breaker, in front of the transport; a timeout inside of it
/// makes a host that only hangs a failure:
///
/// ```no_run
/// # fn main() {
/// use std::time::Duration;
/// use moneta_resilience::{circuit_breaker::CircuitBreakerLayer, golden, timeout::TimeoutLayer};
/// use tower::{ServiceBuilder, service_fn};
/// # #[derive(Clone, Copy)] struct Ask { shard: u32 }
/// # impl moneta_resilience::Repeat for Ask { fn again(&self) -> Option<Self> { Some(*self) } }
/// # async fn ask(_: Ask) -> Result<u64, std::io::Error> { Ok(7) }
///
/// let shards = ServiceBuilder::new()
///     .layer(CircuitBreakerLayer::new().per_key(|ask: &Ask| ask.shard))
///     .layer(TimeoutLayer::new(Duration::from_millis(300)))
///     .service(service_fn(ask));
/// let ledger = golden::client("ledger")
///     .timeout(Duration::from_secs(1))
///     .no_fallback()
///     .without_circuit_breaker()
///     .service(shards);
/// # let _ = ledger.send(Ask { shard: 7 });
/// # }
/// ```
#[must_use = "a layer does nothing until it is put in front of a service"]
pub struct PerKeyLayer<F, K, C = ByError> {
    policy: Arc<CircuitBreakerPolicy<Leaf<C>, PerKey<F, K>>>,
}

/// The breakers of a [`PerKeyLayer`], and how a request says which is its own.
pub struct PerKey<F, K> {
    key: Arc<F>,
    machines: Arc<Machines<K>>,
}

struct Machines<K> {
    config: CircuitBreakerConfig,
    random: Random,
    of: Keyed<K, Machine>,
    /// Of all keys that have none of their own.
    shared: Arc<Machine>,
    max_keys: usize,
}

impl<C: Clone> CircuitBreakerLayer<C> {
    /// A breaker like this one for each key of the requests. It is the last thing to be said of the breaker itself.
    pub fn per_key<F, Req, K>(self, key: F) -> PerKeyLayer<F, K, C>
    where
        F: Fn(&Req) -> K,
        K: Hash + Eq,
    {
        let (config, observer, leaf) = self.into_parts();
        let choice = PerKey { key: Arc::new(key), machines: Arc::new(Machines::new(config, MAX_KEYS)) };
        PerKeyLayer::with(choice, observer, leaf)
    }
}

impl<F, K, C: Clone> PerKeyLayer<F, K, C> {
    /// How many keys have a breaker of their own. Default 10,000.
    ///
    /// # Panics
    ///
    /// When `max` is zero: that is one breaker for all, which is what the layer was before it was told of keys.
    #[track_caller]
    pub fn max_keys(self, max: usize) -> Self {
        assert!(max > 0, "with no keys at all there is one breaker for all; leave `per_key` out");
        let breaker = self.breaker();
        let machines = Arc::new(Machines::new(breaker.choice.machines.config.clone(), max));
        let choice = PerKey { key: Arc::clone(&breaker.choice.key), machines };
        Self::with(choice, breaker.observer.clone(), self.policy.inner.clone())
    }
}

impl<F, K, C> PerKeyLayer<F, K, C> {
    /// The breakers while they run.
    pub fn handle(&self) -> PerKeyHandle<K> {
        let breaker = self.breaker();
        PerKeyHandle { machines: Arc::clone(&breaker.choice.machines), observer: breaker.observer.clone() }
    }

    fn breaker(&self) -> &Breaker<PerKey<F, K>> {
        self.policy.breaker.as_ref().expect("a layer's breaker is never off")
    }

    fn with(choice: PerKey<F, K>, observer: Observer, leaf: Leaf<C>) -> Self {
        let breaker = Some(Breaker { choice, observer });
        Self { policy: Arc::new(CircuitBreakerPolicy { breaker, inner: leaf }) }
    }
}

impl<K> Machines<K> {
    fn new(config: CircuitBreakerConfig, max_keys: usize) -> Self {
        let random = Random::from_entropy();
        let seed = Random::seeded(random.next_u64());
        let shared = Arc::new(Machine::new(config.clone(), seed, Instant::now()));
        Self { config, random, of: Keyed::new(max_keys), shared, max_keys }
    }

    fn find(&self, key: K) -> Arc<Machine>
    where
        K: Hash + Eq,
    {
        let make = || {
            let random = Random::seeded(self.random.next_u64());
            Machine::with_shared_window(self.config.clone(), random, Instant::now())
        };
        let may_go = |machine: &Machine| machine.may_be_forgotten(PATIENCE, Instant::now());
        self.of.find(key, make, may_go).unwrap_or_else(|| Arc::clone(&self.shared))
    }
}

impl<F, K, Req> Choice<Req> for PerKey<F, K>
where
    F: Fn(&Req) -> K,
    K: Hash + Eq,
{
    type Held = Arc<Machine>;

    fn hold(&self, request: &Req) -> Arc<Machine> {
        self.machines.find((self.key)(request))
    }

    fn machine<'a>(&'a self, held: &'a Arc<Machine>) -> &'a Machine {
        held
    }

    fn may_refuse(&self) -> bool {
        true
    }
}

/// The circuit breakers of a [`PerKeyLayer`] while they run. Clones are the same ones.
pub struct PerKeyHandle<K> {
    machines: Arc<Machines<K>>,
    observer: Observer,
}

impl<K> PerKeyHandle<K> {
    /// The breaker of a key, made if there is none. It may be the one that keys without a place [share](Self::shared).
    pub fn breaker(&self, key: K) -> CircuitBreakerHandle
    where
        K: Hash + Eq,
    {
        self.grip(self.machines.find(key))
    }

    /// The breaker of all keys that have none of their own.
    pub fn shared(&self) -> CircuitBreakerHandle {
        self.grip(Arc::clone(&self.machines.shared))
    }

    /// The keys that have a breaker of their own, in no order, and its state.
    pub fn keys(&self) -> Vec<(K, CircuitState)>
    where
        K: Clone,
    {
        let mut keys = Vec::new();
        self.machines.of.for_each(|key, machine| keys.push((key.clone(), machine.state())));
        keys
    }

    /// [Resets](CircuitBreakerHandle::reset) all of them.
    pub fn reset(&self) {
        let mut machines = vec![Arc::clone(&self.machines.shared)];
        self.machines.of.for_each(|_, machine| machines.push(Arc::clone(machine)));
        for machine in machines {
            self.grip(machine).reset();
        }
    }

    fn grip(&self, machine: Arc<Machine>) -> CircuitBreakerHandle {
        CircuitBreakerHandle::new(machine, self.observer.clone())
    }
}

impl<F, K> Clone for PerKey<F, K> {
    fn clone(&self) -> Self {
        Self { key: Arc::clone(&self.key), machines: Arc::clone(&self.machines) }
    }
}

impl<F, K> fmt::Debug for PerKey<F, K> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("PerKey").field("max_keys", &self.machines.max_keys).finish_non_exhaustive()
    }
}

impl<K> Clone for PerKeyHandle<K> {
    fn clone(&self) -> Self {
        Self { machines: Arc::clone(&self.machines), observer: self.observer.clone() }
    }
}

impl<K> fmt::Debug for PerKeyHandle<K> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("PerKeyHandle").field("name", self.observer.name()).finish_non_exhaustive()
    }
}

impl<F, K, C> Clone for PerKeyLayer<F, K, C> {
    /// The clone shares the breakers.
    fn clone(&self) -> Self {
        Self { policy: Arc::clone(&self.policy) }
    }
}

impl<F, K, C> fmt::Debug for PerKeyLayer<F, K, C> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("PerKeyLayer").field(&self.breaker().choice).finish()
    }
}

impl<S, F, K, C> Layer<S> for PerKeyLayer<F, K, C> {
    type Service = PerKeyBreaker<S, F, K, C>;

    fn layer(&self, service: S) -> Self::Service {
        Stack::new(Arc::clone(&self.policy), service)
    }
}
