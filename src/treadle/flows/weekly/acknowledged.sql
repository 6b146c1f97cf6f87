-- acknowledged_rows
-- All that Salesforce has confirmed of one week; copied out as CSV, since a week may have a million of them.
COPY (
    SELECT external_id, row_hash_hi, row_hash_lo, hash_scheme, created_by_us, fields
      FROM treadle.weekly_acknowledged
     WHERE target = %(target)s::text AND week_start = %(week_start)s::date AND week_end = %(week_end)s::date
) TO STDOUT (FORMAT csv);

-- acknowledge
-- What is newer counts. Who created a record does not change by writing to it again.
INSERT INTO treadle.weekly_acknowledged AS known
       (target, external_id, week_start, week_end, hash_scheme, row_hash_hi, row_hash_lo, fields, salesforce_id, created_by_us, sync_id)
SELECT %(target)s::text, external_id, %(week_start)s::date, %(week_end)s::date, %(hash_scheme)s::int, row_hash_hi, row_hash_lo, fields::jsonb,
       salesforce_id, created, %(sync_id)s::uuid
  FROM unnest(%(external_ids)s::text[], %(hashes_hi)s::bigint[], %(hashes_lo)s::bigint[], %(fields)s::text[], %(salesforce_ids)s::text[],
              %(created)s::boolean[]) AS sent (external_id, row_hash_hi, row_hash_lo, fields, salesforce_id, created)
    ON CONFLICT (target, external_id) DO UPDATE
   SET week_start = excluded.week_start, week_end = excluded.week_end, hash_scheme = excluded.hash_scheme,
       row_hash_hi = excluded.row_hash_hi, row_hash_lo = excluded.row_hash_lo, fields = excluded.fields,
       salesforce_id = coalesce(excluded.salesforce_id, known.salesforce_id), created_by_us = known.created_by_us OR excluded.created_by_us,
       acknowledged_at = clock_timestamp(), sync_id = excluded.sync_id;

-- forget_other_spellings
-- A record has one row: what is known under another spelling of its key, or was of a record that this one took the place of, holds no longer.
WITH sent AS (
    SELECT external_id, salesforce_id FROM unnest(%(external_ids)s::text[], %(salesforce_ids)s::text[]) AS sent (external_id, salesforce_id)
), stale AS (
    SELECT known.external_id AS spelling, sent.external_id
      FROM sent JOIN treadle.weekly_acknowledged AS known ON known.target = %(target)s::text AND known.salesforce_id = sent.salesforce_id
     WHERE known.external_id <> sent.external_id
     UNION
    SELECT known.external_id, sent.external_id
      FROM sent JOIN treadle.weekly_acknowledged AS known
        ON known.target = %(target)s::text AND lower(known.external_id COLLATE "C") = lower(sent.external_id COLLATE "C")
     WHERE known.external_id <> sent.external_id AND %(folds_case)s::boolean
), gone AS (
    DELETE FROM treadle.weekly_acknowledged AS known USING stale
     WHERE known.target = %(target)s::text AND known.external_id = stale.spelling
    RETURNING stale.external_id, known.created_by_us
)
UPDATE treadle.weekly_acknowledged AS known SET created_by_us = true FROM gone
 WHERE known.target = %(target)s::text AND known.external_id = gone.external_id AND gone.created_by_us AND NOT known.created_by_us;

-- forget_refusals
-- What is acknowledged is refused no longer, under no spelling.
DELETE FROM treadle.weekly_refused AS known USING unnest(%(external_ids)s::text[]) AS sent (external_id)
 WHERE known.target = %(target)s::text
   AND (known.external_id = sent.external_id
        OR %(folds_case)s::boolean AND lower(known.external_id COLLATE "C") = lower(sent.external_id COLLATE "C"));

-- refuse
-- A row that is refused again keeps since when. One that was never decided waits here, too, and goes out with the next sync.
INSERT INTO treadle.weekly_refused AS known
       (target, external_id, week_start, week_end, hash_scheme, row_hash_hi, row_hash_lo, fields, code, message, retry, run_id)
SELECT %(target)s::text, external_id, %(week_start)s::date, %(week_end)s::date, %(hash_scheme)s::int, row_hash_hi, row_hash_lo, fields::jsonb,
       code, message, %(retry)s::boolean, %(run_id)s::uuid
  FROM unnest(%(external_ids)s::text[], %(hashes_hi)s::bigint[], %(hashes_lo)s::bigint[], %(fields)s::text[], %(codes)s::text[],
              %(messages)s::text[]) AS sent (external_id, row_hash_hi, row_hash_lo, fields, code, message)
    ON CONFLICT (target, external_id) DO UPDATE
   SET week_start = excluded.week_start, week_end = excluded.week_end, hash_scheme = excluded.hash_scheme,
       row_hash_hi = excluded.row_hash_hi, row_hash_lo = excluded.row_hash_lo, fields = excluded.fields, code = excluded.code,
       message = excluded.message, attempts = known.attempts + 1, last_seen = clock_timestamp(), retry = excluded.retry, run_id = excluded.run_id;

-- refused_rows
-- Those of a week, worst first.
SELECT external_id, week_start, week_end, hash_scheme, row_hash_hi, row_hash_lo, fields, code, message, attempts, first_seen, last_seen, retry, run_id
  FROM treadle.weekly_refused
 WHERE target = %(target)s::text AND week_start = %(week_start)s::date AND week_end = %(week_end)s::date
 ORDER BY attempts DESC, external_id;

-- ask_again
-- The next sync of the week sends them, whatever their hash.
UPDATE treadle.weekly_refused SET retry = true
 WHERE target = %(target)s::text AND week_start = %(week_start)s::date AND week_end = %(week_end)s::date;

-- forget_gone
-- Rows that the week no longer has wait for nothing.
DELETE FROM treadle.weekly_refused
 WHERE target = %(target)s::text AND week_start = %(week_start)s::date AND week_end = %(week_end)s::date
   AND external_id = ANY (%(external_ids)s::text[]);

-- acknowledged_by
-- The rows that some syncs were the last to write.
SELECT external_id
  FROM treadle.weekly_acknowledged
 WHERE target = %(target)s::text AND week_start = %(week_start)s::date AND week_end = %(week_end)s::date AND sync_id = ANY (%(sync_ids)s::uuid[]);

-- take_time
-- A million rows take longer to copy than a statement may usually last.
SET LOCAL statement_timeout = 0;
