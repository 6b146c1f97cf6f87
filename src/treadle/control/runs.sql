-- insert_run
-- The row comes before Fabric is called, so that a run whose starter dies is known and can be settled.
INSERT INTO pipeline_runs (
       run_id, created_at, triggered_by, input_file, workspace_id, pipeline_item_id, status,
       status_last_updated_at,  -- if status_last_updated_at
       notebook_version, app_version)
SELECT %(run_id)s::uuid, clock.now, %(triggered_by)s::text, %(input_file)s::text, %(workspace_id)s::text, %(pipeline_item_id)s::text, 'SUBMITTED',
       clock.now,  -- if status_last_updated_at
       %(notebook_version)s::text, %(app_version)s::text
  FROM (SELECT clock_timestamp() AT TIME ZONE 'UTC' AS now) AS clock
RETURNING *;

-- lock_run
-- Whoever is about to end a run waits here for whoever else is. Weaker than FOR UPDATE, so appending events need not wait.
SELECT * FROM pipeline_runs WHERE run_id = %(run_id)s::uuid FOR NO KEY UPDATE;

-- claim_job
-- Two runs that reach for one job come one after the other, until this transaction ends.
SELECT pg_advisory_xact_lock(%(key)s::bigint);

-- record_job
-- Compare-and-set: the first to name the run's job wins. No row back: the run has one, has ended, or another run has this job.
UPDATE pipeline_runs AS run
   SET fabric_job_id = %(job_id)s::text, fabric_job_location_url = %(location_url)s::text
 WHERE run.run_id = %(run_id)s::uuid AND run.status = 'SUBMITTED' AND run.fabric_job_id IS NULL
   AND NOT EXISTS (SELECT FROM pipeline_runs AS other
                    WHERE lower(other.fabric_job_id) = lower(%(job_id)s::text) AND other.run_id <> %(run_id)s::uuid)
RETURNING run.*;

-- advance_run
-- Compare-and-set: only from the status that was seen. No row back: somebody else moved the run on, and what was seen is old.
UPDATE pipeline_runs AS run
   SET status = %(to)s::text,
       status_last_updated_at = clock.now,  -- if status_last_updated_at
       started_at = CASE WHEN %(to)s::text = 'RUNNING' THEN COALESCE(run.started_at, %(started_at)s::timestamp, clock.now) ELSE run.started_at END
  FROM (SELECT clock_timestamp() AT TIME ZONE 'UTC' AS now) AS clock
 WHERE run.run_id = %(run_id)s::uuid AND run.status = %(seen)s::text
RETURNING run.*;

-- finish_run
-- Ends a run that is still active. No row back: somebody else ended it first, and this result must be dropped.
UPDATE pipeline_runs AS run
   SET status = %(status)s::text,
       status_last_updated_at = clock.now,  -- if status_last_updated_at
       started_at = COALESCE(run.started_at, %(started_at)s::timestamp),
       notebook_version = COALESCE(%(notebook_version)s::text, run.notebook_version),
       finished_at = clock.now,
       kpis = %(kpis)s::jsonb,
       error_message = %(error_message)s::text
  FROM (SELECT clock_timestamp() AT TIME ZONE 'UTC' AS now) AS clock
 WHERE run.run_id = %(run_id)s::uuid AND run.status IN ('SUBMITTED', 'QUEUED', 'RUNNING')
RETURNING run.*;
