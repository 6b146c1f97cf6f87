-- get_run
-- One run, whole.
SELECT * FROM pipeline_runs WHERE run_id = %(run_id)s::uuid;

-- runs_between
-- Runs whose ids begin alike; two are enough to know that a beginning does not name one run.
SELECT * FROM pipeline_runs WHERE run_id BETWEEN %(lowest)s::uuid AND %(highest)s::uuid ORDER BY run_id LIMIT 2;

-- list_runs
-- One page, newest first. The keys of the last row seen take the place of OFFSET, so every page costs the same. Of the KPIs only the plain
-- figures are listed: breakdowns and series can be a thousand times larger.
SELECT run_id, created_at, started_at, finished_at, triggered_by, input_file, workspace_id, pipeline_item_id, fabric_job_location_url,
       fabric_job_id, status, error_message, notebook_version, app_version,
       status_last_updated_at,  -- if status_last_updated_at
       CASE WHEN jsonb_typeof(kpis) = 'object' THEN
            (SELECT COALESCE(jsonb_object_agg(kpi.key, kpi.value), '{}') FROM jsonb_each(kpis) AS kpi WHERE jsonb_typeof(kpi.value) = 'number')
       END AS kpis
  FROM pipeline_runs
 WHERE true
   AND (created_at, run_id) < (%(after_time)s::timestamp, %(after_id)s::uuid)  -- if after
   AND created_at >= %(since)s::timestamp  -- if since
   AND created_at < %(until)s::timestamp  -- if until
   AND status = %(status)s::text  -- if status
   AND status = ANY (%(statuses)s::text[])  -- if statuses
   AND triggered_by = %(triggered_by)s::text  -- if triggered_by
   AND input_file ILIKE %(input_file)s::text ESCAPE '\'  -- if input_file
   AND NOT starts_with(input_file, '__restore__')  -- if without_restores
   AND (input_file ILIKE %(text)s::text ESCAPE '\'  -- if text
        OR triggered_by ILIKE %(text)s::text ESCAPE '\'  -- if text
        OR error_message ILIKE %(text)s::text ESCAPE '\'  -- if text
        OR run_id BETWEEN %(lowest)s::uuid AND %(highest)s::uuid  -- if id_text
       )  -- if text
 ORDER BY created_at DESC, run_id DESC
 LIMIT %(limit)s::bigint;

-- active_runs
-- Every run that has not ended, oldest first: all of them are driven, not only the one that holds the lock.
SELECT * FROM pipeline_runs WHERE status IN ('SUBMITTED', 'QUEUED', 'RUNNING') ORDER BY created_at, run_id;

-- latest_succeeded
-- The newest run that made files. A restore made none, so it does not count.
SELECT *
  FROM pipeline_runs
 WHERE status = 'SUCCEEDED' AND NOT starts_with(input_file, '__restore__')
   AND created_at < %(before)s::timestamp  -- if before
 ORDER BY created_at DESC, run_id DESC
 LIMIT 1;

-- claimed_jobs
-- Which of these jobs belong to other runs, however old those are: a run that was given up may have left a job that starts late.
SELECT fabric_job_id
  FROM pipeline_runs
 WHERE lower(fabric_job_id) = ANY (%(job_ids)s::text[]) AND fabric_job_id IS NOT NULL AND run_id <> %(run_id)s::uuid;
