-- lock_timeline
-- A statement of its own, so that the number is read after the one before is committed.
SELECT pg_advisory_xact_lock(hashtextextended('treadle:weekly_events:' || %(run_id)s::text, 0));

-- append_event
-- The next number of this run.
INSERT INTO treadle.weekly_events (run_id, seq, level, stage, message, data)
SELECT %(run_id)s::uuid, coalesce(max(seq), 0) + 1, %(level)s::text, %(stage)s::text, %(message)s::text, %(data)s::jsonb
  FROM treadle.weekly_events
 WHERE run_id = %(run_id)s::uuid
RETURNING seq;

-- list_events
-- What happened to a run behind this number, in order.
SELECT run_id, seq, at, level, stage, message, data
  FROM treadle.weekly_events
 WHERE run_id = %(run_id)s::uuid AND seq > %(after_seq)s::bigint
 ORDER BY seq;
