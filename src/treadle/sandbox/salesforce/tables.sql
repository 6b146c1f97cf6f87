-- What one org keeps. Opened anew at each start; nothing is ever rebuilt.

CREATE TABLE IF NOT EXISTS records (
    number      INTEGER PRIMARY KEY,      -- the record's id is made of the object's prefix and this number
    object      TEXT NOT NULL,
    key         TEXT,                     -- the external id as it is compared
    fields      TEXT NOT NULL,            -- JSON: field name → stored value; a field without a value is not in it
    state       INTEGER NOT NULL,         -- 0 live, 1 in the recycle bin, 2 deleted for good (kept for the counts alone)
    created_at  TEXT NOT NULL,
    modified_at TEXT NOT NULL,
    modified_by TEXT NOT NULL,
    updates     INTEGER NOT NULL DEFAULT 0,   -- writes after the first, by the integration
    edits       INTEGER NOT NULL DEFAULT 0    -- writes after the first, by a person
);
CREATE INDEX IF NOT EXISTS records_by_key ON records (object, key);

CREATE TABLE IF NOT EXISTS jobs (
    number         INTEGER PRIMARY KEY AUTOINCREMENT,  -- an id is never given again, also not after a deletion
    wish           TEXT NOT NULL,              -- JSON: what the job was created with
    state          TEXT NOT NULL,
    uploaded       INTEGER NOT NULL DEFAULT 0,
    created_at     TEXT NOT NULL,
    modified_at    TEXT NOT NULL,
    ended_at       TEXT,
    script         TEXT NOT NULL DEFAULT '{}', -- JSON: what the fault script has in store for this job
    header         TEXT,                       -- JSON: the columns that were submitted
    rows_done      INTEGER NOT NULL DEFAULT 0, -- of the upload, from its top: processed, or left out for good
    rows_processed INTEGER NOT NULL DEFAULT 0, -- failures included
    rows_failed    INTEGER NOT NULL DEFAULT 0,
    milliseconds   INTEGER NOT NULL DEFAULT 0,
    error          TEXT
);

CREATE TABLE IF NOT EXISTS results (
    job   INTEGER NOT NULL REFERENCES jobs ON DELETE CASCADE,
    batch INTEGER NOT NULL,
    kind  TEXT NOT NULL,
    csv   BLOB NOT NULL,
    PRIMARY KEY (job, batch, kind)
) WITHOUT ROWID;

CREATE TABLE IF NOT EXISTS usage (
    name  TEXT NOT NULL,
    hour  INTEGER NOT NULL,  -- since 1970
    used  INTEGER NOT NULL,
    PRIMARY KEY (name, hour)
) WITHOUT ROWID;

CREATE TABLE IF NOT EXISTS revoked (session TEXT PRIMARY KEY) WITHOUT ROWID;
