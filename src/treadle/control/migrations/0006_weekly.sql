-- The weekly flow: its runs, their stages, the checkpoint, and what happened, in order.
-- Names and columns of the first three are those that installations on Azure SQL have; there they are in the schema dbo.

CREATE TABLE treadle.pipeline_run (
    run_id               uuid          PRIMARY KEY,
    pipeline_name        text          NOT NULL,
    batch_week_start     date          NOT NULL,
    batch_week_end       date          NOT NULL,
    pipeline_start_time  timestamptz   NOT NULL,
    pipeline_end_time    timestamptz,
    status               text          NOT NULL DEFAULT 'STARTED'
                         CHECK (status IN ('STARTED', 'SUCCESS', 'SUCCESS_WITH_REJECTS', 'FAILED', 'SUPERSEDED')),
    correlation_id       text,                               -- the tag under which the stages of one run find each other
    rows_fetched         bigint,
    rows_output          bigint,
    rows_rejected        bigint,
    reject_rate_pct      numeric(9, 6),
    reject_threshold_pct numeric(9, 6),
    output_path          text,
    rejects_path         text,
    error_type           text,
    error_message        text,
    created_at_utc       timestamptz   NOT NULL DEFAULT clock_timestamp(),
    CHECK (batch_week_end >= batch_week_start),
    CHECK ((status = 'STARTED') = (pipeline_end_time IS NULL)),
    CHECK (status <> 'FAILED' OR error_message IS NOT NULL)
);
CREATE INDEX pipeline_run_week ON treadle.pipeline_run (pipeline_name, batch_week_start, batch_week_end);
CREATE INDEX pipeline_run_newest ON treadle.pipeline_run (pipeline_name, pipeline_start_time DESC);
-- At most one success of a week: a forced run that succeeds supersedes the older one in the same transaction.
CREATE UNIQUE INDEX pipeline_run_success ON treadle.pipeline_run (pipeline_name, batch_week_start, batch_week_end)
    WHERE status IN ('SUCCESS', 'SUCCESS_WITH_REJECTS');
-- At most one run of a week at a time, whatever became of the lock that says so first.
CREATE UNIQUE INDEX pipeline_run_started ON treadle.pipeline_run (pipeline_name, batch_week_start, batch_week_end)
    WHERE status = 'STARTED';

CREATE TABLE treadle.pipeline_stage (
    stage_id         bigint      GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    run_id           uuid        NOT NULL REFERENCES treadle.pipeline_run ON DELETE CASCADE,
    stage_name       text        NOT NULL CHECK (stage_name IN ('EXTRACT', 'TRANSFORM', 'LOAD', 'QUALITY_GATE', 'SYNC')),
    stage_start_time timestamptz NOT NULL,
    stage_end_time   timestamptz,
    status           text        NOT NULL DEFAULT 'STARTED' CHECK (status IN ('STARTED', 'SUCCESS', 'FAILED', 'SKIPPED')),
    row_count        bigint,
    error_message    text,
    created_at_utc   timestamptz NOT NULL DEFAULT clock_timestamp(),
    CHECK ((status = 'STARTED') = (stage_end_time IS NULL))
);
CREATE INDEX pipeline_stage_run ON treadle.pipeline_stage (run_id, stage_id);

CREATE TABLE treadle.pipeline_checkpoint (
    pipeline_name              text        PRIMARY KEY,
    last_successful_week_start date,
    last_successful_week_end   date,
    next_week_start            date        NOT NULL,
    next_week_end              date        NOT NULL,
    updated_at_utc             timestamptz NOT NULL,
    CHECK (next_week_end >= next_week_start)
);

-- The runs may be on Azure SQL while this is here, so nothing refers to them.
CREATE TABLE treadle.weekly_events (
    run_id  uuid        NOT NULL,
    seq     bigint      NOT NULL CHECK (seq > 0),            -- 1, 2, 3 … without gaps within a run, in the order of the commits
    at      timestamptz NOT NULL DEFAULT clock_timestamp(),
    level   text        NOT NULL CHECK (level IN ('INFO', 'WARNING', 'ERROR')),
    stage   text,
    message text        NOT NULL,
    data    jsonb,
    PRIMARY KEY (run_id, seq)
);
