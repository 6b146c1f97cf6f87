-- open_channels
-- The first to see a channel fixes since when it is told anything; everybody later finds it so.
INSERT INTO treadle.notification_channels (channel, on_since, swept_until)
SELECT channel, %(now)s::timestamptz, %(now)s::timestamptz FROM unnest(%(channels)s::text[]) AS channel
    ON CONFLICT (channel) DO NOTHING;

-- list_channels
-- Since when each channel is on, by both databases' clocks, and how far it has been swept.
SELECT channel, on_since, opened_at, swept_until FROM treadle.notification_channels WHERE channel = ANY (%(channels)s::text[]);

-- mark_swept
-- Never backwards: a slower sweeper that began earlier may finish later.
UPDATE treadle.notification_channels
   SET swept_until = greatest(swept_until, %(now)s::timestamptz)
 WHERE channel = ANY (%(channels)s::text[]);

-- ended_runs
-- In the database with the runs. What ended recently began recently, and only the beginning has an index: no run lasts a week.
SELECT run_id, status, input_file, triggered_by, error_message, created_at, started_at, finished_at,
       kpis -> 'total_revenue' AS total_revenue, kpis -> 'orders' AS orders, kpis -> 'aov' AS aov
  FROM pipeline_runs
 WHERE status IN ('SUCCEEDED', 'FAILED')
   AND created_at >= %(since)s::timestamp - interval '7 days'
   AND finished_at >= %(since)s::timestamp
 ORDER BY finished_at, run_id;

-- forced_releases
-- In the database with the runs. A release is written to the trail of the run that held the lock, which ended then or shortly before.
-- OFFSET 0: the few runs first, then the trail of each by its index.
SELECT event.id, event.event_time, event.message, run.run_id, run.input_file, run.triggered_by
  FROM pipeline_runs AS run
 CROSS JOIN LATERAL (
       SELECT id, event_time, event_type, message FROM run_events WHERE run_id = run.run_id OFFSET 0
       ) AS event
 WHERE run.created_at >= %(since)s::timestamp - interval '7 days'
   AND (run.finished_at IS NULL OR run.finished_at >= %(since)s::timestamp - interval '1 day')
   AND event.event_time >= %(since)s::timestamp
   AND event.event_type = 'WARNING'
   AND starts_with(event.message, %(beginning)s::text)
 ORDER BY event.event_time, event.id;

-- failed_jobs
-- Ages, not moments: the other database may have another clock. Ours is asked once, or no index would serve.
SELECT job_id, kind, key, requested_by, error_message, error_hint, finished_at
  FROM treadle.jobs
 WHERE state = 'FAILED'
   AND finished_at >= (SELECT clock_timestamp()) - %(age)s::interval
   AND kind <> ALL (%(without)s::text[])
 ORDER BY finished_at, job_id;

-- insert_messages
-- The natural key lets a thing in once per channel, however many sweepers find it. Only rows that are new come back.
INSERT INTO treadle.outbox (message_id, channel, type, subject, happened_at, facts)
SELECT message_id, %(channel)s::text, type, subject, happened_at, facts::jsonb
  FROM unnest(%(message_ids)s::uuid[], %(types)s::text[], %(subjects)s::text[], %(moments)s::timestamptz[], %(facts)s::text[])
       AS message (message_id, type, subject, happened_at, facts)
    ON CONFLICT DO NOTHING
RETURNING message_id;

-- get_message
-- What is to be sent, as it was when it was found: each attempt sends the same.
SELECT message_id, channel, type, subject, happened_at, facts, sent_at FROM treadle.outbox WHERE message_id = %(message_id)s::uuid;

-- record_sent
-- The first acceptance counts; a repetition after a crash changes nothing.
UPDATE treadle.outbox SET sent_at = clock_timestamp() WHERE message_id = %(message_id)s::uuid AND sent_at IS NULL;

-- delete_old
-- A row keeps its thing from being told again, so it must outlive the time that sweeps look back.
DELETE FROM treadle.outbox WHERE created_at < (SELECT clock_timestamp()) - %(older_than)s::interval;
