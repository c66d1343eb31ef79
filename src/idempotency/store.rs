use std::time::Duration;

use bytes::Bytes;

use tokio::time::Instant;

use super::{Fingerprint, Identity, Owner};
use crate::{
    error::BoxError,
    event::{Event, StoreOperation, StoreResult},
    observer::Observer,
};

/// Where records of keys are kept. See the [module](super) for the states of a record.
///
/// A store decides and writes in one step: what two callers ask at the same time is as if one had asked after the other. It
/// has its own clock (a server's is the server's), so only durations are handed to it.
///
/// Every write names the [`Owner`] that the claim was granted to. From anyone else it is [`StoreError::Fenced`] and changes
/// nothing. All writes may be sent again when their answer was lost.
///
/// # Cancellation
///
/// When the future of any method is dropped, its write has happened or not; asking again with the same owner shows which.
pub trait Store: Send + Sync + 'static {
    /// Asks for the right to run what stands behind a key.
    ///
    /// The fingerprint is compared before anything else. The same owner asking again, because the answer was lost, gets the
    /// same fence, and its lease begins anew.
    ///
    /// # Errors
    ///
    /// [`Full`](StoreError::Full), for a new key alone, and [`Unavailable`](StoreError::Unavailable).
    fn claim(&self, id: Identity, ask: Ask) -> impl Future<Output = Result<Found, StoreError>> + Send;

    /// Makes the lease last until `lease` from now. Also once it is over, as long as nobody else has come.
    ///
    /// # Errors
    ///
    /// [`Fenced`](StoreError::Fenced) when the claim is lost, and [`Unavailable`](StoreError::Unavailable).
    fn renew(
        &self,
        id: Identity,
        owner: Owner,
        lease: Duration,
    ) -> impl Future<Output = Result<(), StoreError>> + Send;

    /// Notes how far the work has come, for whoever [resumes](LeaseOver::Resume) it.
    ///
    /// # Errors
    ///
    /// [`Fenced`](StoreError::Fenced) when the claim is lost, and [`Unavailable`](StoreError::Unavailable).
    fn checkpoint(
        &self,
        id: Identity,
        owner: Owner,
        phase: u32,
    ) -> impl Future<Output = Result<(), StoreError>> + Send;

    /// Keeps what came of it for `retention` from now. A second time it changes nothing and is fine.
    ///
    /// # Errors
    ///
    /// [`Fenced`](StoreError::Fenced) when the claim is lost, and [`Unavailable`](StoreError::Unavailable).
    fn complete(
        &self,
        id: Identity,
        owner: Owner,
        outcome: Outcome,
        retention: Duration,
    ) -> impl Future<Output = Result<(), StoreError>> + Send;

    /// Forgets a key whose work provably did not begin.
    ///
    /// # Errors
    ///
    /// [`Fenced`](StoreError::Fenced) when the claim is lost, or was released before, and
    /// [`Unavailable`](StoreError::Unavailable).
    fn release(&self, id: Identity, owner: Owner) -> impl Future<Output = Result<(), StoreError>> + Send;

    /// Notes that nobody knows what came of it. Only [`reconcile`](Self::reconcile) ends that.
    ///
    /// # Errors
    ///
    /// [`Fenced`](StoreError::Fenced) when the claim is lost, and [`Unavailable`](StoreError::Unavailable).
    fn doubt(&self, id: Identity, owner: Owner) -> impl Future<Output = Result<(), StoreError>> + Send;

    /// Ends a doubt with the verdict of an operator, or of a job that looked into the books.
    ///
    /// A claim whose lease is over counts as in doubt, too. `fence` is that of the claim that was looked into.
    ///
    /// # Errors
    ///
    /// [`Fenced`](StoreError::Fenced) when the key is not in doubt, or a later claim's is, and
    /// [`Unavailable`](StoreError::Unavailable).
    fn reconcile(
        &self,
        id: Identity,
        fence: i64,
        verdict: Verdict,
    ) -> impl Future<Output = Result<(), StoreError>> + Send;

    /// At most `limit` of the keys in doubt, and of those whose lease is over, the longest first.
    ///
    /// # Errors
    ///
    /// [`Unavailable`](StoreError::Unavailable).
    fn in_doubt(&self, limit: usize) -> impl Future<Output = Result<Vec<InDoubt>, StoreError>> + Send;

    /// How long the oldest doubt has lasted; `None` when there is none.
    ///
    /// # Errors
    ///
    /// [`Unavailable`](StoreError::Unavailable).
    fn oldest_in_doubt(&self) -> impl Future<Output = Result<Option<Duration>, StoreError>> + Send {
        async { Ok(self.in_doubt(1).await?.first().map(|doubt| doubt.age)) }
    }

    /// Forgets at most `limit` of the outcomes whose retention is over, and says how many it was. It is never needed for a
    /// right answer: retention is looked at when a key is claimed, too.
    ///
    /// # Errors
    ///
    /// [`Unavailable`](StoreError::Unavailable).
    fn purge(&self, limit: usize) -> impl Future<Output = Result<usize, StoreError>> + Send;
}

/// A store whose records live where the handler's own data live, so that both can be written in one transaction `Tx`.
///
/// That makes the effect *exactly one*: what the handler wrote is committed together with the record of it, by the claim that
/// is still the right one, or not at all.
pub trait CompleteIn<Tx: ?Sized>: Store {
    /// [`Store::complete`] inside of `tx`, as the last statement before its commit.
    ///
    /// # Errors
    ///
    /// [`Fenced`](StoreError::Fenced) when the claim is lost: the transaction must be rolled back. The same goes for
    /// [`Unavailable`](StoreError::Unavailable).
    fn complete_in(
        &self,
        tx: &mut Tx,
        id: Identity,
        owner: Owner,
        outcome: Outcome,
        retention: Duration,
    ) -> impl Future<Output = Result<(), StoreError>> + Send;
}

/// What is asked of a store in [`Store::claim`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Ask {
    /// Who asks.
    pub owner: Owner,
    /// What is to be done under the key.
    pub fingerprint: Fingerprint,
    /// For how long the claim is the owner's unless it is renewed.
    pub lease: Duration,
    /// What is to happen when somebody else's lease is over.
    pub lease_over: LeaseOver,
}

/// What becomes of a claim whose lease is over, because its process died, hangs, or lost the store.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum LeaseOver {
    /// Nobody knows what came of it, so it is never run again by itself. An operator, or a job, [reconciles](Store::reconcile).
    #[default]
    InDoubt,
    /// The next one that comes runs it again, from the beginning: right where all that the handler does is in the transaction
    /// that [completes](CompleteIn) the claim, or does no harm twice. Elsewhere money moves twice.
    Reexecute,
    /// The next one that comes runs it again and is told the last [checkpoint](Store::checkpoint): right where every step of the
    /// handler can be repeated, or is known to be done.
    Resume,
}

/// What a store found under a key.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Found {
    /// Nothing, or a claim that is to be taken over: the caller is to run it.
    Granted {
        /// Greater than the fence of every earlier claim in this store.
        fence: i64,
        /// The last checkpoint of the claim that is resumed; 0 when the work begins.
        phase: u32,
    },
    /// Somebody is running it.
    InProgress {
        /// What is left of the lease.
        lease_left: Duration,
    },
    /// The key was used for another request.
    Mismatch,
    /// Nobody knows what came of it.
    InDoubt,
    /// It was run, and this came of it.
    Done(Outcome),
}

/// What is kept of work that was done.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// The answer, in the form in which the face of a protocol writes and reads it. A store does not look into it.
    Answer(Bytes),
    /// That it was done and no more: the answer was too long, a stream, or there was no room for it.
    Tombstone,
}

/// What an operator, or a job, found out about a key in doubt.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// It was done.
    Done {
        /// What callers who come again are to get.
        outcome: Outcome,
        /// For how long.
        retention: Duration,
    },
    /// It was not done and will not be: the key may be used again.
    Absent,
}

/// A key of which nobody knows what came of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct InDoubt {
    /// The key.
    pub id: Identity,
    /// The fence of the claim.
    pub fence: i64,
    /// The last checkpoint; 0 when there was none.
    pub phase: u32,
    /// For how long it has been in doubt.
    pub age: Duration,
}

/// Why a store did not do what it was asked.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum StoreError {
    /// The claim is not the caller's, or not any more. Nothing was written.
    #[error("the claim is lost: nothing was written")]
    Fenced,
    /// There is no room for another key.
    #[error("the store of idempotency keys is full")]
    Full,
    /// The store could not be asked, or did not answer: its write has happened or not.
    #[error("the store of idempotency keys cannot be reached")]
    Unavailable(#[source] BoxError),
}

/// Waits for the answer of a store, and tells how long it took. One that is dropped meanwhile is not told.
pub(super) async fn told<T>(
    observer: &Observer,
    operation: StoreOperation,
    asked: impl Future<Output = Result<T, StoreError>>,
) -> Result<T, StoreError> {
    let began = Instant::now();
    let answer = asked.await;
    let result = match &answer {
        Ok(_) => StoreResult::Ok,
        Err(StoreError::Fenced) => StoreResult::Fenced,
        Err(StoreError::Full) => StoreResult::Full,
        Err(StoreError::Unavailable(_)) => StoreResult::Unavailable,
    };
    observer.emit(Event::StoreAsked { operation, result, elapsed: began.elapsed() });
    answer
}
