-- find_profile
-- Of exactly these bytes, read in exactly this way.
SELECT file_name, etag, profile, computed_at
  FROM treadle.file_profiles
 WHERE file_name = %(file_name)s::text AND wishes_sha256 = %(wishes_sha256)s::text AND etag = %(etag)s::text;

-- find_failing_rows
-- Apart from the profile, which is read at every look at a file: these are many, and are only read when somebody downloads them.
SELECT failing_rows
  FROM treadle.file_profiles
 WHERE file_name = %(file_name)s::text AND wishes_sha256 = %(wishes_sha256)s::text AND etag = %(etag)s::text;

-- store_profile
-- The same bytes read in the same way give the same profile, so who comes second does no harm.
INSERT INTO treadle.file_profiles (file_name, wishes_sha256, etag, profile, failing_rows)
VALUES (%(file_name)s::text, %(wishes_sha256)s::text, %(etag)s::text, %(profile)s::jsonb, %(failing_rows)s::jsonb)
    ON CONFLICT (file_name, wishes_sha256, etag)
    DO UPDATE SET profile = EXCLUDED.profile, failing_rows = EXCLUDED.failing_rows, computed_at = clock_timestamp();

-- delete_old_profiles
-- Those of versions that were replaced, a day after they were made; and every other when it is old: it is quickly made again.
DELETE FROM treadle.file_profiles AS old
 WHERE old.computed_at < clock_timestamp() - %(older_than)s::interval
    OR (old.computed_at < clock_timestamp() - interval '1 day'
        AND EXISTS (SELECT FROM treadle.file_profiles AS newer
                     WHERE newer.file_name = old.file_name AND newer.wishes_sha256 = old.wishes_sha256
                       AND newer.computed_at > old.computed_at));
