-- append_events
-- Events of one call keep their order: one microsecond apart. An id that is there already is the same event, told again.
INSERT INTO run_events (id, run_id, event_time, event_type, message)
SELECT event.id, %(run_id)s::uuid, clock.now + (event.position - 1) * interval '1 microsecond', event.event_type, event.message
  FROM (SELECT clock_timestamp() AT TIME ZONE 'UTC' AS now) AS clock,
       unnest(%(ids)s::uuid[], %(types)s::text[], %(messages)s::text[]) WITH ORDINALITY AS event (id, event_type, message, position)
    ON CONFLICT (id) DO NOTHING
RETURNING id;

-- list_events
-- The trail of one run, oldest first.
SELECT id, run_id, event_time, event_type, message
  FROM run_events
 WHERE run_id = %(run_id)s::uuid
   AND (event_time, id) > (%(after_time)s::timestamp, %(after_id)s::uuid)  -- if after
 ORDER BY event_time, id
 LIMIT %(limit)s::bigint;

-- last_event_that_begins
-- Who asked for something last: the name stands at the end of a message that only Treadle writes.
SELECT message
  FROM run_events
 WHERE run_id = %(run_id)s::uuid AND event_type = 'LOG' AND starts_with(message, %(beginning)s::text)
 ORDER BY event_time DESC, id DESC
 LIMIT 1;

-- first_event_time
-- When something was first said of a run, in exactly these words.
SELECT min(event_time) AS said_at
  FROM run_events
 WHERE run_id = %(run_id)s::uuid AND message = %(message)s::text;
