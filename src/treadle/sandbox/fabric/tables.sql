-- What the Fabric sandbox remembers, in one SQLite file of its state directory. seq gives lists a stable order and paging its key.
CREATE TABLE IF NOT EXISTS facts (name TEXT PRIMARY KEY, value TEXT NOT NULL);

CREATE TABLE IF NOT EXISTS workspaces (
    seq INTEGER PRIMARY KEY AUTOINCREMENT, id TEXT NOT NULL UNIQUE, display_name TEXT NOT NULL COLLATE NOCASE UNIQUE,
    description TEXT NOT NULL, capacity_id TEXT NOT NULL
);

CREATE TABLE IF NOT EXISTS role_assignments (
    seq INTEGER PRIMARY KEY AUTOINCREMENT, workspace_id TEXT NOT NULL REFERENCES workspaces (id) ON DELETE CASCADE,
    principal_id TEXT NOT NULL, principal_type TEXT NOT NULL, role TEXT NOT NULL, UNIQUE (workspace_id, principal_id)
);

CREATE TABLE IF NOT EXISTS folders (
    seq INTEGER PRIMARY KEY AUTOINCREMENT, id TEXT NOT NULL UNIQUE, workspace_id TEXT NOT NULL REFERENCES workspaces (id) ON DELETE CASCADE,
    parent_id TEXT REFERENCES folders (id), display_name TEXT NOT NULL COLLATE NOCASE
);
CREATE UNIQUE INDEX IF NOT EXISTS folder_names ON folders (workspace_id, coalesce(parent_id, ''), display_name);

CREATE TABLE IF NOT EXISTS items (
    seq INTEGER PRIMARY KEY AUTOINCREMENT, id TEXT NOT NULL UNIQUE, workspace_id TEXT NOT NULL REFERENCES workspaces (id) ON DELETE CASCADE,
    type TEXT NOT NULL, display_name TEXT NOT NULL COLLATE NOCASE, description TEXT NOT NULL, folder_id TEXT REFERENCES folders (id),
    creation_payload TEXT, created_at TEXT NOT NULL, UNIQUE (workspace_id, type, display_name)
);

CREATE TABLE IF NOT EXISTS definitions (
    item_id TEXT PRIMARY KEY REFERENCES items (id) ON DELETE CASCADE, format TEXT, parts TEXT NOT NULL
);

-- polls_left: how many more reads still answer Running.
CREATE TABLE IF NOT EXISTS operations (
    id TEXT PRIMARY KEY, polls_left INTEGER NOT NULL, result TEXT, error TEXT, created_at TEXT NOT NULL, updated_at TEXT NOT NULL
);

-- The operations whose work is under way; all others have their outcome, whether or not it is told yet.
CREATE TABLE IF NOT EXISTS running_operations (id TEXT PRIMARY KEY REFERENCES operations (id) ON DELETE CASCADE);

-- path_of_statuses: every status the job has had, oldest first; a stale answer repeats an earlier one.
CREATE TABLE IF NOT EXISTS jobs (
    seq INTEGER PRIMARY KEY AUTOINCREMENT, id TEXT NOT NULL UNIQUE, workspace_id TEXT NOT NULL, item_id TEXT NOT NULL, item_type TEXT NOT NULL,
    job_type TEXT NOT NULL, status TEXT NOT NULL, path_of_statuses TEXT NOT NULL, root_activity_id TEXT NOT NULL, request TEXT NOT NULL,
    submitted_at TEXT NOT NULL, started_at TEXT, ended_at TEXT, failure TEXT, exit_value TEXT, session_id TEXT
);
CREATE INDEX IF NOT EXISTS jobs_of_item ON jobs (item_id, seq);

CREATE TABLE IF NOT EXISTS activity_runs (
    seq INTEGER PRIMARY KEY AUTOINCREMENT, id TEXT NOT NULL UNIQUE, job_id TEXT NOT NULL REFERENCES jobs (id) ON DELETE CASCADE,
    updated_at TEXT NOT NULL, answer TEXT NOT NULL
);
CREATE INDEX IF NOT EXISTS activity_runs_of_job ON activity_runs (job_id, seq);
