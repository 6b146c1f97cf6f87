-- begin_step
-- Refused when the job is another's, is to be cancelled, or is late. Doubles as a heartbeat.
WITH job AS (
    UPDATE treadle.jobs
       SET last_seq = last_seq + 1, lease_until = LEAST(clock_timestamp(), deadline_at) + make_interval(secs => lease_seconds)
     WHERE job_id = %(job_id)s::uuid AND fence = %(fence)s::bigint AND state = 'RUNNING'
       AND cancel_requested_at IS NULL AND deadline_at > clock_timestamp()
    RETURNING *
), step AS (
    INSERT INTO treadle.job_steps AS step (job_id, name, position, state, attempt, started_at)
    SELECT job_id, %(name)s::text, %(position)s::integer, 'RUNNING', attempt, clock_timestamp() FROM job
    ON CONFLICT (job_id, name) DO UPDATE
       SET state = 'RUNNING', attempt = excluded.attempt, started_at = excluded.started_at, finished_at = NULL, error_message = NULL
), told AS (
    INSERT INTO treadle.job_events (job_id, seq, at, level, step, message)
    SELECT job_id, last_seq, clock_timestamp(), 'INFO', %(name)s::text, 'begun' FROM job
)
SELECT job_id FROM job;

-- end_step
-- What is done is recorded even when the job is to be cancelled or is late, but never for another's job. Doubles as a heartbeat.
WITH job AS (
    UPDATE treadle.jobs
       SET last_seq = last_seq + 1, lease_until = LEAST(clock_timestamp(), deadline_at) + make_interval(secs => lease_seconds)
     WHERE job_id = %(job_id)s::uuid AND fence = %(fence)s::bigint AND state = 'RUNNING'
    RETURNING *
), step AS (
    UPDATE treadle.job_steps AS step
       SET state = 'DONE', finished_at = clock_timestamp(), result = %(result)s::jsonb
      FROM job
     WHERE step.job_id = job.job_id AND step.name = %(name)s::text
), told AS (
    INSERT INTO treadle.job_events (job_id, seq, at, level, step, message)
    SELECT job_id, last_seq, clock_timestamp(), 'INFO', %(name)s::text, 'done' FROM job
)
SELECT job_id FROM job;

-- tell
-- An event between two steps or in the middle of one.
WITH job AS (
    UPDATE treadle.jobs
       SET last_seq = last_seq + 1
     WHERE job_id = %(job_id)s::uuid AND fence = %(fence)s::bigint AND state = 'RUNNING'
    RETURNING *
), told AS (
    INSERT INTO treadle.job_events (job_id, seq, at, level, step, pct, message, data)
    SELECT job_id, last_seq, clock_timestamp(), %(level)s::text, %(name)s::text, %(pct)s::double precision, %(message)s::text, %(data)s::jsonb FROM job
)
SELECT job_id FROM job;

-- why_not
-- No row: the job is another's. Otherwise it is ours, and was cancelled or is late.
SELECT cancel_requested_by
  FROM treadle.jobs WHERE job_id = %(job_id)s::uuid AND fence = %(fence)s::bigint AND state = 'RUNNING';

-- recorded_result
-- Whether a commit whose answer was lost was made after all.
SELECT result FROM treadle.job_steps WHERE job_id = %(job_id)s::uuid AND name = %(name)s::text AND state = 'DONE';
