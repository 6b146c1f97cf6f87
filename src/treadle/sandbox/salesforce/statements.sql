-- next_number
-- Record numbers are never given twice, as nothing leaves this table.
SELECT coalesce(max(number), 0) + 1 AS number FROM records;

-- find_by_keys
-- CROSS JOIN: the list first, then the index; the other way round every record would be compared with the list.
-- All in one row of JSON: between two rows another thread may take Python's interpreter lock, which for a batch is ten thousand waits.
SELECT json_group_array(json_object('number', r.number, 'key', r.key, 'fields', json(r.fields))) AS found
  FROM json_each(:keys) AS k CROSS JOIN records AS r ON r.object = :object AND r.key = k.value
 WHERE r.state = 0;

-- find_by_numbers
SELECT json_group_array(json_object('number', r.number, 'key', r.key, 'fields', json(r.fields))) AS found
  FROM json_each(:numbers) AS n CROSS JOIN records AS r ON r.number = n.value
 WHERE r.object = :object AND r.state = 0;

-- read_records
-- All live records, those of one value, or those of several; oldest first.
SELECT * FROM records
 WHERE object = :object AND state = 0
   AND (:keys IS NULL OR key IN (SELECT value FROM json_each(:keys)))
   AND (:numbers IS NULL OR number IN (SELECT value FROM json_each(:numbers)))
   AND (:path IS NULL OR json_extract(fields, :path) IN (SELECT value FROM json_each(:wanted)))
   AND (:absent IS NULL OR json_extract(fields, :absent) IS NULL)
   AND number > :after
 ORDER BY number
 LIMIT :limit;

-- count_records
SELECT count(*) AS found FROM records
 WHERE object = :object AND state = 0
   AND (:keys IS NULL OR key IN (SELECT value FROM json_each(:keys)))
   AND (:numbers IS NULL OR number IN (SELECT value FROM json_each(:numbers)))
   AND (:path IS NULL OR json_extract(fields, :path) IN (SELECT value FROM json_each(:wanted)))
   AND (:absent IS NULL OR json_extract(fields, :absent) IS NULL);

-- insert_records
-- rows: [[number, key, fields], …]
INSERT INTO records (number, object, key, fields, state, created_at, modified_at, modified_by)
SELECT value ->> 0, :object, value ->> 1, value -> 2, 0, :now, :now, :by FROM json_each(:rows);

-- update_records
-- rows: [[number, key, fields], …]
UPDATE records
   SET key = one.value ->> 1, fields = one.value -> 2, modified_at = :now, modified_by = :by,
       updates = updates + (:by <> 'person'), edits = edits + (:by = 'person')
  FROM json_each(:rows) AS one
 WHERE number = one.value ->> 0;

-- remove_records
-- state: 1 into the recycle bin, 2 for good
UPDATE records SET state = :state, modified_at = :now, modified_by = :by WHERE number IN (SELECT value FROM json_each(:numbers));

-- count_writes
-- How often each external id was written, deleted records included.
SELECT key, count(*) AS created, sum(updates) AS updated, sum(state <> 0) AS deleted, sum(edits) AS edited
  FROM records
 WHERE object = :object AND (:keys IS NULL OR key IN (SELECT value FROM json_each(:keys)))
 GROUP BY key;

-- create_job
INSERT INTO jobs (wish, state, created_at, modified_at) VALUES (:wish, 'Open', :now, :now) RETURNING *;

-- find_job
SELECT * FROM jobs WHERE number = :number;

-- list_jobs
SELECT * FROM jobs WHERE number > :after ORDER BY number LIMIT :limit;

-- unfinished_jobs
SELECT number FROM jobs WHERE state IN ('UploadComplete', 'InProgress') ORDER BY number;

-- note_upload
-- No row back: the job is not Open any more, or has an upload.
UPDATE jobs SET uploaded = 1, modified_at = :now WHERE number = :number AND state = 'Open' AND uploaded = 0 RETURNING number;

-- move_job
-- No row back: the job has left the states from which this move leads.
UPDATE jobs
   SET state = :state, modified_at = :now, ended_at = CASE WHEN :ended THEN :now ELSE ended_at END, error = coalesce(:error, error),
       script = coalesce(:script, script)
 WHERE number = :number AND state IN (SELECT value FROM json_each(:states))
RETURNING *;

-- note_batch
UPDATE jobs
   SET rows_done = rows_done + :rows, rows_processed = rows_processed + :processed, rows_failed = rows_failed + :failed,
       milliseconds = milliseconds + :milliseconds, modified_at = :now
 WHERE number = :number;

-- note_header
UPDATE jobs SET header = :header WHERE number = :number;

-- keep_result
INSERT INTO results (job, batch, kind, csv) VALUES (:job, (SELECT coalesce(max(batch), 0) + 1 FROM results WHERE job = :job AND kind = :kind), :kind, :csv);

-- next_result
SELECT batch, csv FROM results WHERE job = :job AND kind = :kind AND batch > :after ORDER BY batch LIMIT 1;

-- forget_job
DELETE FROM jobs WHERE number = :number;

-- forget_old_jobs
DELETE FROM jobs WHERE ended_at < :before RETURNING number;

-- use
INSERT INTO usage (name, hour, used) VALUES (:allocation, :hour, :used) ON CONFLICT (name, hour) DO UPDATE SET used = used + excluded.used;

-- used
SELECT name, sum(used) AS used FROM usage WHERE hour > :since GROUP BY name;

-- revoke
INSERT INTO revoked (session) VALUES (:session) ON CONFLICT DO NOTHING;

-- is_revoked
SELECT 1 AS found FROM revoked WHERE session = :session;

-- forget_all_results
DELETE FROM results;

-- forget_all_jobs
DELETE FROM jobs;

-- forget_all_records
DELETE FROM records;

-- forget_all_usage
DELETE FROM usage;
