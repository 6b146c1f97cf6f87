-- Documents: scenarios, what they made, the index of their texts, connections. Found by container and id, by members, and by words.

CREATE TABLE treadle.documents (
    container  text COLLATE "C" NOT NULL,
    id         text COLLATE "C" NOT NULL,                    -- pages are in this order, the same on every installation
    body       jsonb            NOT NULL CHECK (jsonb_typeof(body) = 'object'),
    etag       text             NOT NULL,                    -- another one with every write, so that no writer overwrites what it has not seen
    updated_at timestamptz      NOT NULL DEFAULT clock_timestamp(),
    words      tsvector         NOT NULL,                    -- of all texts in the body; those of its title and names weigh more
    PRIMARY KEY (container, id)
);
CREATE INDEX documents_words ON treadle.documents USING gin (words);
CREATE INDEX documents_members ON treadle.documents USING gin (body jsonb_path_ops);
