use std::{fmt, sync::Arc, time::Duration};

use http::{HeaderValue, Method, Request};
use tower::Layer;

use super::{
    Need, OnServerError,
    face::{Face, needed_by},
    policy::IdempotencyPolicy,
};
use crate::{
    classify::ByStatus,
    head::Head,
    idempotency::{
        LeaseOver, Sealer, Store,
        config::IdempotencyConfig,
        keeper::{Keeper, Running},
    },
    observer::Observer,
    policy::{Leaf, Stack, StackFuture},
};

/// A service that runs each key once.
pub type Idempotency<S, St> = Stack<IdempotencyPolicy<Leaf<ByStatus>, St>, S>;
/// The future of an [`Idempotency`].
pub type IdempotencyFuture<S, B, St> = StackFuture<IdempotencyPolicy<Leaf<ByStatus>, St>, S, Request<B>>;

/// Runs each key once; see the [module](super).
///
/// The records belong to the store: all layers with the same store, in all processes, share them.
#[must_use = "a layer does nothing until it is put in front of a service"]
pub struct IdempotencyLayer<St> {
    policy: Arc<IdempotencyPolicy<Leaf<ByStatus>, St>>,
}

impl<St: Store> IdempotencyLayer<St> {
    /// Keeps what came of a key in `store`.
    pub fn new(store: St) -> Self {
        let keeper = Keeper {
            store: Arc::new(store),
            config: IdempotencyConfig::default(),
            sealer: None,
            observer: Observer::unnamed("idempotency"),
            running: Running::new(),
        };
        Self::with(keeper, Face::default())
    }

    /// Refuses POST and PATCH requests without a key, with a link to `documentation`, an absolute URL that says how to make one.
    ///
    /// # Panics
    ///
    /// When the URL has characters that do not belong into one.
    #[track_caller]
    pub fn required(self, documentation: &str) -> Self {
        let is_plain = |byte: u8| byte.is_ascii_graphic() && !matches!(byte, b'<' | b'>' | b'"');
        assert!(documentation.bytes().all(is_plain), "{documentation:?} is not a URL");
        let link = HeaderValue::try_from(format!("<{documentation}>; rel=\"describedby\""))
            .expect("visible characters and spaces");
        self.face(|face| {
            face.need = Arc::new(|head| needed_by(head.method, Need::Required));
            face.documentation = Some(link);
        })
    }

    /// Says for each request whether it needs a key, by its method, its path or whatever its head says.
    pub fn need(self, need: impl Fn(Head<'_>) -> Need + Send + Sync + 'static) -> Self {
        self.face(|face| face.need = Arc::new(need))
    }

    /// The methods whose requests may carry a key; by default POST and PATCH.
    pub fn methods(self, methods: impl Into<Vec<Method>>) -> Self {
        let methods = methods.into();
        self.need(move |head| if methods.contains(head.method) { Need::Optional } else { Need::Ignored })
    }

    /// Says whose key it is: a tenant, a customer, whoever was authenticated. Without this it is a digest of `Authorization`.
    ///
    /// Two callers with one scope can get each other's answers.
    pub fn scope<K: AsRef<[u8]>>(self, scope: impl Fn(Head<'_>) -> K + Send + Sync + 'static) -> Self {
        self.face(|face| face.scope = Arc::new(move |head| scope(head).as_ref().to_vec()))
    }

    /// Says what the key is for; by default the method and the path. With a route in the place of the path, a key that is used
    /// again for another resource of that route is refused as a mismatch.
    pub fn operation<K: AsRef<[u8]>>(
        self,
        operation: impl Fn(Head<'_>) -> K + Send + Sync + 'static,
    ) -> Self {
        self.face(|face| face.operation = Arc::new(move |head| operation(head).as_ref().to_vec()))
    }

    /// Says what a request means, from its head and its body: two requests under one key must mean the same. By default they must
    /// have the same method, target, content type and body, to the byte.
    pub fn meaning<M: AsRef<[u8]>>(
        self,
        meaning: impl Fn(Head<'_>, &[u8]) -> M + Send + Sync + 'static,
    ) -> Self {
        let meaning = Arc::new(move |head: Head<'_>, body: &[u8]| meaning(head, body).as_ref().to_vec());
        self.face(|face| face.meaning = Some(meaning))
    }

    /// Takes a key only in quotes, as the draft writes it. By default a bare one is taken as well: `k1` and `"k1"` are the same.
    pub fn strict(self) -> Self {
        self.face(|face| face.strict = true)
    }

    /// The longest body of a request that carries a key. Default 1 MiB.
    pub fn max_request(self, bytes: usize) -> Self {
        self.face(|face| face.max_request = bytes)
    }

    /// The longest body of an answer that is kept. Default 256 KiB. Of a longer one, and of `text/event-stream`, no more is kept than
    /// that it was given.
    pub fn max_answer(self, bytes: usize) -> Self {
        self.face(|face| face.max_answer = bytes)
    }

    /// What becomes of a key whose handler answered with 5xx. Default: the answer is kept.
    pub fn on_server_error(self, then: OnServerError) -> Self {
        self.face(|face| face.on_server_error = then)
    }

    /// For how long a claim is held unless it is renewed, which it is as long as the handler runs. Default 60 s.
    ///
    /// It is how long a retry is put off after a process died, and how long a process may stand still without losing its
    /// claims.
    ///
    /// # Panics
    ///
    /// When it is shorter than 3 ms.
    #[track_caller]
    pub fn lease(self, lease: Duration) -> Self {
        assert!(lease >= Duration::from_millis(3), "a lease of {lease:?} is over before it can be renewed");
        self.config(|config| config.lease = lease)
    }

    /// What becomes of a key whose lease is over. Default: it is in doubt, and never run again by itself.
    pub fn lease_over(self, then: LeaseOver) -> Self {
        self.config(|config| config.lease_over = then)
    }

    /// For how long an answer is kept. Default 24 h. Callers must not try again after that.
    pub fn retention(self, retention: Duration) -> Self {
        self.config(|config| config.retention = retention)
    }

    /// How long a handler may run, whether its caller waits or not. Then it is dropped, and the key is in doubt. Default 30 s.
    pub fn run_limit(self, limit: Duration) -> Self {
        self.config(|config| config.run_limit = limit)
    }

    /// How long a call waits for the answer of an earlier one that is still at it, instead of being refused. Default 0.
    pub fn max_wait(self, wait: Duration) -> Self {
        self.config(|config| config.max_wait = wait)
    }

    /// How long the store may take for each of its answers. Default 1 s. One that takes longer counts as down.
    pub fn store_timeout(self, limit: Duration) -> Self {
        self.config(|config| config.store_timeout = limit)
    }

    /// Runs handlers without a claim while the store is down. Their callers who come again are run again: **money moves twice**.
    /// By default they are refused with a 503. A store that is full refuses all the same.
    pub fn fail_open(self) -> Self {
        self.config(|config| config.fail_open = true)
    }

    /// Passes answers through `sealer` on their way into the store and out of it.
    pub fn sealer(self, sealer: impl Sealer) -> Self {
        self.keeper(|keeper| keeper.sealer = Some(Arc::new(sealer)))
    }

    /// Tells this observer; by default the layer has one of its own, named `idempotency`.
    pub fn observer(self, observer: Observer) -> Self {
        self.keeper(|keeper| keeper.observer = observer)
    }

    /// What runs under keys of this layer.
    pub fn handle(&self) -> IdempotencyHandle {
        IdempotencyHandle { running: self.policy.keeper.running.clone() }
    }

    /// The same layer round another policy, told to another observer.
    pub(crate) fn over<I>(&self, observer: Observer, inner: I) -> IdempotencyPolicy<I, St> {
        let keeper = Keeper { observer, ..self.policy.keeper.clone() };
        IdempotencyPolicy::new(keeper, Arc::clone(&self.policy.face), inner)
    }

    fn config(self, change: impl FnOnce(&mut IdempotencyConfig)) -> Self {
        self.keeper(|keeper| change(&mut keeper.config))
    }

    fn keeper(self, change: impl FnOnce(&mut Keeper<St>)) -> Self {
        let mut keeper = Keeper { running: Running::new(), ..self.policy.keeper.clone() };
        change(&mut keeper);
        Self::with(keeper, Face::clone(&self.policy.face))
    }

    fn face(self, change: impl FnOnce(&mut Face)) -> Self {
        let mut face = Face::clone(&self.policy.face);
        change(&mut face);
        Self::with(Keeper { running: Running::new(), ..self.policy.keeper.clone() }, face)
    }

    fn with(keeper: Keeper<St>, face: Face) -> Self {
        Self { policy: Arc::new(IdempotencyPolicy::new(keeper, Arc::new(face), Leaf::new(ByStatus))) }
    }
}

impl<St> Clone for IdempotencyLayer<St> {
    /// The clone is the same layer.
    fn clone(&self) -> Self {
        Self { policy: Arc::clone(&self.policy) }
    }
}

impl<St> fmt::Debug for IdempotencyLayer<St> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("IdempotencyLayer").field("config", &self.policy.keeper.config).finish_non_exhaustive()
    }
}

impl<S, St> Layer<S> for IdempotencyLayer<St> {
    type Service = Idempotency<S, St>;

    fn layer(&self, service: S) -> Self::Service {
        Stack::new(Arc::clone(&self.policy), service)
    }
}

/// What runs under the keys of a layer, also for callers who are gone. Clones are the same.
#[derive(Clone, Debug)]
pub struct IdempotencyHandle {
    running: Running,
}

impl IdempotencyHandle {
    /// How many calls with a key are being worked on.
    pub fn running(&self) -> usize {
        self.running.count()
    }

    /// Waits until none is: for a shutdown, after the server takes no more calls and before the runtime is dropped.
    ///
    /// # Cancellation
    ///
    /// Can be dropped and asked again.
    pub async fn drain(&self) {
        self.running.none().await;
    }
}
