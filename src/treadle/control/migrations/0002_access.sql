-- API tokens, the audit, and the keys that make repeated requests have one effect.

-- An API token. Of the secret only its SHA-256 is here: it has 256 random bits, so no slower hash is needed (nothing can be guessed).
CREATE TABLE treadle.tokens (
    token_id      text        PRIMARY KEY CHECK (token_id ~ '^[0-9a-f]{12}$'),
    name          text        NOT NULL CHECK (name <> ''),
    role          text        NOT NULL CHECK (role IN ('viewer', 'operator', 'admin')),
    scopes        text[],                                    -- null: all rights of the role
    secret_sha256 bytea       NOT NULL CHECK (length(secret_sha256) = 32),
    created_at    timestamptz NOT NULL DEFAULT clock_timestamp(),
    created_by    text        NOT NULL,
    expires_at    timestamptz NOT NULL,
    revoked_at    timestamptz,
    revoked_by    text,
    last_used_at  timestamptz                                -- written at most once a minute
);

-- The audit: one row before each change (asked), one after it (done, failed), one alone for what was refused. Each row holds the hash of
-- the one before it. details is canonical JSON as text, not jsonb: the hash is over these very characters.
CREATE TABLE treadle.audit (
    number         bigint      PRIMARY KEY CHECK (number > 0),
    at             timestamptz NOT NULL,
    subject        text        NOT NULL,
    name           text        NOT NULL,
    role           text,
    via            text        NOT NULL,
    action         text        NOT NULL,
    target         text        NOT NULL,
    outcome        text        NOT NULL CHECK (outcome IN ('asked', 'done', 'failed', 'refused')),
    details        text        NOT NULL,
    correlation_id text,
    asked          bigint      REFERENCES treadle.audit (number),  -- of a done or failed: the row that asked
    previous_hash  text        NOT NULL,
    hash           text        NOT NULL UNIQUE
);
CREATE INDEX audit_asked ON treadle.audit (asked) WHERE asked IS NOT NULL;

-- The end of the chain. Locked by whoever appends, so numbers have no gaps; and a tail that was cut off no longer reaches it.
CREATE TABLE treadle.audit_head (
    single boolean PRIMARY KEY DEFAULT true CHECK (single),
    number bigint  NOT NULL,
    hash   text    NOT NULL
);
INSERT INTO treadle.audit_head (number, hash) VALUES (0, repeat('0', 64));

CREATE FUNCTION treadle.refuse_audit_change() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    RAISE EXCEPTION 'the audit is append-only: % on %.% is refused', TG_OP, TG_TABLE_SCHEMA, TG_TABLE_NAME USING ERRCODE = 'insufficient_privilege';
END
$$;

CREATE FUNCTION treadle.refuse_audit_head_back() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    IF NEW.number <> OLD.number + 1 THEN
        RAISE EXCEPTION 'the head of the audit goes forward by one' USING ERRCODE = 'insufficient_privilege';
    END IF;
    RETURN NEW;
END
$$;

CREATE TRIGGER audit_append_only BEFORE UPDATE OR DELETE OR TRUNCATE ON treadle.audit
    FOR EACH STATEMENT EXECUTE FUNCTION treadle.refuse_audit_change();
CREATE TRIGGER audit_head_stays BEFORE DELETE OR TRUNCATE ON treadle.audit_head
    FOR EACH STATEMENT EXECUTE FUNCTION treadle.refuse_audit_change();
CREATE TRIGGER audit_head_goes_forward BEFORE UPDATE ON treadle.audit_head
    FOR EACH ROW EXECUTE FUNCTION treadle.refuse_audit_head_back();
-- ALWAYS: also in a session that replays changes of a replica, where ordinary triggers do not fire.
ALTER TABLE treadle.audit ENABLE ALWAYS TRIGGER audit_append_only;
ALTER TABLE treadle.audit_head ENABLE ALWAYS TRIGGER audit_head_stays;
ALTER TABLE treadle.audit_head ENABLE ALWAYS TRIGGER audit_head_goes_forward;

-- A request that must have its effect once, however often it is sent: who claimed it, and what was answered.
CREATE TABLE treadle.idempotency (
    owner       text        NOT NULL,                        -- the principal's subject: keys of different callers never meet
    key         text        NOT NULL,
    fingerprint bytea       NOT NULL CHECK (length(fingerprint) = 32),  -- SHA-256 of method, route and body
    holder      uuid        NOT NULL,                        -- whose turn it is
    lease_until timestamptz NOT NULL,                        -- after it, the holder counts as crashed
    answer      jsonb,                                       -- null: not answered yet
    expires_at  timestamptz NOT NULL,
    PRIMARY KEY (owner, key)
);
CREATE INDEX idempotency_expiry ON treadle.idempotency (expires_at);
