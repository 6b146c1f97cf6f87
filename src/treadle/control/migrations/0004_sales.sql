-- What files were found to hold, so that each version of a file is looked into once; and what is told outside Treadle, each thing once.

CREATE TABLE treadle.file_profiles (
    file_name     text        NOT NULL,
    wishes_sha256 text        NOT NULL,                      -- how the file was read: mapping, sheet, and by which release
    etag          text        NOT NULL,                      -- of the very bytes that were read
    profile       jsonb       NOT NULL,
    computed_at   timestamptz NOT NULL DEFAULT clock_timestamp(),
    PRIMARY KEY (file_name, wishes_sha256, etag)
);
CREATE INDEX file_profiles_age ON treadle.file_profiles (computed_at);

-- A channel begins to be told things when it is first seen in the settings; what happened earlier is never told to it.
CREATE TABLE treadle.notification_channels (
    channel     text        PRIMARY KEY,
    on_since    timestamptz NOT NULL,                        -- by the clock of the database with the runs
    opened_at   timestamptz NOT NULL DEFAULT clock_timestamp(),  -- the same moment by the clock of this database
    swept_until timestamptz NOT NULL                         -- by the clock of the database with the runs: earlier endings have their row
);

CREATE TABLE treadle.outbox (
    message_id  uuid        PRIMARY KEY,                     -- follows from channel, type and subject; what a receiver knows a repetition by
    channel     text        NOT NULL,
    type        text        NOT NULL,
    subject     text        NOT NULL,                        -- the run, the event or the job that it is about
    happened_at timestamptz NOT NULL,
    facts       jsonb       NOT NULL,
    created_at  timestamptz NOT NULL DEFAULT clock_timestamp(),
    sent_at     timestamptz,
    UNIQUE (channel, type, subject)
);
CREATE INDEX outbox_age ON treadle.outbox (created_at);
