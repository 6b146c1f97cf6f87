-- run_columns_of_week
-- The runs of one week, newest first; `synced` tells a whole success from one that stayed on this machine.
SELECT run.*, EXISTS (SELECT FROM treadle.pipeline_stage AS stage
                       WHERE stage.run_id = run.run_id AND stage.stage_name = 'SYNC' AND stage.status = 'SUCCESS') AS synced
  FROM treadle.pipeline_run AS run
 WHERE run.pipeline_name = %(pipeline)s::text AND run.batch_week_start = %(week_start)s::date AND run.batch_week_end = %(week_end)s::date
 ORDER BY run.pipeline_start_time DESC, run.created_at_utc DESC
 LIMIT 200;

-- overlapping_runs
-- Runs of other spans that share a day with this one, newest first: under way, or with figures in Salesforce, where a record is named by its customer
-- and the first day alone. A success that stayed on this machine is in nobody's way.
SELECT run.*, run.status <> 'STARTED' AS synced
  FROM treadle.pipeline_run AS run
 WHERE run.pipeline_name = %(pipeline)s::text
   AND run.batch_week_start <= %(week_end)s::date AND run.batch_week_end >= %(week_start)s::date
   AND (run.batch_week_start <> %(week_start)s::date OR run.batch_week_end <> %(week_end)s::date)
   AND (run.status = 'STARTED'
        OR (run.status IN ('SUCCESS', 'SUCCESS_WITH_REJECTS')
            AND EXISTS (SELECT FROM treadle.pipeline_stage AS stage
                         WHERE stage.run_id = run.run_id AND stage.stage_name = 'SYNC' AND stage.status = 'SUCCESS')))
 ORDER BY run.pipeline_start_time DESC, run.created_at_utc DESC
 LIMIT 20;

-- list_runs
-- Newest first, of all weeks.
SELECT run.*, EXISTS (SELECT FROM treadle.pipeline_stage AS stage
                       WHERE stage.run_id = run.run_id AND stage.stage_name = 'SYNC' AND stage.status = 'SUCCESS') AS synced
  FROM treadle.pipeline_run AS run
 WHERE run.pipeline_name = %(pipeline)s::text
 ORDER BY run.pipeline_start_time DESC, run.created_at_utc DESC
 LIMIT %(limit)s::int;

-- get_run
-- One run, whatever its state.
SELECT run.*, EXISTS (SELECT FROM treadle.pipeline_stage AS stage
                       WHERE stage.run_id = run.run_id AND stage.stage_name = 'SYNC' AND stage.status = 'SUCCESS') AS synced
  FROM treadle.pipeline_run AS run
 WHERE run.run_id = %(run_id)s::uuid;

-- one_begins
-- Until the end of the transaction: two runs whose spans overlap would else each look before the other is there.
SELECT pg_advisory_xact_lock(hashtextextended('treadle:weekly:begin:' || %(pipeline)s::text, 0));

-- begin_run
-- The unique index refuses a second run of the week that has not ended.
INSERT INTO treadle.pipeline_run (run_id, pipeline_name, batch_week_start, batch_week_end, pipeline_start_time, correlation_id, reject_threshold_pct)
VALUES (%(run_id)s::uuid, %(pipeline)s::text, %(week_start)s::date, %(week_end)s::date, clock_timestamp(), %(correlation_id)s::text,
        %(threshold_pct)s::numeric)
RETURNING *, false AS synced;

-- begin_stage
-- Only of a run that has not ended: whoever was taken for dead writes nothing more.
INSERT INTO treadle.pipeline_stage (run_id, stage_name, stage_start_time)
SELECT run.run_id, %(stage)s::text, clock_timestamp()
  FROM treadle.pipeline_run AS run
 WHERE run.run_id = %(run_id)s::uuid AND run.status = 'STARTED'
   FOR UPDATE
RETURNING stage_id;

-- end_stage
-- Guarded as the beginning was.
UPDATE treadle.pipeline_stage AS stage
   SET status = %(status)s::text, stage_end_time = clock_timestamp(), row_count = %(row_count)s::bigint, error_message = %(error)s::text
  FROM treadle.pipeline_run AS run
 WHERE stage.run_id = %(run_id)s::uuid AND stage.stage_name = %(stage)s::text AND stage.status = 'STARTED'
   AND run.run_id = stage.run_id AND run.status = 'STARTED'
RETURNING stage.stage_id;

-- end_open_stages
-- What a process that is gone had begun; also the stage that is under way when its run ends, in one transaction with it.
UPDATE treadle.pipeline_stage
   SET status = %(status)s::text, stage_end_time = clock_timestamp(), row_count = %(row_count)s::bigint, error_message = %(error)s::text
 WHERE run_id = %(run_id)s::uuid AND status = 'STARTED'
RETURNING stage_name;

-- list_stages
-- Every attempt, in the order in which they were begun.
SELECT stage_name, stage_start_time, stage_end_time, status, row_count, error_message
  FROM treadle.pipeline_stage
 WHERE run_id = %(run_id)s::uuid
 ORDER BY stage_id;

-- supersede
-- In the transaction that records the newer success of the same week, before it, so that the unique index has one at each moment.
UPDATE treadle.pipeline_run
   SET status = 'SUPERSEDED'
 WHERE pipeline_name = %(pipeline)s::text AND batch_week_start = %(week_start)s::date AND batch_week_end = %(week_end)s::date
   AND status IN ('SUCCESS', 'SUCCESS_WITH_REJECTS') AND run_id <> %(run_id)s::uuid
RETURNING run_id;

-- lock_run
-- First of all when a run is to be ended: its row says whether that is still ours to do.
SELECT status FROM treadle.pipeline_run WHERE run_id = %(run_id)s::uuid FOR UPDATE;

-- end_run
-- Ends a run that has not ended. No row back: somebody else ended it, and this result must be dropped.
UPDATE treadle.pipeline_run
   SET status = %(status)s::text, pipeline_end_time = clock_timestamp(),
       rows_fetched = %(rows_fetched)s::bigint, rows_output = %(rows_output)s::bigint, rows_rejected = %(rows_rejected)s::bigint,
       reject_rate_pct = %(reject_rate_pct)s::numeric, output_path = %(output_path)s::text, rejects_path = %(rejects_path)s::text,
       error_type = %(error_type)s::text, error_message = %(error_message)s::text
 WHERE run_id = %(run_id)s::uuid AND status = 'STARTED'
RETURNING run_id;

-- abandoned_runs
-- Runs that have not ended and of which nothing was heard for so long that no orchestrator is between two of their stages.
SELECT run.*, false AS synced
  FROM treadle.pipeline_run AS run
 WHERE run.pipeline_name = %(pipeline)s::text AND run.status = 'STARTED'
   AND greatest(run.pipeline_start_time, (SELECT max(event.at) FROM treadle.weekly_events AS event WHERE event.run_id = run.run_id))
       < clock_timestamp() - %(silent_for)s::interval;

-- checkpoint
-- Which week comes next. No row: nothing has succeeded yet.
SELECT * FROM treadle.pipeline_checkpoint WHERE pipeline_name = %(pipeline)s::text;

-- lock_checkpoint
-- Two runs of different weeks may end at once; one after the other decides where the checkpoint stands.
SELECT pg_advisory_xact_lock(hashtextextended('treadle:weekly_checkpoint:' || %(pipeline)s::text, 0));

-- complete_weeks
-- Weeks behind this one that went all the way to Salesforce, begun after they were over.
SELECT run.batch_week_start, run.batch_week_end
  FROM treadle.pipeline_run AS run
 WHERE run.pipeline_name = %(pipeline)s::text AND run.batch_week_start > %(week_end)s::date
   AND run.status IN ('SUCCESS', 'SUCCESS_WITH_REJECTS')
   AND run.pipeline_start_time >= (run.batch_week_end + 1)::timestamp AT TIME ZONE 'UTC'
   AND EXISTS (SELECT FROM treadle.pipeline_stage AS stage
                WHERE stage.run_id = run.run_id AND stage.stage_name = 'SYNC' AND stage.status = 'SUCCESS');

-- put_checkpoint
-- Under lock_checkpoint.
INSERT INTO treadle.pipeline_checkpoint AS kept
       (pipeline_name, last_successful_week_start, last_successful_week_end, next_week_start, next_week_end, updated_at_utc)
VALUES (%(pipeline)s::text, %(last_start)s::date, %(last_end)s::date, %(next_start)s::date, %(next_end)s::date, clock_timestamp())
    ON CONFLICT (pipeline_name) DO UPDATE
   SET last_successful_week_start = excluded.last_successful_week_start, last_successful_week_end = excluded.last_successful_week_end,
       next_week_start = excluded.next_week_start, next_week_end = excluded.next_week_end, updated_at_utc = excluded.updated_at_utc
RETURNING *;
