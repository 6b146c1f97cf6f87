-- What was sent to Salesforce, before it was sent; what Salesforce has acknowledged, row by row; and what it has refused.

CREATE TABLE treadle.weekly_syncs (
    sync_id     uuid        PRIMARY KEY,
    run_id      uuid        NOT NULL,                        -- the runs may be on Azure SQL, so nothing refers to them
    target      text        NOT NULL,                        -- org and object
    week_start  date        NOT NULL,
    week_end    date        NOT NULL,
    plan_digest text        NOT NULL,
    state       text        NOT NULL DEFAULT 'SENDING' CHECK (state IN ('SENDING', 'DONE')),
    created_at  timestamptz NOT NULL DEFAULT clock_timestamp(),
    done_at     timestamptz,
    CHECK ((state = 'DONE') = (done_at IS NOT NULL))
);
-- One at a time per target and week, whoever lost which lock.
CREATE UNIQUE INDEX weekly_syncs_sending ON treadle.weekly_syncs (target, week_start, week_end) WHERE state = 'SENDING';
CREATE INDEX weekly_syncs_run ON treadle.weekly_syncs (run_id);

-- The ledger. A part is written down before Salesforce hears of it, and each step before it is taken: whoever finds it knows what may have happened.
--   PLANNED   nothing was sent yet
--   SENDING   Collections: the call is under way.  Bulk: a job is being opened, or has been and waits for its rows
--   SENT      Bulk: the job has its rows and was told to begin, or is being told
--   SETTLED   what became of every row is recorded
--   DROPPED   nothing of it reached Salesforce, or what did had no effect
CREATE TABLE treadle.weekly_sync_parts (
    sync_id    uuid        NOT NULL REFERENCES treadle.weekly_syncs ON DELETE CASCADE,
    part       int         NOT NULL CHECK (part > 0),
    channel    text        NOT NULL CHECK (channel IN ('collections', 'bulk')),
    state      text        NOT NULL DEFAULT 'PLANNED' CHECK (state IN ('PLANNED', 'SENDING', 'SENT', 'SETTLED', 'DROPPED')),
    row_count  int         NOT NULL CHECK (row_count > 0),
    sha256     text        NOT NULL,                         -- of the part's file
    job_id     text,
    sending_at timestamptz,
    settled_at timestamptz,
    created    int         NOT NULL DEFAULT 0,
    updated    int         NOT NULL DEFAULT 0,
    refused    int         NOT NULL DEFAULT 0,
    undecided  int         NOT NULL DEFAULT 0,               -- locked or never tried: to be sent again
    PRIMARY KEY (sync_id, part)
);

-- What Salesforce has confirmed to hold, the only thing that a plan compares with.
CREATE TABLE treadle.weekly_acknowledged (
    target          text        NOT NULL,
    external_id     text        NOT NULL,
    week_start      date        NOT NULL,
    week_end        date        NOT NULL,
    hash_scheme     int         NOT NULL,
    row_hash_hi     bigint      NOT NULL,
    row_hash_lo     bigint      NOT NULL,
    fields          jsonb       NOT NULL,                    -- as sent, for old → new
    salesforce_id   text,
    created_by_us   boolean     NOT NULL,                    -- false: it was there before, so it is not ours to delete
    acknowledged_at timestamptz NOT NULL DEFAULT clock_timestamp(),
    sync_id         uuid        NOT NULL,
    PRIMARY KEY (target, external_id)
);
CREATE INDEX weekly_acknowledged_week ON treadle.weekly_acknowledged (target, week_start, week_end);

-- What Salesforce would not take. It is not sent again until the row changes, or somebody asks for it.
CREATE TABLE treadle.weekly_refused (
    target       text        NOT NULL,
    external_id  text        NOT NULL,
    week_start   date        NOT NULL,
    week_end     date        NOT NULL,
    hash_scheme  int         NOT NULL,
    row_hash_hi  bigint      NOT NULL,
    row_hash_lo  bigint      NOT NULL,
    fields       jsonb       NOT NULL,
    code         text        NOT NULL,
    message      text        NOT NULL,
    attempts     int         NOT NULL DEFAULT 1,
    first_seen   timestamptz NOT NULL DEFAULT clock_timestamp(),
    last_seen    timestamptz NOT NULL DEFAULT clock_timestamp(),
    retry        boolean     NOT NULL DEFAULT false,         -- somebody asked for another try
    run_id       uuid        NOT NULL,
    PRIMARY KEY (target, external_id)
);
CREATE INDEX weekly_refused_week ON treadle.weekly_refused (target, week_start, week_end);
