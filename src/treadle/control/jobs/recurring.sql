-- open_slots
-- Which recurrences have a current slot that was not served yet, by the database's clock.
SELECT name, slot
  FROM unnest(%(names)s::text[], %(every_seconds)s::bigint[]) AS recurring (name, every_seconds)
 CROSS JOIN LATERAL (SELECT to_timestamp(floor(extract(epoch FROM clock_timestamp()) / every_seconds) * every_seconds) AS slot) AS current
 WHERE NOT EXISTS (SELECT 1 FROM treadle.job_slots AS served WHERE served.name = recurring.name AND served.slot = current.slot);

-- take_slot
-- The primary key lets one worker through; no row back says that it was another.
INSERT INTO treadle.job_slots (name, slot, job_id) VALUES (%(name)s::text, %(slot)s::timestamptz, %(job_id)s::uuid)
ON CONFLICT DO NOTHING
RETURNING name;
