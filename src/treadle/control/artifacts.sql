-- add_artifacts
-- The id is made of run, type and path, so a file that is recorded again is the same row.
INSERT INTO run_artifacts (id, run_id, artifact_type, file_path, file_size, created_at)
SELECT artifact.id, %(run_id)s::uuid, artifact.artifact_type, artifact.file_path, artifact.file_size, clock_timestamp() AT TIME ZONE 'UTC'
  FROM unnest(%(ids)s::uuid[], %(types)s::text[], %(paths)s::text[], %(sizes)s::bigint[]) AS artifact (id, artifact_type, file_path, file_size)
    ON CONFLICT (id) DO NOTHING;

-- list_artifacts
-- The files of one run, in an order that does not change.
SELECT id, run_id, artifact_type, file_path, file_size, created_at
  FROM run_artifacts
 WHERE run_id = %(run_id)s::uuid
 ORDER BY file_path, id;
