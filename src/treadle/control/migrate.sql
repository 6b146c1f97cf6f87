-- wait_without_end
-- For the others, who may be changing a large table: neither a statement's time nor a lock's counts until the end of this transaction.
SELECT set_config('statement_timeout', '0', true), set_config('lock_timeout', '0', true);

-- wait_for_the_others
-- Several processes may start at once; one migrates, the others wait and then find nothing to do.
SELECT pg_advisory_xact_lock(%(key)s::bigint);

-- wait_for_tables_as_ever
-- A change that waits for a table holds up everybody behind it, so it waits no longer than ordinary work; what it then does may take its time.
SELECT set_config('lock_timeout', '10s', true);

-- what_is_there
-- Asked before anything is made, since making needs a right even where there is nothing to make.
SELECT to_regnamespace('treadle') IS NOT NULL AS schema, to_regclass('treadle.migrations') IS NOT NULL AS register;

-- make_schema
-- Everything of ours lives here, apart from the five tables.
CREATE SCHEMA IF NOT EXISTS treadle;

-- make_register
-- What was applied, so that it never is again, and so that a file that was changed afterwards is noticed.
CREATE TABLE IF NOT EXISTS treadle.migrations (
    number integer PRIMARY KEY,
    name text NOT NULL,
    sha256 text NOT NULL,
    applied_at timestamptz NOT NULL DEFAULT clock_timestamp()
);

-- applied
-- What this database has had.
SELECT number, sha256 FROM treadle.migrations ORDER BY number;

-- record
-- In the transaction of the migration itself: both or neither.
INSERT INTO treadle.migrations (number, name, sha256) VALUES (%(number)s::integer, %(name)s::text, %(sha256)s::text);

-- quoted_user
-- Who needs the rights, when somebody else runs the script.
SELECT quote_ident(current_user) AS name;
