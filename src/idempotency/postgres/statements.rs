//! The statements. Time is `clock_timestamp()`: `now()` stands still in a transaction.

/// Absent, or over → in progress; in progress and the same owner → a lease begun anew; lease over → as the policy says. Any
/// other record stays as it is, and no row comes back.
///
/// What is in `SET` is only reached by a record that `WHERE` lets through: one in progress there is the owner's own, or its
/// lease is over. Claims of one key take turns, so that of two of them the later one has the greater fence: without that, one
/// could draw a fence, wait for another that draws and is released, and come in with the smaller number.
pub(super) const CLAIM: &str = "
WITH turn AS MATERIALIZED (SELECT pg_advisory_xact_lock(hashtextextended(encode($1, 'hex'), 0)))
INSERT INTO idempotency_keys AS held (id, fingerprint, owner, fence, phase, state, ends_at)
SELECT $1, $2, $3, nextval('idempotency_fence'), 0, 'in progress', clock_timestamp() + $4 * interval '1 microsecond'
FROM turn
ON CONFLICT (id) DO UPDATE SET
    fingerprint = excluded.fingerprint,
    owner = CASE WHEN held.state = 'in progress' AND held.owner <> $3 AND $5 = 'in doubt'
        THEN held.owner ELSE $3 END,
    fence = CASE WHEN held.state = 'in progress' AND (held.owner = $3 OR $5 = 'in doubt')
        THEN held.fence ELSE nextval('idempotency_fence') END,
    phase = CASE WHEN held.state = 'in progress' AND (held.owner = $3 OR $5 <> 'reexecute')
        THEN held.phase ELSE 0 END,
    state = CASE WHEN held.state = 'in progress' AND held.owner <> $3 AND $5 = 'in doubt'
        THEN 'in doubt' ELSE 'in progress' END,
    ends_at = CASE WHEN held.state = 'in progress' AND held.owner <> $3 AND $5 = 'in doubt'
        THEN held.ends_at ELSE clock_timestamp() + $4 * interval '1 microsecond' END,
    answer = NULL
WHERE (held.state = 'done' AND held.ends_at <= clock_timestamp())
   OR (held.state = 'in progress' AND held.fingerprint = $2
       AND (held.owner = $3 OR held.ends_at <= clock_timestamp()))
RETURNING state, fence, phase";

pub(super) const LOOK: &str = "
SELECT state, fingerprint = $2, ceil(extract(epoch FROM ends_at - clock_timestamp()) * 1000000)::bigint, answer
FROM idempotency_keys WHERE id = $1";

pub(super) const RENEW: &str = "
UPDATE idempotency_keys SET ends_at = clock_timestamp() + $3 * interval '1 microsecond'
WHERE id = $1 AND owner = $2 AND state = 'in progress'";

pub(super) const CHECKPOINT: &str = "
UPDATE idempotency_keys SET phase = $3 WHERE id = $1 AND owner = $2 AND state = 'in progress'";

pub(super) const COMPLETE: &str = "
UPDATE idempotency_keys
SET state = 'done', answer = $3, ends_at = clock_timestamp() + $4 * interval '1 microsecond'
WHERE id = $1 AND owner = $2 AND state = 'in progress'";

pub(super) const IS_COMPLETED: &str = "
SELECT EXISTS (SELECT FROM idempotency_keys
WHERE id = $1 AND owner = $2 AND state = 'done' AND ends_at > clock_timestamp())";

pub(super) const RELEASE: &str = "
DELETE FROM idempotency_keys WHERE id = $1 AND owner = $2 AND state = 'in progress'";

pub(super) const DOUBT: &str = "
UPDATE idempotency_keys SET
    state = 'in doubt', ends_at = CASE WHEN state = 'in doubt' THEN ends_at ELSE clock_timestamp() END
WHERE id = $1 AND owner = $2 AND state <> 'done'";

/// A verdict's `Done`. After that the record is nobody's.
pub(super) const RECONCILE_DONE: &str = "
UPDATE idempotency_keys SET
    state = 'done', owner = NULL, answer = $3, ends_at = clock_timestamp() + $4 * interval '1 microsecond'
WHERE id = $1 AND fence = $2
  AND (state = 'in doubt' OR (state = 'in progress' AND ends_at <= clock_timestamp()))";

pub(super) const RECONCILE_ABSENT: &str = "
DELETE FROM idempotency_keys WHERE id = $1 AND fence = $2
  AND (state = 'in doubt' OR (state = 'in progress' AND ends_at <= clock_timestamp()))";

/// By the index of what is not done, oldest first, so that no more is read than is told.
pub(super) const IN_DOUBT: &str = "
SELECT id, fence, phase, (extract(epoch FROM clock_timestamp() - ends_at) * 1000000)::bigint
FROM idempotency_keys
WHERE state <> 'done' AND (state = 'in doubt' OR ends_at <= (SELECT clock_timestamp()))
ORDER BY ends_at LIMIT $1";

/// An array, because a subquery could be run more than once and let more than the limit go. What another purge, or a claim,
/// has in hand is left to it. The time in a subquery can be looked up in the index.
pub(super) const PURGE: &str = "
DELETE FROM idempotency_keys WHERE id = ANY (ARRAY (
    SELECT id FROM idempotency_keys
    WHERE state = 'done' AND ends_at <= (SELECT clock_timestamp())
    ORDER BY ends_at LIMIT $1 FOR UPDATE SKIP LOCKED))";
