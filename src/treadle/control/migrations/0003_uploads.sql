-- Resumable uploads, and the numbers by which a listener resumes the trail of a run.

-- An upload. How far it has come is not here: that is what the lake has flushed of `staged_path`.
CREATE TABLE treadle.uploads (
    upload_id   uuid        PRIMARY KEY,
    file_name   text        NOT NULL,                        -- the name in Files/import/ that it is to get
    size_bytes  bigint      NOT NULL CHECK (size_bytes >= 0),
    sha256      text        CHECK (sha256 ~ '^[0-9a-f]{64}$'),  -- as its sender says; null: said at the end
    overwrite   boolean     NOT NULL,
    staged_path text        NOT NULL UNIQUE,
    state       text        NOT NULL DEFAULT 'OPEN' CHECK (state IN ('OPEN', 'PLACING', 'PLACED', 'CANCELLED')),
    created_by  text        NOT NULL,
    created_at  timestamptz NOT NULL DEFAULT clock_timestamp(),
    expires_at  timestamptz NOT NULL,
    placed_at   timestamptz,
    CHECK ((state = 'PLACED') = (placed_at IS NOT NULL)),
    CHECK (state IN ('OPEN', 'CANCELLED') OR sha256 IS NOT NULL)
);
CREATE INDEX uploads_expiry ON treadle.uploads (expires_at);

-- run_events has no numbers, and events may be committed in another order than their times. Each gets its number here, once, when it is first seen.
CREATE TABLE treadle.run_feed (
    run_id   uuid   NOT NULL,
    seq      bigint NOT NULL CHECK (seq > 0),                -- 1, 2, 3 … without gaps within a run
    event_id uuid   NOT NULL,
    PRIMARY KEY (run_id, seq),
    UNIQUE (run_id, event_id)
);
