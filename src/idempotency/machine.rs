//! What may happen to the record of a key, without a clock and without a place where it is kept.
//!
//! `Absent` is where there is no record, or one that [is over](Record::is_over). Instants are told as the time since some
//! beginning that is the store's own, and must not go back.

use std::time::Duration;

use super::{Ask, Fingerprint, Found, Identity, InDoubt, LeaseOver, Outcome, Owner, StoreError, Verdict};

/// What is kept of a key.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Record {
    fingerprint: Fingerprint,
    /// Who may write; nobody once an operator has decided.
    owner: Option<Owner>,
    fence: i64,
    phase: u32,
    state: State,
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum State {
    InProgress { lease_until: Duration },
    InDoubt { since: Duration },
    Done { outcome: Outcome, keep_until: Duration },
}

/// What is to become of a record after a write.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Then {
    /// It goes on.
    Go,
    /// Its outcome is there, and to be kept until then.
    Keep { until: Duration },
    /// It is to be removed.
    Remove,
}

impl Record {
    /// Absent, claim → `InProgress`.
    pub(super) fn started(ask: &Ask, fence: i64, now: Duration) -> Self {
        Self {
            fingerprint: ask.fingerprint,
            owner: Some(ask.owner),
            fence,
            phase: 0,
            state: State::InProgress { lease_until: now.saturating_add(ask.lease) },
        }
    }

    /// Whether the record counts as `Absent`, because its retention is over.
    pub(super) fn is_over(&self, now: Duration) -> bool {
        matches!(self.state, State::Done { keep_until, .. } if keep_until <= now)
    }

    /// Any live record, claim. `fence` draws one that is greater than all before.
    pub(super) fn claim(&mut self, ask: &Ask, now: Duration, fence: impl FnOnce() -> i64) -> Found {
        if self.is_over(now) {
            *self = Self::started(ask, fence(), now);
            return self.granted();
        }
        // Before all else: who uses a key for something else is not to learn more, and must not be told to come back.
        if self.fingerprint != ask.fingerprint {
            return Found::Mismatch;
        }
        let lease_until = match &self.state {
            State::Done { outcome, .. } => return Found::Done(outcome.clone()),
            State::InDoubt { .. } => return Found::InDoubt,
            State::InProgress { lease_until } => *lease_until,
        };
        if self.owner == Some(ask.owner) {
            self.state = State::InProgress { lease_until: now.saturating_add(ask.lease) };
            return self.granted();
        }
        if let Some(lease_left) = lease_until.checked_sub(now).filter(|left| !left.is_zero()) {
            return Found::InProgress { lease_left };
        }
        let phase = match ask.lease_over {
            LeaseOver::InDoubt => {
                self.state = State::InDoubt { since: lease_until };
                return Found::InDoubt;
            }
            LeaseOver::Reexecute => 0,
            LeaseOver::Resume => self.phase,
        };
        *self = Self { phase, ..Self::started(ask, fence(), now) };
        self.granted()
    }

    fn granted(&self) -> Found {
        Found::Granted { fence: self.fence, phase: self.phase }
    }

    /// `InProgress`, renew.
    pub(super) fn renew(&mut self, owner: Owner, lease: Duration, now: Duration) -> Result<Then, StoreError> {
        self.in_progress(owner)?;
        self.state = State::InProgress { lease_until: now.saturating_add(lease) };
        Ok(Then::Go)
    }

    /// `InProgress`, checkpoint.
    pub(super) fn checkpoint(&mut self, owner: Owner, phase: u32) -> Result<Then, StoreError> {
        self.in_progress(owner)?;
        self.phase = phase;
        Ok(Then::Go)
    }

    /// `InProgress`, complete → `Done`; the same again is fine.
    pub(super) fn complete(
        &mut self,
        owner: Owner,
        outcome: Outcome,
        retention: Duration,
        now: Duration,
    ) -> Result<Then, StoreError> {
        if self.owner == Some(owner) && matches!(self.state, State::Done { .. }) && !self.is_over(now) {
            return Ok(Then::Go);
        }
        self.in_progress(owner)?;
        Ok(self.done(outcome, retention, now))
    }

    /// `InProgress`, release → `Absent`.
    pub(super) fn release(&self, owner: Owner) -> Result<Then, StoreError> {
        self.in_progress(owner)?;
        Ok(Then::Remove)
    }

    /// `InProgress`, a panic or the like → `InDoubt`; the same again is fine.
    pub(super) fn doubt(&mut self, owner: Owner, now: Duration) -> Result<Then, StoreError> {
        if self.owner != Some(owner) || !matches!(self.state, State::InDoubt { .. }) {
            self.in_progress(owner)?;
            self.state = State::InDoubt { since: now };
        }
        Ok(Then::Go)
    }

    /// `InDoubt`, reconcile → `Done` or `Absent`. After that the record is nobody's.
    pub(super) fn reconcile(
        &mut self,
        fence: i64,
        verdict: Verdict,
        now: Duration,
    ) -> Result<Then, StoreError> {
        if self.fence != fence || self.doubted_since(now).is_none() {
            return Err(StoreError::Fenced);
        }
        self.owner = None;
        Ok(match verdict {
            Verdict::Absent => Then::Remove,
            Verdict::Done { outcome, retention } => self.done(outcome, retention, now),
        })
    }

    /// What an operator sees of a record that is in doubt.
    pub(super) fn in_doubt(&self, id: Identity, now: Duration) -> Option<InDoubt> {
        let age = now.saturating_sub(self.doubted_since(now)?);
        Some(InDoubt { id, fence: self.fence, phase: self.phase, age })
    }

    /// How long its answer is.
    pub(super) fn bytes(&self) -> u64 {
        match &self.state {
            State::Done { outcome: Outcome::Answer(bytes), .. } => bytes.len() as u64,
            _ => 0,
        }
    }

    /// Keeps of an answer no more than that there was one.
    pub(super) fn shorten(&mut self) {
        if let State::Done { outcome, .. } = &mut self.state {
            *outcome = Outcome::Tombstone;
        }
    }

    /// Since when nobody knows what came of it: also of a claim whose lease is over, though nobody has asked since.
    fn doubted_since(&self, now: Duration) -> Option<Duration> {
        match self.state {
            State::InDoubt { since } => Some(since),
            State::InProgress { lease_until } => Some(lease_until).filter(|&until| until <= now),
            State::Done { .. } => None,
        }
    }

    fn done(&mut self, outcome: Outcome, retention: Duration, now: Duration) -> Then {
        let keep_until = now.saturating_add(retention);
        self.state = State::Done { outcome, keep_until };
        Then::Keep { until: keep_until }
    }

    /// Whether this owner's claim is the one in progress. That its lease is over takes nothing away: nobody else has come.
    fn in_progress(&self, owner: Owner) -> Result<(), StoreError> {
        match self.state {
            State::InProgress { .. } if self.owner == Some(owner) => Ok(()),
            _ => Err(StoreError::Fenced),
        }
    }
}
