-- take_lock
-- Whoever changes the row from free to taken has the lock; of any number at once, one. No row back: it is taken, or the row is missing.
UPDATE run_lock
   SET run_id = %(run_id)s::uuid, locked_by = %(locked_by)s::text, locked_at = clock_timestamp() AT TIME ZONE 'UTC'
 WHERE lock_key = %(lock_key)s::text AND run_id IS NULL
RETURNING run_id;

-- free_lock
-- Only for the run that is known to hold it. No row back: another run holds it now, or nobody does.
UPDATE run_lock
   SET run_id = NULL, locked_by = NULL, locked_at = NULL
 WHERE lock_key = %(lock_key)s::text AND run_id = %(run_id)s::uuid
RETURNING lock_key;

-- read_lock
-- The lock and the run that holds it, of one moment. No row: the installation lacks the lock's row.
SELECT held.run_id AS held_run_id, held.locked_at, held.locked_by, run.*
  FROM run_lock AS held
  LEFT JOIN pipeline_runs AS run ON run.run_id = held.run_id
 WHERE held.lock_key = %(lock_key)s::text;
