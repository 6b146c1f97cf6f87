-- now
-- The server's clock, UTC; Azure SQL gives it without a zone.
SELECT SYSUTCDATETIME() AS now;

-- lock_week
-- The session's own lock: it ends with the session, however the process ended. At least 0: obtained.
DECLARE @granted int;
EXEC @granted = sp_getapplock @Resource = @resource, @LockMode = 'Exclusive', @LockOwner = 'Session', @LockTimeout = 0;
SELECT @granted AS granted;

-- week_is_locked
-- Asked in the lock's own session.
SELECT APPLOCK_MODE('public', @resource, 'Session') AS mode;

-- unlock_week
-- Explicitly, before the connection goes back to the driver's pool.
EXEC sp_releaseapplock @Resource = @resource, @LockOwner = 'Session';

-- run_columns_of_week
-- The runs of one week, newest first; `synced` tells a whole success from one that stayed on the machine.
SELECT TOP (200) run.*, CASE WHEN EXISTS (SELECT 1 FROM dbo.pipeline_stage AS stage
                                           WHERE stage.run_id = run.run_id AND stage.stage_name = 'SYNC' AND stage.status = 'SUCCESS')
                             THEN 1 ELSE 0 END AS synced
  FROM dbo.pipeline_run AS run
 WHERE run.pipeline_name = @pipeline AND run.batch_week_start = @week_start AND run.batch_week_end = @week_end
 ORDER BY run.pipeline_start_time DESC, run.created_at_utc DESC;

-- overlapping_runs
-- Runs of other spans that share a day with this one, newest first: under way, or with figures in Salesforce, where a record is named by its customer
-- and the first day alone. A success that stayed on the machine is in nobody's way.
SELECT TOP (20) run.*, CASE WHEN run.status = 'STARTED' THEN 0 ELSE 1 END AS synced
  FROM dbo.pipeline_run AS run
 WHERE run.pipeline_name = @pipeline
   AND run.batch_week_start <= @week_end AND run.batch_week_end >= @week_start
   AND (run.batch_week_start <> @week_start OR run.batch_week_end <> @week_end)
   AND (run.status = 'STARTED'
        OR (run.status IN ('SUCCESS', 'SUCCESS_WITH_REJECTS')
            AND EXISTS (SELECT 1 FROM dbo.pipeline_stage AS stage
                         WHERE stage.run_id = run.run_id AND stage.stage_name = 'SYNC' AND stage.status = 'SUCCESS')))
 ORDER BY run.pipeline_start_time DESC, run.created_at_utc DESC;

-- list_runs
-- Newest first, of all weeks.
SELECT TOP (@limit) run.*, CASE WHEN EXISTS (SELECT 1 FROM dbo.pipeline_stage AS stage
                                              WHERE stage.run_id = run.run_id AND stage.stage_name = 'SYNC' AND stage.status = 'SUCCESS')
                                THEN 1 ELSE 0 END AS synced
  FROM dbo.pipeline_run AS run
 WHERE run.pipeline_name = @pipeline
 ORDER BY run.pipeline_start_time DESC, run.created_at_utc DESC;

-- get_run
-- One run, whatever its state.
SELECT run.*, CASE WHEN EXISTS (SELECT 1 FROM dbo.pipeline_stage AS stage
                                 WHERE stage.run_id = run.run_id AND stage.stage_name = 'SYNC' AND stage.status = 'SUCCESS')
                   THEN 1 ELSE 0 END AS synced
  FROM dbo.pipeline_run AS run
 WHERE run.run_id = @run_id;

-- one_begins
-- Until the end of the transaction: two runs whose spans overlap would else each look before the other is there.
DECLARE @granted int;
EXEC @granted = sp_getapplock @Resource = @begin, @LockMode = 'Exclusive', @LockOwner = 'Transaction', @LockTimeout = 30000;
SELECT @granted AS granted;

-- begin_run
-- The filtered unique index refuses a second run of the week that has not ended.
INSERT INTO dbo.pipeline_run (run_id, pipeline_name, batch_week_start, batch_week_end, pipeline_start_time, status, correlation_id,
                              reject_threshold_pct, created_at_utc)
VALUES (@run_id, @pipeline, @week_start, @week_end, SYSUTCDATETIME(), 'STARTED', @correlation_id, @threshold_pct, SYSUTCDATETIME());

-- begin_stage
-- Only of a run that has not ended: whoever was taken for dead writes nothing more.
INSERT INTO dbo.pipeline_stage (run_id, stage_name, stage_start_time, status, created_at_utc)
OUTPUT inserted.stage_id
SELECT run.run_id, @stage, SYSUTCDATETIME(), 'STARTED', SYSUTCDATETIME()
  FROM dbo.pipeline_run AS run WITH (UPDLOCK, HOLDLOCK)
 WHERE run.run_id = @run_id AND run.status = 'STARTED';

-- end_stage
-- Guarded as the beginning was.
UPDATE stage
   SET status = @status, stage_end_time = SYSUTCDATETIME(), row_count = @row_count, error_message = @error
OUTPUT inserted.stage_id
  FROM dbo.pipeline_stage AS stage
  JOIN dbo.pipeline_run AS run ON run.run_id = stage.run_id
 WHERE stage.run_id = @run_id AND stage.stage_name = @stage AND stage.status = 'STARTED' AND run.status = 'STARTED';

-- end_open_stages
-- What a process that is gone had begun; also the stage that is under way when its run ends, in one transaction with it.
UPDATE dbo.pipeline_stage
   SET status = @status, stage_end_time = SYSUTCDATETIME(), row_count = @row_count, error_message = @error
OUTPUT inserted.stage_name
 WHERE run_id = @run_id AND status = 'STARTED';

-- list_stages
-- Every attempt, in the order in which they were begun.
SELECT stage_name, stage_start_time, stage_end_time, status, row_count, error_message
  FROM dbo.pipeline_stage
 WHERE run_id = @run_id
 ORDER BY stage_id;

-- supersede
-- In the transaction that records the newer success of the same week, before it.
UPDATE dbo.pipeline_run
   SET status = 'SUPERSEDED'
OUTPUT inserted.run_id
 WHERE pipeline_name = @pipeline AND batch_week_start = @week_start AND batch_week_end = @week_end
   AND status IN ('SUCCESS', 'SUCCESS_WITH_REJECTS') AND run_id <> @run_id;

-- lock_run
-- First of all when a run is to be ended: its row says whether that is still ours to do.
SELECT status FROM dbo.pipeline_run WITH (UPDLOCK, HOLDLOCK) WHERE run_id = @run_id;

-- end_run
-- Ends a run that has not ended. No row back: somebody else ended it, and this result must be dropped.
UPDATE dbo.pipeline_run
   SET status = @status, pipeline_end_time = SYSUTCDATETIME(), rows_fetched = @rows_fetched, rows_output = @rows_output,
       rows_rejected = @rows_rejected, reject_rate_pct = @reject_rate_pct, output_path = @output_path, rejects_path = @rejects_path,
       error_type = @error_type, error_message = @error_message
OUTPUT inserted.run_id
 WHERE run_id = @run_id AND status = 'STARTED';

-- abandoned_runs
-- Runs that have not ended and whose last stage was begun or ended so long ago that no orchestrator is between two of them.
SELECT run.*, 0 AS synced
  FROM dbo.pipeline_run AS run
 WHERE run.pipeline_name = @pipeline AND run.status = 'STARTED'
   AND run.pipeline_start_time < DATEADD(second, -@silent_seconds, SYSUTCDATETIME())
   AND NOT EXISTS (SELECT 1 FROM dbo.pipeline_stage AS stage
                    WHERE stage.run_id = run.run_id
                      AND COALESCE(stage.stage_end_time, stage.stage_start_time) >= DATEADD(second, -@silent_seconds, SYSUTCDATETIME()));

-- checkpoint
-- Which week comes next. No row: nothing has succeeded yet.
SELECT * FROM dbo.pipeline_checkpoint WHERE pipeline_name = @pipeline;

-- checkpoint_to_move
-- The row, or the place where it will be, stays locked until the end of the transaction: two runs that end at once move it one after the other.
SELECT * FROM dbo.pipeline_checkpoint WITH (UPDLOCK, HOLDLOCK) WHERE pipeline_name = @pipeline;

-- complete_weeks
-- Weeks behind this one that went all the way to Salesforce, begun after they were over.
SELECT run.batch_week_start, run.batch_week_end
  FROM dbo.pipeline_run AS run
 WHERE run.pipeline_name = @pipeline AND run.batch_week_start > @week_end
   AND run.status IN ('SUCCESS', 'SUCCESS_WITH_REJECTS')
   AND run.pipeline_start_time >= DATEADD(day, 1, CAST(run.batch_week_end AS datetime2))
   AND EXISTS (SELECT 1 FROM dbo.pipeline_stage AS stage
                WHERE stage.run_id = run.run_id AND stage.stage_name = 'SYNC' AND stage.status = 'SUCCESS');

-- put_checkpoint
-- After checkpoint_to_move, in the same transaction.
MERGE dbo.pipeline_checkpoint WITH (HOLDLOCK) AS kept
USING (SELECT @pipeline AS pipeline_name) AS given ON kept.pipeline_name = given.pipeline_name
WHEN MATCHED THEN UPDATE SET last_successful_week_start = @last_start, last_successful_week_end = @last_end,
                             next_week_start = @next_start, next_week_end = @next_end, updated_at_utc = SYSUTCDATETIME()
WHEN NOT MATCHED THEN INSERT (pipeline_name, last_successful_week_start, last_successful_week_end, next_week_start, next_week_end, updated_at_utc)
                      VALUES (@pipeline, @last_start, @last_end, @next_start, @next_end, SYSUTCDATETIME());
