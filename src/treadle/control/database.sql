-- now
-- The database's clock decides every age and deadline, so that hosts whose clocks differ agree.
SELECT clock_timestamp() AS now;

-- session_settings
-- Nobody hangs for ever: a statement, a wait for a row lock, and a transaction whose client stopped half-way all end by themselves.
SELECT set_config('TimeZone', 'UTC', false),
       set_config('statement_timeout', %(statement_timeout)s::text, false),
       set_config('lock_timeout', %(lock_timeout)s::text, false),
       set_config('idle_in_transaction_session_timeout', %(idle_in_transaction_timeout)s::text, false);

-- lock_session_settings
-- The server ends this session – and with it the lock – when its client is silent for too long or its host is gone. 0: never for silence.
SELECT set_config('statement_timeout', '10s', false),
       set_config('idle_session_timeout', %(idle_session_timeout)s::text, false),  -- if idle_session_timeout
       set_config('tcp_keepalives_idle', '10', false),
       set_config('tcp_keepalives_interval', '5', false),
       set_config('tcp_keepalives_count', '3', false);

-- try_advisory_lock
-- At most one session has it; it goes when the session goes, whatever became of the process.
SELECT pg_try_advisory_lock(%(key)s::bigint) AS held;

-- release_advisory_lock
-- Explicitly, before the connection closes: the next one need not wait for the server to notice the closing.
SELECT pg_advisory_unlock(%(key)s::bigint);

-- holds_advisory_lock
-- Asked in the lock's own session; classid and objid are the two halves of the key.
SELECT EXISTS (
           SELECT FROM pg_locks
            WHERE locktype = 'advisory' AND granted AND objsubid = 1 AND pid = pg_backend_pid()
              AND ((classid::bigint << 32) | objid::bigint) = %(key)s::bigint
       ) AS held;

-- live_columns
-- What the tables look like here, found the way statements find them: along the search path.
SELECT wanted.name AS table_name, attribute.attname::text AS column_name, format_type(attribute.atttypid, attribute.atttypmod) AS column_type,
       attribute.attnotnull AND NOT attribute.atthasdef AND attribute.attidentity = '' AND attribute.attgenerated = '' AS must_be_given
  FROM unnest(%(tables)s::text[]) AS wanted (name)
  JOIN pg_attribute AS attribute ON attribute.attrelid = to_regclass(wanted.name) AND attribute.attnum > 0 AND NOT attribute.attisdropped
 ORDER BY wanted.name, attribute.attnum;

-- missing_privileges
-- The rights that Treadle's statements need and this user lacks, one row each; a table that is not there is reported elsewhere.
SELECT needed.table_name, needed.privilege
  FROM unnest(%(tables)s::text[], %(privileges)s::text[]) AS needed (table_name, privilege)
 WHERE to_regclass(needed.table_name) IS NOT NULL
   AND NOT has_table_privilege(to_regclass(needed.table_name)::oid, needed.privilege)
 ORDER BY needed.table_name, needed.privilege;

-- lock_row
-- The lock has exactly one row; without it nothing can ever start.
SELECT lock_key FROM run_lock WHERE lock_key = %(lock_key)s::text;
