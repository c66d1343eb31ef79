//! What the stores over SQL have in common: the rows that they read and the parameters that they bind.
//!
//! Their statements differ in how they ask for the time and draw a fence, and are the same in everything else.

use std::time::Duration;

use sqlx::{Database, Transaction};

use super::{Fingerprint, Found, Identity, InDoubt, LeaseOver, Outcome, Owner, StoreError};

/// What a claim changed: the state it is in now, the fence, the last checkpoint.
pub(super) type Taken = (String, i64, i64);

pub(super) fn taken((state, fence, phase): Taken) -> Result<Found, StoreError> {
    match state.as_str() {
        "in progress" => Ok(Found::Granted { fence, phase: phase_of(phase)? }),
        _ => Ok(Found::InDoubt),
    }
}

/// A record that a claim did not change: its state, whether the request is the same, what is left of its time in
/// microseconds, its answer.
pub(super) type Seen = (String, bool, i64, Option<Vec<u8>>);

/// Nothing where it is free by now, so that the claim is to be made again.
pub(super) fn seen((state, same, left, answer): Seen) -> Option<Found> {
    let left = u64::try_from(left).ok().filter(|&left| left > 0).map(Duration::from_micros);
    match (state.as_str(), left) {
        ("done", None) => None,
        _ if !same => Some(Found::Mismatch),
        ("done", Some(_)) => {
            Some(Found::Done(answer.map_or(Outcome::Tombstone, |answer| Outcome::Answer(answer.into()))))
        }
        ("in progress", left) => left.map(|lease_left| Found::InProgress { lease_left }),
        _ => Some(Found::InDoubt),
    }
}

/// A doubt: the key, the fence, the last checkpoint, its age in microseconds.
pub(super) type Doubted = (Vec<u8>, i64, i64, i64);

pub(super) fn doubted((id, fence, phase, age): Doubted) -> Result<InDoubt, StoreError> {
    let id = id.try_into().map_err(|_| StoreError::Unavailable("an identity is not 32 bytes long".into()))?;
    // Below zero once the clock has been set back.
    let age = Duration::from_micros(age.try_into().unwrap_or(0));
    Ok(InDoubt { id: Identity::from_bytes(id), fence, phase: phase_of(phase)?, age })
}

fn phase_of(phase: i64) -> Result<u32, StoreError> {
    phase.try_into().map_err(unavailable)
}

/// How many rows a write of an owner changed: where it was none, the claim is lost.
pub(super) fn wrote(rows: Result<u64, sqlx::Error>) -> Result<(), StoreError> {
    if rows.map_err(unavailable)? == 0 { Err(StoreError::Fenced) } else { Ok(()) }
}

pub(super) fn id(id: &Identity) -> &[u8] {
    id.as_bytes()
}

pub(super) fn fingerprint(fingerprint: &Fingerprint) -> &[u8] {
    fingerprint.as_bytes()
}

pub(super) fn owner(owner: Owner) -> Vec<u8> {
    owner.as_u128().to_be_bytes().into()
}

/// The answer, or null for a tombstone.
pub(super) fn answer(outcome: &Outcome) -> Option<&[u8]> {
    match outcome {
        Outcome::Answer(answer) => Some(answer),
        Outcome::Tombstone => None,
    }
}

pub(super) fn policy(lease_over: LeaseOver) -> &'static str {
    match lease_over {
        LeaseOver::InDoubt => "in doubt",
        LeaseOver::Reexecute => "reexecute",
        LeaseOver::Resume => "resume",
    }
}

/// A duration in microseconds, begun ones as whole ones; a thousand years at most, which every column of times can add.
pub(super) fn micros(time: Duration) -> i64 {
    const MOST: u128 = 1000 * 365 * 86_400 * 1_000_000;
    i64::try_from(time.as_nanos().div_ceil(1000).min(MOST)).expect("it is no longer than a thousand years")
}

pub(super) fn limit(limit: usize) -> i64 {
    i64::try_from(limit).unwrap_or(i64::MAX)
}

/// A transaction that is begun in a task of its own: that is not dropped with who waits for it, between `BEGIN` and its answer.
/// What nobody takes is rolled back.
pub(super) async fn begun<DB: Database>(
    begin: impl Future<Output = Result<Transaction<'static, DB>, sqlx::Error>> + Send + 'static,
) -> Result<Transaction<'static, DB>, StoreError> {
    tokio::spawn(begin).await.map_err(unavailable)?.map_err(unavailable)
}

pub(super) fn unavailable(error: impl Into<crate::error::BoxError>) -> StoreError {
    StoreError::Unavailable(error.into())
}

/// What a store over SQL does, said once for its type, which has a `pool`, the type of a connection, and the statements. A
/// macro, because the bounds that make a function generic over `sqlx`'s databases are longer than the function.
macro_rules! store {
    ($store:ident, $connection:ident) => {
        async fn claim_on(conn: &mut $connection, id: Identity, ask: Ask) -> Result<Found, StoreError> {
            loop {
                let claim = query_as(statements::CLAIM)
                    .bind(sql::id(&id))
                    .bind(sql::fingerprint(&ask.fingerprint))
                    .bind(sql::owner(ask.owner))
                    .bind(sql::micros(ask.lease))
                    .bind(sql::policy(ask.lease_over));
                if let Some(taken) = claim.fetch_optional(&mut *conn).await.map_err(unavailable)? {
                    return sql::taken(taken);
                }
                let look =
                    query_as(statements::LOOK).bind(sql::id(&id)).bind(sql::fingerprint(&ask.fingerprint));
                let seen = look.fetch_optional(&mut *conn).await.map_err(unavailable)?;
                if let Some(found) = seen.and_then(sql::seen) {
                    return Ok(found);
                }
                // What was in the way has ended since: it is to be claimed after all.
            }
        }

        /// [`complete`](Store::complete), but for one that is completed already.
        async fn complete_on(
            conn: &mut $connection,
            id: Identity,
            owner: Owner,
            outcome: &Outcome,
            retention: Duration,
        ) -> Result<(), StoreError> {
            let update = query(statements::COMPLETE)
                .bind(sql::id(&id))
                .bind(sql::owner(owner))
                .bind(sql::answer(outcome))
                .bind(sql::micros(retention));
            sql::wrote(update.execute(conn).await.map(|done| done.rows_affected()))
        }

        impl Store for $store {
            async fn claim(&self, id: Identity, ask: Ask) -> Result<Found, StoreError> {
                let mut conn = self.pool.acquire().await.map_err(unavailable)?;
                claim_on(&mut conn, id, ask).await
            }

            async fn renew(&self, id: Identity, owner: Owner, lease: Duration) -> Result<(), StoreError> {
                let update = query(statements::RENEW)
                    .bind(sql::id(&id))
                    .bind(sql::owner(owner))
                    .bind(sql::micros(lease));
                sql::wrote(update.execute(&self.pool).await.map(|done| done.rows_affected()))
            }

            async fn checkpoint(&self, id: Identity, owner: Owner, phase: u32) -> Result<(), StoreError> {
                let update = query(statements::CHECKPOINT)
                    .bind(sql::id(&id))
                    .bind(sql::owner(owner))
                    .bind(i64::from(phase));
                sql::wrote(update.execute(&self.pool).await.map(|done| done.rows_affected()))
            }

            async fn complete(
                &self,
                id: Identity,
                owner: Owner,
                outcome: Outcome,
                retention: Duration,
            ) -> Result<(), StoreError> {
                let mut conn = self.pool.acquire().await.map_err(unavailable)?;
                let first = complete_on(&mut conn, id, owner, &outcome, retention).await;
                let Err(StoreError::Fenced) = first else { return first };
                let again = query_scalar(statements::IS_COMPLETED).bind(sql::id(&id)).bind(sql::owner(owner));
                let again: bool = again.fetch_one(&mut *conn).await.map_err(unavailable)?;
                if again { Ok(()) } else { first }
            }

            async fn release(&self, id: Identity, owner: Owner) -> Result<(), StoreError> {
                let delete = query(statements::RELEASE).bind(sql::id(&id)).bind(sql::owner(owner));
                sql::wrote(delete.execute(&self.pool).await.map(|done| done.rows_affected()))
            }

            async fn doubt(&self, id: Identity, owner: Owner) -> Result<(), StoreError> {
                let update = query(statements::DOUBT).bind(sql::id(&id)).bind(sql::owner(owner));
                sql::wrote(update.execute(&self.pool).await.map(|done| done.rows_affected()))
            }

            async fn reconcile(&self, id: Identity, fence: i64, verdict: Verdict) -> Result<(), StoreError> {
                let write = match &verdict {
                    Verdict::Absent => query(statements::RECONCILE_ABSENT).bind(sql::id(&id)).bind(fence),
                    Verdict::Done { outcome, retention } => query(statements::RECONCILE_DONE)
                        .bind(sql::id(&id))
                        .bind(fence)
                        .bind(sql::answer(outcome))
                        .bind(sql::micros(*retention)),
                };
                sql::wrote(write.execute(&self.pool).await.map(|done| done.rows_affected()))
            }

            async fn in_doubt(&self, limit: usize) -> Result<Vec<InDoubt>, StoreError> {
                let doubts = query_as(statements::IN_DOUBT).bind(sql::limit(limit));
                let doubts: Vec<sql::Doubted> = doubts.fetch_all(&self.pool).await.map_err(unavailable)?;
                doubts.into_iter().map(sql::doubted).collect()
            }

            async fn purge(&self, limit: usize) -> Result<usize, StoreError> {
                let purged = query(statements::PURGE).bind(sql::limit(limit)).execute(&self.pool).await;
                Ok(usize::try_from(purged.map_err(unavailable)?.rows_affected()).unwrap_or(usize::MAX))
            }
        }

        /// In a [`Transaction`], which lends its connection: `store.complete_in(&mut *tx, ..)`.
        ///
        /// Unlike [`complete`](Store::complete), a second time is [`Fenced`](StoreError::Fenced): then an earlier transaction
        /// of this claim was committed, though its answer may have been lost, and this one would be a second effect. Claim
        /// again to read what came of the first.
        impl CompleteIn<$connection> for $store {
            async fn complete_in(
                &self,
                tx: &mut $connection,
                id: Identity,
                owner: Owner,
                outcome: Outcome,
                retention: Duration,
            ) -> Result<(), StoreError> {
                complete_on(tx, id, owner, &outcome, retention).await
            }
        }
    };
}
pub(super) use store;
