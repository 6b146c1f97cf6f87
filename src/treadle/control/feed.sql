-- serialise_feed
-- Who numbers events of one run comes one after the other, until this transaction ends: the next then sees what the last has numbered.
SELECT pg_advisory_xact_lock(%(key)s::bigint);

-- number_events
-- Events that have no number yet get the next ones, in the order given. One that has a number keeps it for ever.
INSERT INTO treadle.run_feed (run_id, seq, event_id)
SELECT %(run_id)s::uuid, last.seq + row_number() OVER (ORDER BY given.position), given.event_id
  FROM unnest(%(event_ids)s::uuid[]) WITH ORDINALITY AS given (event_id, position),
       (SELECT COALESCE(max(seq), 0) AS seq FROM treadle.run_feed WHERE run_id = %(run_id)s::uuid) AS last
 WHERE NOT EXISTS (SELECT FROM treadle.run_feed AS known WHERE known.run_id = %(run_id)s::uuid AND known.event_id = given.event_id);

-- read_feed
-- The numbers of a run's events. Those of events that were not given are told too: the caller has yet to read them.
SELECT seq, event_id FROM treadle.run_feed WHERE run_id = %(run_id)s::uuid AND seq > %(after_seq)s::bigint ORDER BY seq;

-- states_of_runs
-- Whether the runs that somebody watches go on. Read before their events: a run that has ended here has all of its events there.
SELECT run_id, status FROM pipeline_runs WHERE run_id = ANY (%(run_ids)s::uuid[]);

-- events_of_runs
-- The latest events of the runs that somebody watches, in one statement for all. Each run is read again from a while before its last event:
-- an event gets its time before its commit, so one that appears late can lie before others.
SELECT event.id, event.run_id, event.event_time, event.event_type, event.message
  FROM unnest(%(run_ids)s::uuid[], %(floors)s::timestamp[]) AS watched (run_id, floor)
  JOIN run_events AS event ON event.run_id = watched.run_id AND event.event_time >= watched.floor
 ORDER BY event.event_time, event.id;
