use std::{fmt, sync::Arc, time::Duration};

use futures::future::BoxFuture;

use super::{Store, doubts::Doubts, keeper::Keeper, running::Running};

/// What runs under the keys of a layer, also for callers who are gone, and what is in doubt. Clones are the same.
#[derive(Clone)]
pub struct IdempotencyHandle {
    keeper: Arc<dyn Watched>,
}

/// A keeper, whatever its store is.
trait Watched: Send + Sync {
    fn running(&self) -> &Running;
    fn doubts(&self) -> &Doubts;
    fn watch(&self, every: Duration) -> BoxFuture<'_, ()>;
}

impl<St: Store> Watched for Keeper<St> {
    fn running(&self) -> &Running {
        &self.running
    }

    fn doubts(&self) -> &Doubts {
        &self.doubts
    }

    fn watch(&self, every: Duration) -> BoxFuture<'_, ()> {
        Box::pin(Self::watch(self, every))
    }
}

impl IdempotencyHandle {
    pub(super) fn new<St: Store>(keeper: Keeper<St>) -> Self {
        Self { keeper: Arc::new(keeper) }
    }

    /// How many calls with a key are being worked on.
    pub fn running(&self) -> usize {
        self.keeper.running().count()
    }

    /// Waits until none is: for a shutdown, after the server takes no more calls and before the runtime is dropped.
    ///
    /// # Cancellation
    ///
    /// Can be dropped and asked again.
    pub async fn drain(&self) {
        self.keeper.running().none().await;
    }

    /// Asks the store every so often, from now on, for how long its oldest key has been in doubt. It does not end; give it to
    /// a task of its own:
    ///
    /// ```
    /// # #[tokio::main(flavor = "current_thread")] async fn main() {
    /// use std::time::Duration;
    /// use moneta_resilience::idempotency::{IdempotencyLayer, MemoryStore};
    ///
    /// let layer = IdempotencyLayer::new(MemoryStore::new());
    /// tokio::spawn(layer.handle().watch_doubts(Duration::from_secs(30)));
    /// # }
    /// ```
    ///
    /// Nothing does so unless it is said: a layer starts no task before there is a call, and exporters do not wait for a
    /// database.
    ///
    /// # Cancellation
    ///
    /// Can be dropped at any time.
    ///
    /// # Panics
    ///
    /// When `every` is zero.
    #[track_caller]
    pub fn watch_doubts(&self, every: Duration) -> impl Future<Output = ()> + Send + use<> {
        assert!(!every.is_zero(), "a store cannot be asked all the time");
        let keeper = Arc::clone(&self.keeper);
        async move { keeper.watch(every).await }
    }

    /// For how long the oldest key has been in doubt, as far as [`watch_doubts`](Self::watch_doubts) has seen; zero when there
    /// was none, and `None` when nobody has looked.
    pub fn oldest_in_doubt(&self) -> Option<Duration> {
        self.keeper.doubts().oldest()
    }
}

impl fmt::Debug for IdempotencyHandle {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("IdempotencyHandle").field("running", &self.running()).finish_non_exhaustive()
    }
}
