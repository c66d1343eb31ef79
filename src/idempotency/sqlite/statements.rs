//! The statements. Time is the machine's, in microseconds since 1970, which `SQLite` knows to the millisecond.

/// The time: what `SQLite` of any version can tell of it. It is the same all through a statement, and begins once the statement
/// has the lock it waited for.
macro_rules! now {
    () => {
        "CAST(round((julianday('now') - 2440587.5) * 86400000) AS INTEGER) * 1000"
    };
}

/// Absent, or over → in progress; in progress and the same owner → a lease begun anew; lease over → as the policy says. Any
/// other record stays as it is, and no row comes back.
///
/// What is in `SET` is only reached by a record that `WHERE` lets through: one in progress there is the owner's own, or its
/// lease is over. Triggers move the next fence on.
pub(super) const CLAIM: &str = concat!(
    "
INSERT INTO idempotency_keys AS held (id, fingerprint, owner, fence, phase, state, ends_at)
VALUES ($1, $2, $3, (SELECT next FROM idempotency_fence), 0, 'in progress', ",
    now!(),
    " + $4)
ON CONFLICT (id) DO UPDATE SET
    fingerprint = excluded.fingerprint,
    owner = CASE WHEN held.state = 'in progress' AND held.owner <> $3 AND $5 = 'in doubt'
        THEN held.owner ELSE $3 END,
    fence = CASE WHEN held.state = 'in progress' AND (held.owner = $3 OR $5 = 'in doubt')
        THEN held.fence ELSE excluded.fence END,
    phase = CASE WHEN held.state = 'in progress' AND (held.owner = $3 OR $5 <> 'reexecute')
        THEN held.phase ELSE 0 END,
    state = CASE WHEN held.state = 'in progress' AND held.owner <> $3 AND $5 = 'in doubt'
        THEN 'in doubt' ELSE 'in progress' END,
    ends_at = CASE WHEN held.state = 'in progress' AND held.owner <> $3 AND $5 = 'in doubt'
        THEN held.ends_at ELSE excluded.ends_at END,
    answer = NULL
WHERE (held.state = 'done' AND held.ends_at <= ",
    now!(),
    ")
   OR (held.state = 'in progress' AND held.fingerprint = $2
       AND (held.owner = $3 OR held.ends_at <= ",
    now!(),
    "))
RETURNING state, fence, phase"
);

pub(super) const LOOK: &str = concat!(
    "
SELECT state, fingerprint = $2, ends_at - ",
    now!(),
    ", answer FROM idempotency_keys WHERE id = $1"
);

pub(super) const RENEW: &str = concat!(
    "
UPDATE idempotency_keys SET ends_at = ",
    now!(),
    " + $3 WHERE id = $1 AND owner = $2 AND state = 'in progress'"
);

pub(super) const CHECKPOINT: &str = "
UPDATE idempotency_keys SET phase = $3 WHERE id = $1 AND owner = $2 AND state = 'in progress'";

pub(super) const COMPLETE: &str = concat!(
    "
UPDATE idempotency_keys SET state = 'done', answer = $3, ends_at = ",
    now!(),
    " + $4 WHERE id = $1 AND owner = $2 AND state = 'in progress'"
);

pub(super) const IS_COMPLETED: &str = concat!(
    "
SELECT EXISTS (SELECT 1 FROM idempotency_keys
WHERE id = $1 AND owner = $2 AND state = 'done' AND ends_at > ",
    now!(),
    ")"
);

pub(super) const RELEASE: &str = "
DELETE FROM idempotency_keys WHERE id = $1 AND owner = $2 AND state = 'in progress'";

pub(super) const DOUBT: &str = concat!(
    "
UPDATE idempotency_keys SET
    state = 'in doubt', ends_at = CASE WHEN state = 'in doubt' THEN ends_at ELSE ",
    now!(),
    " END
WHERE id = $1 AND owner = $2 AND state <> 'done'"
);

/// A verdict's `Done`. After that the record is nobody's.
pub(super) const RECONCILE_DONE: &str = concat!(
    "
UPDATE idempotency_keys SET state = 'done', owner = NULL, answer = $3, ends_at = ",
    now!(),
    " + $4
WHERE id = $1 AND fence = $2 AND (state = 'in doubt' OR (state = 'in progress' AND ends_at <= ",
    now!(),
    "))"
);

pub(super) const RECONCILE_ABSENT: &str = concat!(
    "
DELETE FROM idempotency_keys
WHERE id = $1 AND fence = $2 AND (state = 'in doubt' OR (state = 'in progress' AND ends_at <= ",
    now!(),
    "))"
);

/// By the index of what is not done, oldest first, so that no more is read than is told.
pub(super) const IN_DOUBT: &str = concat!(
    "
SELECT id, fence, phase, ",
    now!(),
    " - ends_at FROM idempotency_keys
WHERE state <> 'done' AND (state = 'in doubt' OR ends_at <= ",
    now!(),
    ") ORDER BY ends_at LIMIT $1"
);

pub(super) const PURGE: &str = concat!(
    "
DELETE FROM idempotency_keys WHERE rowid IN (
    SELECT rowid FROM idempotency_keys WHERE state = 'done' AND ends_at <= ",
    now!(),
    " ORDER BY ends_at LIMIT $1)"
);
