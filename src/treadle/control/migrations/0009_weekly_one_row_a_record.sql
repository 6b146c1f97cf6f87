-- What is acknowledged of a record is one row, however its key was spelled: a user "Ab" of one run may be "aB" in the next, and is one record there.

CREATE INDEX weekly_acknowledged_record ON treadle.weekly_acknowledged (target, salesforce_id);
-- In any case, as most external ids are compared; beyond ASCII, where databases differ, the record's own id tells.
CREATE INDEX weekly_acknowledged_key ON treadle.weekly_acknowledged (target, lower(external_id COLLATE "C"));

-- Of the rows of one record the newest says what it holds. Who created it does not depend on the spelling.
UPDATE treadle.weekly_acknowledged AS known SET created_by_us = true
  FROM treadle.weekly_acknowledged AS other
 WHERE other.target = known.target AND other.salesforce_id = known.salesforce_id AND other.created_by_us AND NOT known.created_by_us;
DELETE FROM treadle.weekly_acknowledged AS older USING treadle.weekly_acknowledged AS newer
 WHERE newer.target = older.target AND newer.salesforce_id = older.salesforce_id
   AND (newer.acknowledged_at, newer.external_id) > (older.acknowledged_at, older.external_id);
