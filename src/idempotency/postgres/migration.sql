-- The records of idempotency keys. Running it again changes nothing, and many may run it at once.
SELECT pg_advisory_xact_lock(hashtext('idempotency_keys migration'));

-- Not a counter in each row: it would begin anew with a row that was purged, and a stale owner would match.
CREATE SEQUENCE IF NOT EXISTS idempotency_fence;

CREATE TABLE IF NOT EXISTS idempotency_keys (
    -- SHA-256 of whose key it is, what for, and the key.
    id bytea PRIMARY KEY,
    -- SHA-256 of the request.
    fingerprint bytea NOT NULL,
    -- Who may write; nobody once an operator has decided.
    owner bytea,
    fence bigint NOT NULL,
    -- The last checkpoint.
    phase bigint NOT NULL,
    state text NOT NULL CHECK (state IN ('in progress', 'in doubt', 'done')),
    -- In progress: the end of the lease. In doubt: since when. Done: the end of the retention.
    ends_at timestamptz NOT NULL,
    -- Of what is done; null when no more is known than that.
    answer bytea
);

-- For whoever purges, and for whoever looks for doubts.
CREATE INDEX IF NOT EXISTS idempotency_keys_done ON idempotency_keys (ends_at) WHERE state = 'done';
CREATE INDEX IF NOT EXISTS idempotency_keys_open ON idempotency_keys (ends_at) WHERE state <> 'done';
