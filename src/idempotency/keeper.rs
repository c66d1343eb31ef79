//! The protocol of a key, whatever the requests are: claim, run, keep what came of it.
//!
//! All of it runs in a task of its own, from the claim on, so that a caller who goes away takes nothing with it. The answer is
//! handed over as soon as it stands; what is left to do (to complete a claim that the store did not take) goes on behind it.

use std::{
    any::Any, convert::Infallible, future::pending, panic::AssertUnwindSafe, pin::pin, sync::Arc,
    time::Duration,
};

use futures::{
    FutureExt,
    future::{Either, select},
};
use tokio::{
    sync::oneshot,
    time::{Instant, MissedTickBehavior, interval, sleep, timeout},
};

use super::{
    Ask, Claim, Fingerprint, Found, Identity, LeaseOver, Outcome, Owner, Sealer, Store, StoreError,
    claim::Grant,
    config::IdempotencyConfig,
    doubts::Doubts,
    ended::{Ended, Reply},
    running::Running,
    seal::{opened, sealed},
    store::told,
};
use crate::{
    call::later,
    event::{Event, IdempotencyResult, StoreOperation},
    observer::Observer,
};

/// Keeps the promise of one effect per key, in the records of one store.
pub(crate) struct Keeper<St> {
    pub(super) store: Arc<St>,
    pub(crate) config: IdempotencyConfig,
    pub(super) sealer: Option<Arc<dyn Sealer>>,
    pub(crate) observer: Observer,
    pub(super) running: Running,
    pub(super) doubts: Doubts,
}

impl<St> Clone for Keeper<St> {
    fn clone(&self) -> Self {
        Self {
            store: Arc::clone(&self.store),
            config: self.config,
            sealer: self.sealer.clone(),
            observer: self.observer.clone(),
            running: self.running.clone(),
            doubts: self.doubts.clone(),
        }
    }
}

impl<St> Keeper<St> {
    pub(super) fn new(store: St) -> Self {
        Self {
            store: Arc::new(store),
            config: IdempotencyConfig::default(),
            sealer: None,
            observer: Observer::unnamed("idempotency"),
            running: Running::new(),
            doubts: Doubts::default(),
        }
    }

    /// The same rules and records, for a layer of which nothing runs yet.
    pub(super) fn anew(&self) -> Self {
        Self { running: Running::new(), doubts: Doubts::default(), ..self.clone() }
    }
}

impl<St: Store> Keeper<St> {
    /// Does `work` once, or says why not. `work` gets no claim when the store is not there and it is to be done all the same.
    pub(crate) async fn run<T, W, F>(
        self,
        id: Identity,
        fingerprint: Fingerprint,
        work: F,
        reply: oneshot::Sender<Reply<T>>,
    ) where
        F: FnOnce(Option<Claim>) -> W,
        W: Future<Output = (T, Ended)>,
    {
        let _running = self.running.enter();
        let ask = Ask {
            owner: Owner::random(),
            fingerprint,
            lease: self.config.lease,
            lease_over: self.config.lease_over,
        };
        let (found, asked) = self.claim(id, ask).await;
        let (told, result) = match found {
            Ok(Found::Granted { fence, phase }) => {
                let grant = Grant { id, fingerprint, owner: ask.owner, fence, phase };
                let (sealer, observer) = (self.sealer.clone(), self.observer.clone());
                let claim = Claim::new(grant, self.config.retention, &self.store, sealer, observer);
                let until = later(asked, ask.lease);
                return self.hold(&claim, ask, until, work(Some(claim.clone())), reply).await;
            }
            Ok(Found::Mismatch) => (Reply::Mismatch, IdempotencyResult::Mismatch),
            Ok(Found::InProgress { .. }) => (Reply::InProgress, IdempotencyResult::Conflict),
            Ok(Found::InDoubt) => (Reply::InDoubt, IdempotencyResult::InDoubt),
            Ok(Found::Done(outcome)) => {
                let outcome = opened(self.sealer.as_ref(), id, outcome);
                (Reply::Replayed(outcome), IdempotencyResult::Replayed)
            }
            Err(StoreError::Unavailable(_)) if self.config.fail_open => {
                self.tell(IdempotencyResult::Bypassed);
                let worked = AssertUnwindSafe(work(None)).catch_unwind().await;
                let (told, ended) = worked.map_or_else(panicked, ran);
                _ = reply.send(told);
                return self.write_behind(id, ask.owner, &ended).await;
            }
            Err(StoreError::Unavailable(_)) => {
                self.tell(IdempotencyResult::Rejected);
                _ = reply.send(Reply::Refused);
                return self.write_behind(id, ask.owner, &Ended::NotRun).await;
            }
            Err(_) => (Reply::Refused, IdempotencyResult::Rejected),
        };
        self.tell(result);
        _ = reply.send(told);
    }

    /// Asks the store for its oldest doubt, again and again.
    pub(super) async fn watch(&self, every: Duration) {
        let mut ticks = interval(every);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            ticks.tick().await;
            // While the store cannot be asked, what was seen is what is known; that it could not be is told.
            if let Ok(oldest) =
                self.in_time(StoreOperation::OldestInDoubt, self.store.oldest_in_doubt()).await
            {
                self.doubts.see(oldest);
            }
        }
    }

    /// Asks the store, and asks again while somebody else is at it and there is time to wait. Says also when it asked: a lease
    /// that was granted began after that.
    async fn claim(&self, id: Identity, ask: Ask) -> (Result<Found, StoreError>, Instant) {
        const LONGEST: Duration = Duration::from_millis(500);
        let give_up = later(Instant::now(), self.config.max_wait);
        let mut pause = Duration::from_millis(10);
        loop {
            let asked = Instant::now();
            let found = self.in_time(StoreOperation::Claim, self.store.claim(id, ask)).await;
            match found {
                Ok(Found::InProgress { .. }) if Instant::now() + pause <= give_up => {}
                // The process stood still meanwhile: what was granted may be somebody else's by now.
                Ok(Found::Granted { .. }) if asked.elapsed() >= ask.lease => {
                    let late = "the lease was over before its claim was heard of";
                    return (Err(StoreError::Unavailable(late.into())), asked);
                }
                found => return (found, asked),
            }
            sleep(pause).await;
            pause = (pause * 2).min(LONGEST);
        }
    }

    /// Does the work of a claim that was granted, and keeps what came of it.
    async fn hold<T>(
        &self,
        claim: &Claim,
        ask: Ask,
        until: Instant,
        work: impl Future<Output = (T, Ended)>,
        reply: oneshot::Sender<Reply<T>>,
    ) {
        let worked = {
            let work = pin!(AssertUnwindSafe(work).catch_unwind());
            match select(work, pin!(self.heartbeat(claim, until))).await {
                Either::Left((worked, _)) => worked,
                Either::Right((never, _)) => match never {},
            }
        };
        let (told, ended) = worked.map_or_else(panicked, ran);
        let Ok(Settled { result, kept }) = self.settle(claim, ask, &ended).await else {
            // The answer is the handler's, and true. Only nobody will find it until the store takes it.
            _ = reply.send(told);
            return self.settle_behind(claim, ask, &ended).await;
        };
        self.tell(result);
        _ = reply.send(match kept {
            Some(kept) => agreeing(told, &ended, kept),
            None => told,
        });
    }

    /// Renews the lease, which lasts `until` then, as long as it is polled, and says so when it is lost.
    async fn heartbeat(&self, claim: &Claim, mut until: Instant) -> Infallible {
        let lease = self.config.lease;
        let (mut pause, mut failed) = (lease / 3, false);
        loop {
            sleep(pause).await;
            let asked = Instant::now();
            // It may be held for somebody else by now, and it may not. Whoever only stood still can ask.
            if failed && until <= asked {
                break;
            }
            match self.renew(claim).await {
                Ok(Renewed::Goes) => (until, failed) = (later(asked, lease), false),
                Ok(Renewed::Completed) => return pending().await,
                Err(StoreError::Fenced) => break,
                Err(_) => failed = true,
            }
            // What is away may be back soon.
            let often = if failed { lease / 12 } else { lease / 3 };
            pause = often.min(until.saturating_duration_since(Instant::now()));
        }
        claim.lose();
        self.observer.emit(Event::LeaseLost);
        pending().await
    }

    async fn renew(&self, claim: &Claim) -> Result<Renewed, StoreError> {
        let (id, owner) = (claim.id(), claim.owner());
        let renewed = self.store.renew(id, owner, self.config.lease);
        match self.in_time(StoreOperation::Renew, renewed).await {
            // There is nothing to renew once the handler's transaction is committed, nor when the claim is lost.
            Err(StoreError::Fenced) if claim.is_completed_in() => {
                self.completed(claim).await.map(|()| Renewed::Completed)
            }
            renewed => renewed.map(|()| Renewed::Goes),
        }
    }

    /// Whether it was this claim that was completed, when it is not in progress any more: to complete it a second time is fine
    /// for its owner alone, and writes nothing.
    async fn completed(&self, claim: &Claim) -> Result<(), StoreError> {
        let (id, owner, retention) = (claim.id(), claim.owner(), self.config.retention);
        let again = self.store.complete(id, owner, Outcome::Tombstone, retention);
        self.in_time(StoreOperation::Complete, again).await
    }

    /// Writes what came of it.
    async fn settle(&self, claim: &Claim, ask: Ask, ended: &Ended) -> Result<Settled, StoreError> {
        let (id, owner) = (claim.id(), claim.owner());
        if claim.is_completed_in() {
            // Whether that transaction was committed only the store knows.
            match self.in_time(StoreOperation::Claim, self.store.claim(id, ask)).await? {
                Found::Done(outcome) => {
                    let kept = opened(self.sealer.as_ref(), id, outcome);
                    // With another answer than the handler's, it may as well be another claim's.
                    let others = !agrees(ended, &kept)
                        && matches!(self.completed(claim).await, Err(StoreError::Fenced));
                    let result = if others { lost(claim) } else { IdempotencyResult::Executed };
                    return Ok(Settled { result, kept: Some(kept) });
                }
                // The key was free again, or to be taken over: this claim is another, of which there is nothing to run.
                Found::Granted { fence, phase } if fence != claim.fence() => {
                    self.write(id, owner, &Ended::NotRun, phase > 0).await?;
                    return Ok(Settled { result: lost(claim), kept: None });
                }
                _ => {}
            }
        }
        let ended = if claim.is_not_executed() { &Ended::NotRun } else { ended };
        let result = match self.write(id, owner, ended, claim.phase() > 0).await {
            Ok(()) => match ended {
                Ended::Done(_) => IdempotencyResult::Executed,
                Ended::NotRun => IdempotencyResult::Rejected,
                Ended::InDoubt => IdempotencyResult::InDoubt,
            },
            Err(StoreError::Fenced) => lost(claim),
            Err(error) => return Err(error),
        };
        Ok(Settled { result, kept: None })
    }

    /// `resumed` work did run, in a claim before this one: it is handed on with its checkpoint, and not forgotten.
    async fn write(
        &self,
        id: Identity,
        owner: Owner,
        ended: &Ended,
        resumed: bool,
    ) -> Result<(), StoreError> {
        match ended {
            Ended::Done(outcome) => {
                let outcome = sealed(self.sealer.as_ref(), id, outcome.clone());
                let completed = self.store.complete(id, owner, outcome, self.config.retention);
                self.in_time(StoreOperation::Complete, completed).await
            }
            Ended::NotRun if resumed => {
                self.in_time(StoreOperation::Renew, self.store.renew(id, owner, Duration::ZERO)).await
            }
            Ended::NotRun => self.in_time(StoreOperation::Release, self.store.release(id, owner)).await,
            Ended::InDoubt => self.in_time(StoreOperation::Doubt, self.store.doubt(id, owner)).await,
        }
    }

    /// Writes what came of a claim of which nobody heard whether it was granted: if it was, it stands in the way of the next
    /// caller. Tried once, so that a store that is down is not buried under it.
    async fn write_behind(&self, id: Identity, owner: Owner, ended: &Ended) {
        sleep(self.config.store_timeout).await;
        let may_have_resumed = self.config.lease_over == LeaseOver::Resume;
        _ = self.write(id, owner, ended, may_have_resumed).await;
    }

    /// Settles behind the answer: tries until the lease must be over; after that nobody knows.
    async fn settle_behind(&self, claim: &Claim, ask: Ask, ended: &Ended) {
        let give_up = later(Instant::now(), self.config.lease);
        let mut pause = Duration::from_millis(50);
        while Instant::now() + pause < give_up {
            sleep(pause).await;
            match self.settle(claim, ask, ended).await {
                Ok(settled) => return self.tell(settled.result),
                Err(_) => pause = (pause * 2).min(self.config.lease / 10),
            }
        }
        self.tell(IdempotencyResult::InDoubt);
        _ = self.write(claim.id(), claim.owner(), &Ended::InDoubt, false).await;
    }

    async fn in_time<T>(
        &self,
        operation: StoreOperation,
        asked: impl Future<Output = Result<T, StoreError>>,
    ) -> Result<T, StoreError> {
        let limit = self.config.store_timeout;
        let in_time = async {
            timeout(limit, asked).await.unwrap_or_else(|late| Err(StoreError::Unavailable(late.into())))
        };
        told(&self.observer, operation, in_time).await
    }

    fn tell(&self, result: IdempotencyResult) {
        self.observer.emit(Event::IdempotencyCall { result });
    }
}

/// What a claim is that is not lost.
enum Renewed {
    Goes,
    /// By the handler's own transaction.
    Completed,
}

/// What became of a claim.
struct Settled {
    result: IdempotencyResult,
    /// What callers who come again get, where a transaction has said so.
    kept: Option<Outcome>,
}

fn lost(claim: &Claim) -> IdempotencyResult {
    claim.lose();
    IdempotencyResult::Fenced
}

fn ran<T>((answer, ended): (T, Ended)) -> (Reply<T>, Ended) {
    (Reply::Ran(answer), ended)
}

fn panicked<T>(panic: Box<dyn Any + Send>) -> (Reply<T>, Ended) {
    (Reply::Panicked(panic), Ended::InDoubt)
}

/// The handler's answer, unless its transaction has promised another to those who come again.
fn agreeing<T>(told: Reply<T>, ended: &Ended, kept: Outcome) -> Reply<T> {
    match told {
        Reply::Ran(_) if !agrees(ended, &kept) => Reply::Replayed(kept),
        told => told,
    }
}

/// Whether the handler's answer is the one that is kept, as far as it is.
fn agrees(ended: &Ended, kept: &Outcome) -> bool {
    matches!(ended, Ended::Done(outcome) if outcome == kept || *kept == Outcome::Tombstone)
}
