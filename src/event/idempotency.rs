//! The words about idempotency keys and their stores.

/// What became of a call that carried an idempotency key.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum IdempotencyResult {
    /// The handler ran, and what came of it is kept.
    Executed,
    /// The answer of an earlier call was given again.
    Replayed,
    /// An earlier call is still being worked on.
    Conflict,
    /// The key had been used for another request.
    Mismatch,
    /// Nobody knows what came of it, or of the earlier call.
    InDoubt,
    /// The handler ran, and had lost its claim by the end.
    Fenced,
    /// The handler did not run: the store was not there or full, or the call was refused further in.
    Rejected,
    /// The handler ran without a claim, because the store was not there.
    Bypassed,
}

impl IdempotencyResult {
    /// All results.
    pub const ALL: [Self; 8] = [
        Self::Executed,
        Self::Replayed,
        Self::Conflict,
        Self::Mismatch,
        Self::InDoubt,
        Self::Fenced,
        Self::Rejected,
        Self::Bypassed,
    ];

    /// A stable identifier, fit for metric labels.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Executed => "executed",
            Self::Replayed => "replayed",
            Self::Conflict => "conflict",
            Self::Mismatch => "mismatch",
            Self::InDoubt => "in_doubt",
            Self::Fenced => "fenced",
            Self::Rejected => "rejected",
            Self::Bypassed => "bypassed",
        }
    }
}

/// What a store of idempotency keys is asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum StoreOperation {
    /// The right to run what stands behind a key.
    Claim,
    /// A longer lease.
    Renew,
    /// To note how far the work has come.
    Checkpoint,
    /// To keep what came of it.
    Complete,
    /// The same, inside of the handler's own transaction.
    CompleteIn,
    /// To forget a key whose work did not begin.
    Release,
    /// To note that nobody knows what came of it.
    Doubt,
    /// How old the oldest doubt is.
    OldestInDoubt,
}

impl StoreOperation {
    /// All operations.
    pub const ALL: [Self; 8] = [
        Self::Claim,
        Self::Renew,
        Self::Checkpoint,
        Self::Complete,
        Self::CompleteIn,
        Self::Release,
        Self::Doubt,
        Self::OldestInDoubt,
    ];

    /// A stable identifier, fit for metric labels.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Claim => "claim",
            Self::Renew => "renew",
            Self::Checkpoint => "checkpoint",
            Self::Complete => "complete",
            Self::CompleteIn => "complete_in",
            Self::Release => "release",
            Self::Doubt => "doubt",
            Self::OldestInDoubt => "oldest_in_doubt",
        }
    }
}

/// What a store of idempotency keys did with what it was asked.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum StoreResult {
    /// It answered.
    Ok,
    /// It refused a write of a claim that is lost.
    Fenced,
    /// It had no room for another key.
    Full,
    /// It could not be asked, or did not answer in time.
    Unavailable,
}

impl StoreResult {
    /// All results.
    pub const ALL: [Self; 4] = [Self::Ok, Self::Fenced, Self::Full, Self::Unavailable];

    /// A stable identifier, fit for metric labels.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Ok => "ok",
            Self::Fenced => "fenced",
            Self::Full => "full",
            Self::Unavailable => "unavailable",
        }
    }
}
