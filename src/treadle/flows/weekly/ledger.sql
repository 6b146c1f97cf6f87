-- unfinished_sync
-- The one that a killed process left, whose parts must be settled before anything new is planned.
SELECT sync_id, run_id, target, week_start, week_end, plan_digest, state
  FROM treadle.weekly_syncs
 WHERE target = %(target)s::text AND week_start = %(week_start)s::date AND week_end = %(week_end)s::date AND state = 'SENDING';

-- open_sync
-- No row back: another process is sending this week to this target.
INSERT INTO treadle.weekly_syncs (sync_id, run_id, target, week_start, week_end, plan_digest)
VALUES (%(sync_id)s::uuid, %(run_id)s::uuid, %(target)s::text, %(week_start)s::date, %(week_end)s::date, %(plan_digest)s::text)
    ON CONFLICT (target, week_start, week_end) WHERE state = 'SENDING' DO NOTHING
RETURNING sync_id;

-- plan_part
-- Numbered by us, so that writing it down twice is one row.
INSERT INTO treadle.weekly_sync_parts (sync_id, part, channel, row_count, sha256)
VALUES (%(sync_id)s::uuid, %(part)s::int, %(channel)s::text, %(row_count)s::int, %(sha256)s::text)
    ON CONFLICT (sync_id, part) DO NOTHING;

-- list_parts
-- In the order in which they are sent.
SELECT sync_id, part, channel, state, row_count, sha256, job_id, sending_at, created, updated, refused, undecided
  FROM treadle.weekly_sync_parts
 WHERE sync_id = %(sync_id)s::uuid
 ORDER BY part;

-- mark_sending
-- Before the call. No row back: somebody else has moved the part on.
UPDATE treadle.weekly_sync_parts
   SET state = 'SENDING', sending_at = clock_timestamp()
 WHERE sync_id = %(sync_id)s::uuid AND part = %(part)s::int AND state = 'PLANNED'
RETURNING sending_at;

-- record_job
-- Before the job gets its rows.
UPDATE treadle.weekly_sync_parts SET job_id = %(job_id)s::text
 WHERE sync_id = %(sync_id)s::uuid AND part = %(part)s::int AND state = 'SENDING' AND job_id IS NULL
RETURNING part;

-- mark_sent
-- Before the job is told to begin: from here on its rows may count.
UPDATE treadle.weekly_sync_parts SET state = 'SENT'
 WHERE sync_id = %(sync_id)s::uuid AND part = %(part)s::int AND state = 'SENDING' AND job_id IS NOT NULL
RETURNING part;

-- drop_part
-- Nothing of it counts.
UPDATE treadle.weekly_sync_parts SET state = 'DROPPED'
 WHERE sync_id = %(sync_id)s::uuid AND part = %(part)s::int AND state IN ('PLANNED', 'SENDING', 'SENT');

-- settle_part
-- After every row's fate is recorded. A repetition finds it settled and changes nothing.
UPDATE treadle.weekly_sync_parts
   SET state = 'SETTLED', settled_at = clock_timestamp(),
       created = %(created)s::int, updated = %(updated)s::int, refused = %(refused)s::int, undecided = %(undecided)s::int
 WHERE sync_id = %(sync_id)s::uuid AND part = %(part)s::int AND state IN ('SENDING', 'SENT');

-- finish_sync
-- All parts are settled or dropped.
UPDATE treadle.weekly_syncs SET state = 'DONE', done_at = clock_timestamp()
 WHERE sync_id = %(sync_id)s::uuid AND state = 'SENDING'
   AND NOT EXISTS (SELECT 1 FROM treadle.weekly_sync_parts WHERE sync_id = %(sync_id)s::uuid AND state NOT IN ('SETTLED', 'DROPPED'))
RETURNING sync_id;

-- known_jobs
-- Which of these jobs some ledger row knows; the others are nobody's.
SELECT job_id FROM treadle.weekly_sync_parts WHERE job_id = ANY (%(job_ids)s::text[]);

-- counts_of_run
-- What was recorded of a run's syncs so far, and which they are.
SELECT array_agg(DISTINCT sync_id) AS sync_ids, coalesce(sum(created), 0)::int AS created, coalesce(sum(updated), 0)::int AS updated
  FROM treadle.weekly_sync_parts JOIN treadle.weekly_syncs USING (sync_id)
 WHERE (run_id = %(run_id)s::uuid OR sync_id = %(sync_id)s::uuid) AND target = %(target)s::text
   AND week_start = %(week_start)s::date AND week_end = %(week_end)s::date;
