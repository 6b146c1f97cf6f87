-- Background jobs: what is to be done, the steps that were done with their results, and what happened, in order.
-- docs/job-states.md draws the states.

CREATE TABLE treadle.jobs (
    job_id uuid PRIMARY KEY,
    number bigint GENERATED ALWAYS AS IDENTITY,             -- the order of asking, whatever a clock does
    kind text NOT NULL,
    key text,                                               -- jobs of one key run one after the other
    once text,                                              -- the natural key of the asking itself
    state text NOT NULL DEFAULT 'QUEUED' CHECK (state IN ('QUEUED', 'RUNNING', 'SUCCEEDED', 'FAILED', 'CANCELLED')),
    payload jsonb NOT NULL,
    result jsonb,
    error_message text,
    error_hint text,
    error_details jsonb,
    attempt integer NOT NULL DEFAULT 0,
    max_attempts integer,                                   -- null until the first claim: as its kind says
    deadline_seconds double precision,                      -- null: as its kind says
    requested_by text NOT NULL,
    correlation_id text,
    created_at timestamptz NOT NULL DEFAULT clock_timestamp(),
    due_at timestamptz NOT NULL,
    deadline_at timestamptz,                                -- set by the first claim
    started_at timestamptz,                                 -- of the first attempt; not null and not ended: the job holds its key
    finished_at timestamptz,
    lease_owner text,
    lease_until timestamptz,
    lease_seconds double precision,
    fence bigint NOT NULL DEFAULT 0,                        -- grows with each claim; who has an older one may write nothing any more
    cancel_requested_at timestamptz,
    cancel_requested_by text,
    last_seq bigint NOT NULL DEFAULT 0,
    CHECK ((state = 'RUNNING') = (lease_until IS NOT NULL)),
    CHECK ((state IN ('SUCCEEDED', 'FAILED', 'CANCELLED')) = (finished_at IS NOT NULL))
);

CREATE UNIQUE INDEX jobs_once ON treadle.jobs (once) WHERE once IS NOT NULL;
CREATE UNIQUE INDEX jobs_key_held ON treadle.jobs (key) WHERE started_at IS NOT NULL AND finished_at IS NULL;
CREATE INDEX jobs_waiting_by_key ON treadle.jobs (key, number) WHERE key IS NOT NULL AND finished_at IS NULL;
CREATE INDEX jobs_due ON treadle.jobs (due_at, number) WHERE state = 'QUEUED';
CREATE INDEX jobs_leased ON treadle.jobs (lease_until) WHERE state = 'RUNNING';
CREATE INDEX jobs_by_time ON treadle.jobs (created_at DESC, job_id DESC);
CREATE INDEX jobs_by_kind ON treadle.jobs (kind, created_at DESC, job_id DESC);
CREATE INDEX jobs_by_key ON treadle.jobs (key, created_at DESC, job_id DESC) WHERE key IS NOT NULL;
CREATE INDEX jobs_ended ON treadle.jobs (finished_at) WHERE finished_at IS NOT NULL;

CREATE TABLE treadle.job_steps (
    job_id uuid NOT NULL REFERENCES treadle.jobs ON DELETE CASCADE,
    name text NOT NULL,
    position integer NOT NULL,
    state text NOT NULL CHECK (state IN ('RUNNING', 'DONE', 'FAILED', 'STOPPED')),
    attempt integer NOT NULL,
    started_at timestamptz NOT NULL,
    finished_at timestamptz,
    result jsonb,
    error_message text,
    PRIMARY KEY (job_id, name)
);

CREATE TABLE treadle.job_events (
    job_id uuid NOT NULL REFERENCES treadle.jobs ON DELETE CASCADE,
    seq bigint NOT NULL,                                    -- 1, 2, 3 … without gaps, in the order of the commits
    at timestamptz NOT NULL,
    level text NOT NULL,
    step text,
    pct double precision,
    message text NOT NULL,
    data jsonb,
    PRIMARY KEY (job_id, seq)
);

CREATE TABLE treadle.job_slots (
    name text NOT NULL,
    slot timestamptz NOT NULL,
    job_id uuid NOT NULL,
    PRIMARY KEY (name, slot)
);
