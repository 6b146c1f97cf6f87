-- add_restore
-- The history line of a restore, in the transaction that starts it; its id is made of the restoring run's, so it is there once.
INSERT INTO run_restores (id, restored_at, restored_by, source_run_id, target_run_id)
VALUES (%(id)s::uuid, clock_timestamp() AT TIME ZONE 'UTC', %(restored_by)s::text, %(source_run_id)s::uuid, %(target_run_id)s::uuid);

-- list_restores
-- Who restored what, newest first, with how the restoring run ended.
SELECT restore.id, restore.restored_at, restore.restored_by, restore.source_run_id, restore.target_run_id,
       source.input_file AS source_input_file, target.status AS target_status
  FROM run_restores AS restore
  LEFT JOIN pipeline_runs AS source ON source.run_id = restore.source_run_id
  LEFT JOIN pipeline_runs AS target ON target.run_id = restore.target_run_id
 WHERE restore.restored_at IS NOT NULL
   AND (restore.restored_at, restore.id) < (%(after_time)s::timestamp, %(after_id)s::uuid)  -- if after
 ORDER BY restore.restored_at DESC, restore.id DESC
 LIMIT %(limit)s::bigint;
