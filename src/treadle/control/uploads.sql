-- create_upload
-- The row comes before the file in the lake, so that what a crash leaves is known. The same id again is the same request, sent again.
INSERT INTO treadle.uploads (upload_id, file_name, size_bytes, sha256, overwrite, staged_path, created_by, expires_at)
VALUES (%(upload_id)s::uuid, %(file_name)s::text, %(size_bytes)s::bigint, %(sha256)s::text, %(overwrite)s::boolean, %(staged_path)s::text,
        %(created_by)s::text, clock_timestamp() + %(lifetime)s::interval)
    ON CONFLICT (upload_id) DO NOTHING;

-- get_upload
-- One upload, and whether its time is over by the database's clock.
SELECT *, state IN ('OPEN', 'PLACING') AND expires_at <= clock_timestamp() AS expired FROM treadle.uploads WHERE upload_id = %(upload_id)s::uuid;

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
-- Nobody goes on with it; its bytes are cleared away. No row back: it is placed, or being placed.
UPDATE treadle.uploads SET state = 'CANCELLED' WHERE upload_id = %(upload_id)s::uuid AND state IN ('OPEN', 'CANCELLED') RETURNING upload_id;

-- over_uploads
-- Whose bytes may be cleared away: those that were given up, and those whose time is over. What is placed has none left, and is forgotten in time.
SELECT upload_id, staged_path FROM treadle.uploads WHERE expires_at <= clock_timestamp() OR state = 'CANCELLED' ORDER BY expires_at LIMIT 500;

-- delete_upload
-- After its bytes are gone.
DELETE FROM treadle.uploads WHERE upload_id = %(upload_id)s::uuid;
