-- claim_job
-- Due for longest first. A key is held from a job's first start to its end, also between two attempts; among jobs that have not begun, the
-- oldest that is due goes first. Two workers that find two jobs of one key in the same moment are parted by the index jobs_key_held.
WITH due AS (
    SELECT job.job_id
      FROM treadle.jobs AS job
     WHERE job.state = 'QUEUED' AND job.due_at <= (SELECT clock_timestamp()) AND job.kind = ANY (%(kinds)s::text[])
       AND (job.key IS NULL OR job.started_at IS NOT NULL
            OR NOT EXISTS (SELECT 1 FROM treadle.jobs AS other
                            WHERE other.key = job.key AND other.finished_at IS NULL AND other.job_id <> job.job_id
                              AND (other.started_at IS NOT NULL OR (other.number < job.number AND other.due_at <= clock_timestamp()))))
     ORDER BY job.due_at, job.number
     LIMIT 1
       FOR UPDATE OF job SKIP LOCKED
), claimed AS (
    UPDATE treadle.jobs AS job
       SET state = 'RUNNING', attempt = job.attempt + 1, fence = job.fence + 1, last_seq = job.last_seq + 1,
           max_attempts = COALESCE(job.max_attempts, kind.max_attempts),
           deadline_at = COALESCE(job.deadline_at, clock_timestamp() + make_interval(secs => COALESCE(job.deadline_seconds, kind.deadline))),
           started_at = COALESCE(job.started_at, clock_timestamp()),
           lease_owner = %(owner)s::text, lease_seconds = kind.lease, lease_until = clock_timestamp() + make_interval(secs => kind.lease)
      FROM due, unnest(%(kinds)s::text[], %(max_attempts)s::integer[], %(deadlines)s::double precision[], %(leases)s::double precision[])
                AS kind (name, max_attempts, deadline, lease)
     WHERE job.job_id = due.job_id AND kind.name = job.kind
    RETURNING job.*
), told AS (
    INSERT INTO treadle.job_events (job_id, seq, at, level, message, data)
    SELECT job_id, last_seq, clock_timestamp(), 'INFO', %(message)s::text, jsonb_build_object('state', state, 'attempt', attempt) FROM claimed
)
SELECT claimed.*, extract(epoch FROM deadline_at - clock_timestamp())::double precision AS seconds_left FROM claimed;

-- renew_leases
-- A sign of life. Never beyond the deadline by more than a lease, so that a job that hangs is taken from its worker.
UPDATE treadle.jobs AS job
   SET lease_until = LEAST(clock_timestamp(), job.deadline_at) + make_interval(secs => job.lease_seconds)
  FROM unnest(%(job_ids)s::uuid[], %(fences)s::bigint[]) AS ours (job_id, fence)
 WHERE job.job_id = ours.job_id AND job.fence = ours.fence AND job.state = 'RUNNING'
RETURNING job.job_id, job.fence, job.cancel_requested_by;

-- lock_ours
-- The row as it is now, so that a cancellation that just arrived is not overlooked. No row: the job is another's.
SELECT *, extract(epoch FROM deadline_at - clock_timestamp())::double precision AS seconds_left
  FROM treadle.jobs WHERE job_id = %(job_id)s::uuid AND fence = %(fence)s::bigint AND state = 'RUNNING' FOR UPDATE;

-- lock_lapsed
-- A lease that ended, or one that ends impossibly late because the clock was set back since. Rows that somebody writes now are alive.
SELECT *, extract(epoch FROM deadline_at - clock_timestamp())::double precision AS seconds_left
  FROM treadle.jobs
 WHERE state = 'RUNNING'
   AND (lease_until < (SELECT clock_timestamp()) OR lease_until > (SELECT clock_timestamp()) + 2 * make_interval(secs => lease_seconds))
 ORDER BY lease_until
 LIMIT 1
   FOR UPDATE SKIP LOCKED;

-- settle_job
-- The caller has locked the row. A step in the middle of which the attempt ended begins again with the next one.
WITH job AS (
    UPDATE treadle.jobs
       SET state = %(state)s::text, attempt = attempt - %(uncounted)s::integer, last_seq = last_seq + 1,
           due_at = CASE WHEN %(ends)s::boolean THEN due_at ELSE clock_timestamp() + make_interval(secs => %(delay_seconds)s::double precision) END,
           finished_at = CASE WHEN %(ends)s::boolean THEN clock_timestamp() END,
           result = %(result)s::jsonb, error_message = %(error_message)s::text, error_hint = %(error_hint)s::text,
           error_details = %(error_details)s::jsonb, lease_owner = NULL, lease_until = NULL, lease_seconds = NULL
     WHERE job_id = %(job_id)s::uuid
    RETURNING *
), steps AS (
    UPDATE treadle.job_steps AS step
       SET state = CASE WHEN job.error_message IS NULL THEN 'STOPPED' ELSE 'FAILED' END, finished_at = clock_timestamp(),
           error_message = job.error_message
      FROM job
     WHERE step.job_id = job.job_id AND step.state = 'RUNNING'
), told AS (
    INSERT INTO treadle.job_events (job_id, seq, at, level, message, data)
    SELECT job_id, last_seq, clock_timestamp(), CASE WHEN state = 'FAILED' THEN 'ERROR' ELSE %(level)s::text END, %(message)s::text,
           jsonb_build_object('state', state)
      FROM job
)
SELECT * FROM job;

-- work_left
-- Jobs that are due later do not count, those between two attempts do. Two questions, since each has its index.
SELECT EXISTS (SELECT FROM treadle.jobs WHERE state = 'RUNNING' AND kind = ANY (%(kinds)s::text[]))
    OR EXISTS (SELECT FROM treadle.jobs
                WHERE state = 'QUEUED' AND kind = ANY (%(kinds)s::text[])
                  AND (due_at <= (SELECT clock_timestamp()) OR started_at IS NOT NULL)) AS work_left;
