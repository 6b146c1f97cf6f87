-- insert_jobs
-- Asking twice for the same thing – the same id or the same natural key – asks once: what is there already is left out here and read afterwards.
WITH fresh AS (
    INSERT INTO treadle.jobs (job_id, kind, key, once, payload, requested_by, correlation_id, due_at, max_attempts, deadline_seconds, last_seq)
    SELECT wanted.job_id, wanted.kind, wanted.key, wanted.once, wanted.payload, wanted.requested_by, wanted.correlation_id,
           COALESCE(wanted.due_at, clock_timestamp()), wanted.max_attempts, wanted.deadline_seconds, 1
      FROM unnest(%(positions)s::integer[], %(job_ids)s::uuid[], %(kinds)s::text[], %(keys)s::text[], %(onces)s::text[], %(payloads)s::jsonb[],
                  %(requested_bys)s::text[], %(correlation_ids)s::text[], %(due_ats)s::timestamptz[], %(max_attemptss)s::integer[],
                  %(deadline_secondss)s::double precision[])
           AS wanted (position, job_id, kind, key, once, payload, requested_by, correlation_id, due_at, max_attempts, deadline_seconds)
     ORDER BY wanted.position
    ON CONFLICT DO NOTHING
    RETURNING *
), told AS (
    INSERT INTO treadle.job_events (job_id, seq, at, level, message, data)
    SELECT fresh.job_id, 1, fresh.created_at, 'INFO', said.message, '{"state": "QUEUED"}'
      FROM fresh
      JOIN (SELECT DISTINCT ON (job_id) job_id, message FROM unnest(%(job_ids)s::uuid[], %(messages)s::text[]) AS each (job_id, message)) AS said
     USING (job_id)
)
SELECT * FROM fresh;

-- hold_key
-- Until this transaction ends nobody else who asks so goes on with this key.
SELECT pg_advisory_xact_lock(hashtextextended('treadle jobs of ' || %(key)s::text, 0));

-- next_of_key
-- Which job of a key holds it – one that began and has not ended, also between two attempts –, or else is the first to get it.
SELECT * FROM treadle.jobs WHERE key = %(key)s::text AND finished_at IS NULL ORDER BY started_at IS NULL, number LIMIT 1;

-- get_job_by_natural_key
-- Which job was asked for before us.
SELECT * FROM treadle.jobs WHERE job_id = %(job_id)s::uuid OR once = %(once)s::text ORDER BY number LIMIT 1;

-- get_job
-- One job, whole.
SELECT * FROM treadle.jobs WHERE job_id = %(job_id)s::uuid;

-- jobs_between
-- Jobs whose ids begin alike; two are enough to know that a beginning does not name one job.
SELECT * FROM treadle.jobs WHERE job_id BETWEEN %(lowest)s::uuid AND %(highest)s::uuid ORDER BY job_id LIMIT 2;

-- lock_job
-- Nothing else may happen to the job until what we do now is committed.
SELECT * FROM treadle.jobs WHERE job_id = %(job_id)s::uuid FOR UPDATE;

-- list_jobs
-- One page, newest first; the keys of the last row seen take the place of OFFSET.
SELECT *
  FROM treadle.jobs
 WHERE true
   AND (created_at, job_id) < (%(after_time)s::timestamptz, %(after_id)s::uuid)  -- if after
   AND state = %(state)s::text  -- if state
   AND kind = %(kind)s::text  -- if kind
   AND key = %(key)s::text  -- if key
   AND requested_by = %(requested_by)s::text  -- if requested_by
 ORDER BY created_at DESC, job_id DESC
 LIMIT %(limit)s::bigint;

-- list_steps
-- What was done and what was begun, in order.
SELECT name, position, state, attempt, started_at, finished_at, result, error_message
  FROM treadle.job_steps WHERE job_id = %(job_id)s::uuid ORDER BY position, name;

-- list_events
-- Also how a listener goes on behind the last event it has seen.
SELECT job_id, seq, at, level, step, pct, message, data
  FROM treadle.job_events WHERE job_id = %(job_id)s::uuid AND seq > %(after_seq)s::bigint ORDER BY seq LIMIT %(limit)s::bigint;

-- events_since
-- One query for everything that anybody watches.
SELECT event.job_id, event.seq, event.at, event.level, event.step, event.pct, event.message, event.data
  FROM unnest(%(job_ids)s::uuid[], %(seqs)s::bigint[]) AS seen (job_id, seq)
 CROSS JOIN LATERAL (
       SELECT * FROM treadle.job_events AS one WHERE one.job_id = seen.job_id AND one.seq > seen.seq ORDER BY one.seq LIMIT %(limit)s::bigint
       ) AS event
 ORDER BY event.job_id, event.seq;

-- cancel_job
-- The caller has locked the row: a job that waits ends, one that runs learns at its worker's next heartbeat or step.
WITH job AS (
    UPDATE treadle.jobs
       SET state = %(state)s::text, cancel_requested_at = clock_timestamp(), cancel_requested_by = %(who)s::text,
           finished_at = CASE WHEN %(ends)s::boolean THEN clock_timestamp() END, last_seq = last_seq + 1
     WHERE job_id = %(job_id)s::uuid
    RETURNING *
), told AS (
    INSERT INTO treadle.job_events (job_id, seq, at, level, message, data)
    SELECT job_id, last_seq, cancel_requested_at, 'WARNING', %(message)s::text, jsonb_build_object('state', state) FROM job
)
SELECT * FROM job;

-- ask_again
-- The caller has locked the row. The fence stays, so that whoever still works on an earlier attempt can write nothing.
WITH job AS (
    UPDATE treadle.jobs
       SET state = %(state)s::text, attempt = 0, due_at = clock_timestamp(), deadline_at = NULL, started_at = NULL, finished_at = NULL,
           error_message = NULL, error_hint = NULL, error_details = NULL, cancel_requested_at = NULL, cancel_requested_by = NULL,
           last_seq = last_seq + 1
     WHERE job_id = %(job_id)s::uuid
    RETURNING *
), told AS (
    INSERT INTO treadle.job_events (job_id, seq, at, level, message, data)
    SELECT job_id, last_seq, due_at, 'INFO', %(message)s::text, jsonb_build_object('state', state) FROM job
)
SELECT * FROM job;

-- delete_ended
-- A thousand at a time, so that no transaction is long; steps and events go with their job. The clock is asked once, or no index would serve.
DELETE FROM treadle.jobs
 WHERE job_id IN (SELECT job_id FROM treadle.jobs
                   WHERE finished_at < (SELECT clock_timestamp()) - %(older_than)s::interval ORDER BY finished_at LIMIT 1000 FOR UPDATE SKIP LOCKED)
RETURNING job_id;

-- delete_slots
-- The newest slot of each recurrence stays, however long ago it was: it is what keeps that slot from being served twice.
DELETE FROM treadle.job_slots AS old
 WHERE slot < clock_timestamp() - %(older_than)s::interval
   AND slot < (SELECT max(newest.slot) FROM treadle.job_slots AS newest WHERE newest.name = old.name);
