-- shown_jobs
-- A hidden job is known by its newest event, which is found by its key.
SELECT job.*
  FROM treadle.jobs AS job
 WHERE job.kind = %(kind)s::text
   AND (job.created_at, job.job_id) < (%(after_time)s::timestamptz, %(after_id)s::uuid)  -- if after
   AND job.key = %(key)s::text  -- if key
   AND NOT EXISTS (SELECT FROM treadle.job_events AS event
                    WHERE event.job_id = job.job_id AND event.seq = job.last_seq AND event.data ->> 'hidden_by' IS NOT NULL)
 ORDER BY job.created_at DESC, job.job_id DESC
 LIMIT %(limit)s::bigint;

-- shown_job
-- The same of one.
SELECT job.*
  FROM treadle.jobs AS job
 WHERE job.kind = %(kind)s::text AND job.job_id = %(job_id)s::uuid
   AND NOT EXISTS (SELECT FROM treadle.job_events AS event
                    WHERE event.job_id = job.job_id AND event.seq = job.last_seq AND event.data ->> 'hidden_by' IS NOT NULL);

-- steps_of
-- Results are left out: a list shows none of them, and they may be long.
SELECT job_id, name, position, state, attempt, started_at, finished_at, NULL::jsonb AS result, error_message
  FROM treadle.job_steps WHERE job_id = ANY (%(job_ids)s::uuid[]) ORDER BY job_id, position, name;

-- newest_told
-- How far each part of each job is.
SELECT DISTINCT ON (event.job_id, event.data ->> %(member)s::text)
       event.job_id, event.seq, event.at, event.level, event.step, event.pct, event.message, event.data
  FROM treadle.job_events AS event
 WHERE event.job_id = ANY (%(job_ids)s::uuid[]) AND event.data ->> %(member)s::text IS NOT NULL
 ORDER BY event.job_id, event.data ->> %(member)s::text, event.seq DESC;

-- told_before
-- Where a job was, by its own words, before one of its events.
SELECT job_id, seq, at, level, step, pct, message, data
  FROM treadle.job_events
 WHERE job_id = %(job_id)s::uuid AND seq < %(seq)s::bigint AND data ->> 'step' IS NOT NULL AND data ->> 'pct' IS NOT NULL
 ORDER BY seq DESC LIMIT 1;

-- hide_job
-- Only what has ended. No row back: it goes on.
WITH job AS (
    UPDATE treadle.jobs SET last_seq = last_seq + 1 WHERE job_id = %(job_id)s::uuid AND finished_at IS NOT NULL RETURNING *
), told AS (
    INSERT INTO treadle.job_events (job_id, seq, at, level, message, data)
    SELECT job_id, last_seq, clock_timestamp(), 'INFO', %(message)s::text, jsonb_build_object('hidden_by', %(who)s::text) FROM job
)
SELECT * FROM job;
