//! A store that fails as told, in front of the one in memory.

use std::{
    future::pending,
    sync::{Arc, Mutex},
    time::Duration,
};

use moneta_resilience::idempotency::{
    Ask, CompleteIn, Found, Identity, InDoubt, MemoryStore, Outcome, Owner, Store, StoreError, Verdict,
};

#[derive(Clone, Copy, PartialEq)]
pub(crate) enum Mode {
    Up,
    /// Refuses connections.
    Down,
    /// Never answers.
    Hangs,
    /// Does what it is asked, and its answer is lost.
    Deaf,
    /// Does what it is asked, and the whole process stands still for so long before it hears of it.
    StandsStill(Duration),
}

#[derive(Clone)]
pub(crate) struct Faulty {
    pub(crate) records: MemoryStore,
    mode: Arc<Mutex<Mode>>,
}

impl Faulty {
    pub(crate) fn new() -> Self {
        Self { records: MemoryStore::new(), mode: Arc::new(Mutex::new(Mode::Up)) }
    }

    pub(crate) fn set(&self, mode: Mode) {
        *self.mode.lock().unwrap() = mode;
    }

    async fn through<T>(&self, asked: impl Future<Output = Result<T, StoreError>>) -> Result<T, StoreError> {
        let mode = *self.mode.lock().unwrap();
        match mode {
            Mode::Up => asked.await,
            Mode::Down => Err(StoreError::Unavailable("connection refused".into())),
            Mode::Hangs => pending().await,
            Mode::Deaf => {
                asked.await?;
                Err(StoreError::Unavailable("connection reset".into()))
            }
            Mode::StandsStill(time) => {
                let answer = asked.await;
                tokio::time::advance(time).await;
                answer
            }
        }
    }
}

impl Store for Faulty {
    async fn claim(&self, id: Identity, ask: Ask) -> Result<Found, StoreError> {
        self.through(self.records.claim(id, ask)).await
    }

    async fn renew(&self, id: Identity, owner: Owner, lease: Duration) -> Result<(), StoreError> {
        self.through(self.records.renew(id, owner, lease)).await
    }

    async fn checkpoint(&self, id: Identity, owner: Owner, phase: u32) -> Result<(), StoreError> {
        self.through(self.records.checkpoint(id, owner, phase)).await
    }

    async fn complete(
        &self,
        id: Identity,
        owner: Owner,
        outcome: Outcome,
        retention: Duration,
    ) -> Result<(), StoreError> {
        self.through(self.records.complete(id, owner, outcome, retention)).await
    }

    async fn release(&self, id: Identity, owner: Owner) -> Result<(), StoreError> {
        self.through(self.records.release(id, owner)).await
    }

    async fn doubt(&self, id: Identity, owner: Owner) -> Result<(), StoreError> {
        self.through(self.records.doubt(id, owner)).await
    }

    async fn reconcile(&self, id: Identity, fence: i64, verdict: Verdict) -> Result<(), StoreError> {
        self.through(self.records.reconcile(id, fence, verdict)).await
    }

    async fn in_doubt(&self, limit: usize) -> Result<Vec<InDoubt>, StoreError> {
        self.through(self.records.in_doubt(limit)).await
    }

    async fn purge(&self, limit: usize) -> Result<usize, StoreError> {
        self.through(self.records.purge(limit)).await
    }
}

/// A transaction: what it will do to the records when it is committed. The check of the owner is made when it is written, as a row
/// lock would have it.
#[derive(Default)]
pub(crate) struct Transaction {
    completes: Option<(Identity, Owner, Outcome, Duration)>,
}

impl Transaction {
    pub(crate) async fn commit(self, store: &Faulty) {
        if let Some((id, owner, outcome, retention)) = self.completes {
            store.records.complete(id, owner, outcome, retention).await.unwrap();
        }
    }
}

impl CompleteIn<Transaction> for Faulty {
    async fn complete_in(
        &self,
        tx: &mut Transaction,
        id: Identity,
        owner: Owner,
        outcome: Outcome,
        retention: Duration,
    ) -> Result<(), StoreError> {
        self.records.renew(id, owner, retention).await?;
        tx.completes = Some((id, owner, outcome, retention));
        Ok(())
    }
}
