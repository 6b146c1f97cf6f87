-- The five tables that exist before Treadle comes, as an installation's owner would have made them. For the sandbox and the tests only:
-- the product never creates or alters them. May be run again on a database that has them.

CREATE TABLE IF NOT EXISTS pipeline_runs (
    run_id                  uuid PRIMARY KEY,
    created_at              timestamp NOT NULL,
    started_at              timestamp,
    finished_at             timestamp,
    triggered_by            text NOT NULL,
    input_file              text NOT NULL,
    workspace_id            text NOT NULL,
    pipeline_item_id        text NOT NULL,
    fabric_job_location_url text,
    fabric_job_id           text,
    status                  text NOT NULL CHECK (status IN ('SUBMITTED', 'QUEUED', 'RUNNING', 'SUCCEEDED', 'FAILED')),
    status_last_updated_at  timestamp,
    error_message           text,
    kpis                    jsonb,
    notebook_version        text,
    app_version             text
);

CREATE TABLE IF NOT EXISTS run_lock (
    lock_key  text PRIMARY KEY,
    run_id    uuid,
    locked_at timestamp,
    locked_by text
);

CREATE TABLE IF NOT EXISTS run_events (
    id         uuid PRIMARY KEY,
    run_id     uuid NOT NULL REFERENCES pipeline_runs (run_id),
    event_time timestamp NOT NULL,
    event_type text CHECK (event_type IN ('STATUS_CHANGE', 'LOG', 'WARNING', 'ERROR')),
    message    text
);

CREATE TABLE IF NOT EXISTS run_artifacts (
    id            uuid PRIMARY KEY,
    run_id        uuid NOT NULL REFERENCES pipeline_runs (run_id),
    artifact_type text CHECK (artifact_type IN ('parquet', 'csv', 'json', 'profile', 'metadata')),
    file_path     text NOT NULL,
    file_size     bigint,
    created_at    timestamp
);

CREATE TABLE IF NOT EXISTS run_restores (
    id            uuid PRIMARY KEY,
    restored_at   timestamp,
    restored_by   text NOT NULL,
    source_run_id uuid NOT NULL REFERENCES pipeline_runs (run_id),
    target_run_id uuid
);

-- Pages of runs, newest first; the same within one status and of one person; the few active ones; whose a Fabric job is.
CREATE INDEX IF NOT EXISTS pipeline_runs_newest ON pipeline_runs (created_at DESC, run_id DESC);
CREATE INDEX IF NOT EXISTS pipeline_runs_by_status ON pipeline_runs (status, created_at DESC, run_id DESC);
CREATE INDEX IF NOT EXISTS pipeline_runs_by_person ON pipeline_runs (triggered_by, created_at DESC, run_id DESC);
CREATE INDEX IF NOT EXISTS pipeline_runs_active ON pipeline_runs (created_at, run_id) WHERE status IN ('SUBMITTED', 'QUEUED', 'RUNNING');
CREATE INDEX IF NOT EXISTS pipeline_runs_by_job ON pipeline_runs (lower(fabric_job_id)) WHERE fabric_job_id IS NOT NULL;
CREATE INDEX IF NOT EXISTS run_events_of_run ON run_events (run_id, event_time, id);
CREATE INDEX IF NOT EXISTS run_artifacts_of_run ON run_artifacts (run_id);
CREATE INDEX IF NOT EXISTS run_restores_newest ON run_restores (restored_at DESC, id DESC);

-- Text within names and messages is found by trigrams where the server brings that extension; the embedded one does not.
DO $$
BEGIN
    IF EXISTS (SELECT FROM pg_available_extensions WHERE name = 'pg_trgm') THEN
        CREATE EXTENSION IF NOT EXISTS pg_trgm;
        CREATE INDEX IF NOT EXISTS pipeline_runs_text ON pipeline_runs
            USING gin (input_file gin_trgm_ops, triggered_by gin_trgm_ops, error_message gin_trgm_ops);
    END IF;
END
$$;

INSERT INTO run_lock (lock_key) VALUES ('ACTIVE_PIPELINE_RUN') ON CONFLICT DO NOTHING;
