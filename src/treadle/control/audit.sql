-- lock_head
-- Appending is one at a time: whoever has this row writes the next number. Nobody waits for long, since nothing else happens under it.
SELECT number, hash FROM treadle.audit_head FOR UPDATE;

-- now
-- Asked after the head is locked, so that times follow the numbers.
SELECT clock_timestamp() AS now;

-- append
-- The entry and the new end of the chain in one statement.
WITH entry AS (
    INSERT INTO treadle.audit (number, at, subject, name, role, via, action, target, outcome, details, correlation_id, asked, previous_hash, hash)
    VALUES (%(number)s::bigint, %(at)s::timestamptz, %(subject)s::text, %(name)s::text, %(role)s::text, %(via)s::text, %(action)s::text,
            %(target)s::text, %(outcome)s::text, %(details)s::text, %(correlation_id)s::text, %(asked)s::bigint, %(previous_hash)s::text,
            %(hash)s::text)
    RETURNING number, hash
)
UPDATE treadle.audit_head AS head SET number = entry.number, hash = entry.hash FROM entry;

-- one_moment
-- The chain and its head must be read as they were at one moment, or an entry written meanwhile would look like damage.
SET TRANSACTION ISOLATION LEVEL REPEATABLE READ READ ONLY;

-- head
-- Where the chain ends by its own account.
SELECT number, hash FROM treadle.audit_head;

-- chain
-- The chain from its beginning, a page at a time.
SELECT * FROM treadle.audit WHERE number > %(after)s::bigint ORDER BY number LIMIT %(limit)s::bigint;

-- list_audit
-- Newest first. Filters compare whole values, but target: what begins so.
SELECT entry.*
  FROM treadle.audit AS entry
 WHERE TRUE
   AND entry.number < %(before)s::bigint  -- if before
   AND entry.name = %(name)s::text  -- if name
   AND entry.action = %(action)s::text  -- if action
   AND starts_with(entry.target, %(target)s::text)  -- if target
   AND entry.outcome = %(outcome)s::text  -- if outcome
   AND entry.outcome = 'asked' AND NOT EXISTS (SELECT FROM treadle.audit AS answer WHERE answer.asked = entry.number)  -- if unfinished
 ORDER BY entry.number DESC
 LIMIT %(limit)s::bigint;
