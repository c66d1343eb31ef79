-- The records of idempotency keys. Running it again changes nothing, and many may run it at once.
CREATE TABLE IF NOT EXISTS idempotency_keys (
    -- SHA-256 of whose key it is, what for, and the key.
    id BLOB PRIMARY KEY NOT NULL,
    -- SHA-256 of the request.
    fingerprint BLOB NOT NULL,
    -- Who may write; nobody once an operator has decided.
    owner BLOB,
    fence INTEGER NOT NULL,
    -- The last checkpoint.
    phase INTEGER NOT NULL,
    state TEXT NOT NULL CHECK (state IN ('in progress', 'in doubt', 'done')),
    -- Microseconds since 1970. In progress: the end of the lease. In doubt: since when. Done: the end of the retention.
    ends_at INTEGER NOT NULL,
    -- Of what is done; null when no more is known than that.
    answer BLOB
) STRICT;

-- For whoever purges, and for whoever looks for doubts.
CREATE INDEX IF NOT EXISTS idempotency_keys_done ON idempotency_keys (ends_at) WHERE state = 'done';
CREATE INDEX IF NOT EXISTS idempotency_keys_open ON idempotency_keys (ends_at) WHERE state <> 'done';

-- The next fence. Not a counter in each row: it would begin anew with a row that was purged, and a stale owner would match.
CREATE TABLE IF NOT EXISTS idempotency_fence (
    only INTEGER PRIMARY KEY CHECK (only = 1),
    next INTEGER NOT NULL
) STRICT;
INSERT OR IGNORE INTO idempotency_fence VALUES (1, 1);

-- A fence that was drawn is drawn once.
CREATE TRIGGER IF NOT EXISTS idempotency_fence_of_a_new_key AFTER INSERT ON idempotency_keys
BEGIN
    UPDATE idempotency_fence SET next = new.fence + 1;
END;
CREATE TRIGGER IF NOT EXISTS idempotency_fence_of_a_known_key AFTER UPDATE OF fence ON idempotency_keys
WHEN new.fence <> old.fence
BEGIN
    UPDATE idempotency_fence SET next = new.fence + 1;
END;
