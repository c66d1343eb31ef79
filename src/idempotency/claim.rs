use std::{fmt, sync::Arc, time::Duration};

use bytes::Bytes;
use futures::future::BoxFuture;
use tokio::sync::watch;

use super::{
    CompleteIn, Fingerprint, Identity, Outcome, Owner, Sealer, Store, StoreError, digest::digest,
    seal::sealed, store::told,
};
use crate::{
    event::StoreOperation,
    observer::Observer,
    sync::{AtomicBool, Ordering},
};

tokio::task_local! {
    /// That of the message that is handled.
    static CURRENT: Claim;
}

/// What a handler holds while it runs under a key: an extension of its request, of a message [`Claim::current`].
///
/// Clones are the same claim. Dropping it releases nothing.
#[derive(Clone)]
pub struct Claim {
    held: Arc<Held>,
}

struct Held {
    grant: Grant,
    retention: Duration,
    store: Arc<dyn Checkpoints>,
    sealer: Option<Arc<dyn Sealer>>,
    observer: Observer,
    lost: watch::Sender<bool>,
    not_executed: AtomicBool,
    completed_in: AtomicBool,
}

/// The part of a store that a handler needs without naming its type, which is why its future is boxed: beside the write of a
/// record, that is nothing.
trait Checkpoints: Send + Sync {
    fn checkpoint(&self, id: Identity, owner: Owner, phase: u32) -> BoxFuture<'_, Result<(), StoreError>>;
}

impl<St: Store> Checkpoints for St {
    fn checkpoint(&self, id: Identity, owner: Owner, phase: u32) -> BoxFuture<'_, Result<(), StoreError>> {
        Box::pin(Store::checkpoint(self, id, owner, phase))
    }
}

/// What a claim was granted for.
pub(super) struct Grant {
    pub(super) id: Identity,
    pub(super) fingerprint: Fingerprint,
    pub(super) owner: Owner,
    pub(super) fence: i64,
    pub(super) phase: u32,
}

impl Claim {
    pub(super) fn new<St: Store>(
        grant: Grant,
        retention: Duration,
        store: &Arc<St>,
        sealer: Option<Arc<dyn Sealer>>,
        observer: Observer,
    ) -> Self {
        let held = Held {
            grant,
            retention,
            store: Arc::clone(store) as Arc<dyn Checkpoints>,
            sealer,
            observer,
            lost: watch::Sender::new(false),
            not_executed: AtomicBool::new(false),
            completed_in: AtomicBool::new(false),
        };
        Self { held: Arc::new(held) }
    }

    /// The claim of the message that is handled here, on a golden consumer whose messages have keys. `None` elsewhere, in a task that
    /// the handler spawned, and where the store was down and the consumer was told to go on without.
    pub fn current() -> Option<Self> {
        CURRENT.try_with(Self::clone).ok()
    }

    /// Does a piece of work whose claim this is.
    pub(crate) fn enter<T>(this: Option<&Self>, work: impl FnOnce() -> T) -> T {
        match this {
            Some(claim) => CURRENT.sync_scope(claim.clone(), work),
            None => work(),
        }
    }

    /// The handler of a message is called, maybe for another time: what it said of the last one does not go for this.
    pub(crate) fn begin_run() {
        _ = CURRENT.try_with(Self::keep);
    }

    /// The key is to be kept, whatever the handler said.
    pub(crate) fn keep(&self) {
        self.held.not_executed.store(false, Ordering::Release);
    }

    /// Under which the record of the key is kept.
    pub fn id(&self) -> Identity {
        self.held.grant.id
    }

    /// A number greater than that of every earlier claim in the store. A resource that remembers the greatest it has seen, and
    /// refuses smaller ones, is safe from a handler that slept through its lease.
    pub fn fence(&self) -> i64 {
        self.held.grant.fence
    }

    /// The last [`checkpoint`](Self::checkpoint) of the claim that this one [resumes](super::LeaseOver::Resume); 0 when the work
    /// begins.
    pub fn phase(&self) -> u32 {
        self.held.grant.phase
    }

    /// Ends when the claim is lost: somebody else has it, or the store could not be reached for a whole lease. The handler
    /// should stop then; what it writes under this claim is refused.
    ///
    /// # Cancellation
    ///
    /// Can be dropped and asked again.
    pub async fn lost(&self) {
        // The sender is held by the claim itself, so it is not gone while this waits.
        _ = self.held.lost.subscribe().wait_for(|&lost| lost).await;
    }

    /// Whether the claim is lost.
    pub fn is_lost(&self) -> bool {
        *self.held.lost.borrow()
    }

    /// Notes how far the work has come. Whoever [resumes](super::LeaseOver::Resume) it is told.
    ///
    /// # Errors
    ///
    /// As [`Store::checkpoint`].
    pub async fn checkpoint(&self, phase: u32) -> Result<(), StoreError> {
        let noted = self.held.store.checkpoint(self.held.grant.id, self.held.grant.owner, phase);
        told(&self.held.observer, StoreOperation::Checkpoint, noted).await
    }

    /// A key for a downstream call, the same in every run of this request: 64 hexadecimal digits that depend on the key, the
    /// request and `step`, and that nobody can turn back into the key.
    pub fn derive_key(&self, step: &str) -> String {
        let parts: [&[u8]; 3] =
            [self.held.grant.id.as_bytes(), self.held.grant.fingerprint.as_bytes(), step.as_bytes()];
        Identity::from_bytes(digest("derived key", parts)).to_string()
    }

    /// Says that the handler has done nothing that must not be done twice, and will not: the key is free again once it has ended,
    /// however that is. It must be certain: that a call to somebody else failed, or was refused, proves nothing about the calls
    /// before. A claim that resumed an earlier one is given back with the checkpoint that it had, for the next to resume.
    ///
    /// It is said of one run: a consumer that tries a message again inside of its delivery asks anew.
    pub fn not_executed(&self) {
        self.held.not_executed.store(true, Ordering::Release);
    }

    /// Completes the claim inside of the handler's own transaction, as the last statement before its commit, so that what the
    /// handler wrote and the record of it are committed together or not at all.
    ///
    /// `store` is the store of the layer. `answer` is what callers who come again get. Once the transaction is committed,
    /// the handler gives the same answer to this caller. What became of the commit is looked up before anything is answered:
    /// where it went through although the handler was told that it failed, the caller gets `answer`.
    ///
    /// # Errors
    ///
    /// [`Fenced`](StoreError::Fenced) when the claim is lost, and [`Unavailable`](StoreError::Unavailable). The transaction must
    /// be rolled back then.
    pub async fn complete_in<St, Tx>(
        &self,
        store: &St,
        tx: &mut Tx,
        answer: impl Into<Outcome>,
    ) -> Result<(), StoreError>
    where
        St: CompleteIn<Tx>,
        Tx: ?Sized,
    {
        // Before it is tried: also an attempt that failed, or was dropped, may have been committed.
        self.held.completed_in.store(true, Ordering::Release);
        let outcome = sealed(self.held.sealer.as_ref(), self.held.grant.id, answer.into());
        let Grant { id, owner, .. } = self.held.grant;
        let completed = store.complete_in(tx, id, owner, outcome, self.held.retention);
        told(&self.held.observer, StoreOperation::CompleteIn, completed).await
    }

    pub(super) fn owner(&self) -> Owner {
        self.held.grant.owner
    }

    pub(super) fn lose(&self) {
        self.held.lost.send_replace(true);
    }

    pub(crate) fn is_not_executed(&self) -> bool {
        self.held.not_executed.load(Ordering::Acquire)
    }

    pub(crate) fn is_completed_in(&self) -> bool {
        self.held.completed_in.load(Ordering::Acquire)
    }
}

impl From<Bytes> for Outcome {
    fn from(answer: Bytes) -> Self {
        Self::Answer(answer)
    }
}

impl fmt::Debug for Claim {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Claim")
            .field("id", &self.held.grant.id)
            .field("fence", &self.held.grant.fence)
            .finish_non_exhaustive()
    }
}
