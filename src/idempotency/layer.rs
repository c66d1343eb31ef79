use std::{fmt, sync::Arc, time::Duration};

use tower::Layer;

use super::{
    IdempotencyHandle, IdempotencyPolicy, LeaseOver, Sealer, Store, config::IdempotencyConfig, http::Http,
    keeper::Keeper,
};
use crate::{
    observer::Observer,
    policy::{Leaf, Stack, StackFuture},
};

/// A service that runs each key once.
pub type Idempotency<S, St, F = Http> = Stack<IdempotencyPolicy<Leaf, St, F>, S>;
/// The future of an [`Idempotency`].
pub type IdempotencyFuture<S, Req, St, F = Http> = StackFuture<IdempotencyPolicy<Leaf, St, F>, S, Req>;

/// Runs each key once: requests of HTTP, where nothing else is said ([`new`](Self::new)), or of any service
/// ([`by`](Self::by)). See [`idempotency`](super).
///
/// The records belong to the store: all layers with the same store, in all processes, share them.
#[must_use = "a layer does nothing until it is put in front of a service"]
pub struct IdempotencyLayer<St, F = Http> {
    policy: Arc<IdempotencyPolicy<Leaf, St, F>>,
}

/// What is the same for every protocol.
impl<St: Store, F> IdempotencyLayer<St, F> {
    pub(crate) fn over_face(store: St, face: F) -> Self {
        Self::with(Keeper::new(store), Arc::new(face))
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
    ///
    /// # Panics
    ///
    /// When it is zero.
    #[track_caller]
    pub fn retention(self, retention: Duration) -> Self {
        assert!(
            !retention.is_zero(),
            "an answer that is kept for no time is made again by whoever comes again"
        );
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

    /// What runs under keys of this layer, and what is in doubt.
    pub fn handle(&self) -> IdempotencyHandle {
        IdempotencyHandle::new(self.policy.keeper.clone())
    }

    /// The same of the layer that tells this observer.
    pub(crate) fn handle_over(&self, observer: Observer) -> IdempotencyHandle {
        IdempotencyHandle::new(Keeper { observer, ..self.policy.keeper.clone() })
    }

    /// The same layer round another policy, told to another observer.
    pub(crate) fn over<I>(&self, observer: Observer, inner: I) -> IdempotencyPolicy<I, St, F> {
        let (keeper, face) = self.parts(observer);
        IdempotencyPolicy::new(keeper, face, inner)
    }

    /// The same layer in parts, told to another observer.
    pub(crate) fn parts(&self, observer: Observer) -> (Keeper<St>, Arc<F>) {
        (Keeper { observer, ..self.policy.keeper.clone() }, Arc::clone(&self.policy.face))
    }

    fn config(self, change: impl FnOnce(&mut IdempotencyConfig)) -> Self {
        self.keeper(|keeper| change(&mut keeper.config))
    }

    fn keeper(self, change: impl FnOnce(&mut Keeper<St>)) -> Self {
        let mut keeper = self.policy.keeper.anew();
        change(&mut keeper);
        Self::with(keeper, Arc::clone(&self.policy.face))
    }

    /// A layer with other rules of its face. What runs under the one before it is not its own.
    pub(crate) fn face(self, change: impl FnOnce(&mut F)) -> Self
    where
        F: Clone,
    {
        let keeper = self.policy.keeper.anew();
        Self::with(keeper, self.translated(change).policy.face.clone())
    }

    /// The same layer in another dialect.
    pub(super) fn translated(self, change: impl FnOnce(&mut F)) -> Self
    where
        F: Clone,
    {
        let mut face = F::clone(&self.policy.face);
        change(&mut face);
        Self::with(self.policy.keeper.clone(), Arc::new(face))
    }

    fn with(keeper: Keeper<St>, face: Arc<F>) -> Self {
        Self { policy: Arc::new(IdempotencyPolicy::new(keeper, face, Leaf::default())) }
    }
}

impl<St, F> Clone for IdempotencyLayer<St, F> {
    /// The clone is the same layer.
    fn clone(&self) -> Self {
        Self { policy: Arc::clone(&self.policy) }
    }
}

impl<St, F> fmt::Debug for IdempotencyLayer<St, F> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("IdempotencyLayer").field("config", &self.policy.keeper.config).finish_non_exhaustive()
    }
}

impl<S, St, F> Layer<S> for IdempotencyLayer<St, F> {
    type Service = Idempotency<S, St, F>;

    fn layer(&self, service: S) -> Self::Service {
        Stack::new(Arc::clone(&self.policy), service)
    }
}
