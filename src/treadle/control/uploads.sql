-- create_upload
-- The row comes before the file in the lake, so that what a crash leaves is known. The same id again is the same request, sent again.
INSERT INTO treadle.uploads (upload_id, file_name, size_bytes, sha256, overwrite, staged_path, created_by, owner, archive_path, expires_at)
VALUES (%(upload_id)s::uuid, %(file_name)s::text, %(size_bytes)s::bigint, %(sha256)s::text, %(overwrite)s::boolean, %(staged_path)s::text,
        %(created_by)s::text, %(owner)s::text, %(archive_path)s::text, clock_timestamp() + %(lifetime)s::interval)
    ON CONFLICT (upload_id) DO NOTHING;

-- get_upload
-- One upload, and whether its time is over by the database's clock. An archive that waits to be used has an end, a workbook in its place has none.
SELECT *, (state IN ('OPEN', 'PLACING') OR (archive_path IS NOT NULL AND used_by IS NULL)) AND expires_at <= clock_timestamp() AS expired
  FROM treadle.uploads WHERE upload_id = %(upload_id)s::uuid;

-- begin_placing
-- The stored bytes are verified; from here on the rename may have happened. No row back: the upload is over.
UPDATE treadle.uploads
   SET state = 'PLACING', sha256 = %(sha256)s::text
 WHERE upload_id = %(upload_id)s::uuid AND state IN ('OPEN', 'PLACING')
RETURNING upload_id;

-- back_to_open
-- The rename was refused and has not happened: the upload can be finalised again.
UPDATE treadle.uploads SET state = 'OPEN' WHERE upload_id = %(upload_id)s::uuid AND state = 'PLACING';

-- end_placing
-- The file is in its place. Safe to repeat.
UPDATE treadle.uploads
   SET state = 'PLACED', placed_at = COALESCE(placed_at, clock_timestamp())
 WHERE upload_id = %(upload_id)s::uuid AND state IN ('PLACING', 'PLACED');

-- cancel_upload
-- Nobody goes on with it; its bytes are cleared away. No row back: it is placed, or being placed, or is an archive that a job has used.
UPDATE treadle.uploads
   SET state = 'CANCELLED', placed_at = NULL
 WHERE upload_id = %(upload_id)s::uuid
   AND (state IN ('OPEN', 'CANCELLED') OR (state = 'PLACED' AND archive_path IS NOT NULL AND used_by IS NULL))
RETURNING upload_id;

-- use_upload
-- One job has it, in the transaction that asks for the job. No row back: another job was quicker, it was given up, or its time is over.
UPDATE treadle.uploads
   SET used_by = %(job_id)s::uuid
 WHERE upload_id = %(upload_id)s::uuid AND state = 'PLACED' AND archive_path IS NOT NULL
   AND (used_by = %(job_id)s::uuid OR (used_by IS NULL AND expires_at > clock_timestamp()))
RETURNING upload_id;

-- user_of
-- Which job has used it, also when its time is over.
SELECT used_by FROM treadle.uploads WHERE upload_id = %(upload_id)s::uuid;

-- over_uploads
-- Whose bytes may be cleared away: those that were given up, and those whose time is over. A workbook in its place has none left here, and an archive
-- that was used is its job's to clear away; both are forgotten in time, the latter not before its job has ended.
SELECT upload_id, staged_path, CASE WHEN used_by IS NULL THEN archive_path END AS archive_path
  FROM treadle.uploads
 WHERE (expires_at <= clock_timestamp() OR state = 'CANCELLED')
   AND NOT EXISTS (SELECT FROM treadle.jobs AS job WHERE job.job_id = uploads.used_by AND job.finished_at IS NULL)
 ORDER BY expires_at LIMIT 500;

-- delete_upload
-- After its bytes are gone.
DELETE FROM treadle.uploads WHERE upload_id = %(upload_id)s::uuid;
