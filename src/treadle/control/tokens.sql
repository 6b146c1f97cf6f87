-- insert_token
-- The database's clock says until when the token lives. No row back: the id is taken.
INSERT INTO treadle.tokens (token_id, name, role, scopes, secret_sha256, created_by, expires_at)
VALUES (%(token_id)s::text, %(name)s::text, %(role)s::text, %(scopes)s::text[], %(secret_sha256)s::bytea, %(created_by)s::text,
        clock_timestamp() + %(lifetime)s::interval)
ON CONFLICT (token_id) DO NOTHING
RETURNING token_id, name, role, scopes, created_at, created_by, expires_at, revoked_at, revoked_by, last_used_at, false AS expired;

-- list_tokens
-- Newest first; never the hashes.
SELECT token_id, name, role, scopes, created_at, created_by, expires_at, revoked_at, revoked_by, last_used_at,
       expires_at <= clock_timestamp() AS expired
  FROM treadle.tokens
 WHERE TRUE
   AND revoked_at IS NULL AND expires_at > clock_timestamp()  -- if usable
 ORDER BY created_at DESC, token_id;

-- revoke_token
-- The first to revoke is the one that is recorded. No row back: there is no such token, or it was revoked before.
UPDATE treadle.tokens SET revoked_at = clock_timestamp(), revoked_by = %(revoked_by)s::text
 WHERE token_id = %(token_id)s::text AND revoked_at IS NULL
RETURNING token_id, name, role, scopes, created_at, created_by, expires_at, revoked_at, revoked_by, last_used_at,
          expires_at <= clock_timestamp() AS expired;

-- get_token
-- What revoke_token has to say when it changed nothing.
SELECT token_id, name, role, scopes, created_at, created_by, expires_at, revoked_at, revoked_by, last_used_at,
       expires_at <= clock_timestamp() AS expired
  FROM treadle.tokens WHERE token_id = %(token_id)s::text;

-- authenticate
-- All that is needed to judge a token, by the database's clock.
SELECT name, role, scopes, secret_sha256, revoked_at IS NOT NULL AS revoked,
       extract(epoch FROM expires_at - clock_timestamp())::float8 AS seconds_left,
       last_used_at IS NULL OR last_used_at < clock_timestamp() - interval '1 minute' AS use_unrecorded
  FROM treadle.tokens WHERE token_id = %(token_id)s::text;

-- record_use
-- At most once a minute, whoever comes first.
UPDATE treadle.tokens SET last_used_at = clock_timestamp()
 WHERE token_id = %(token_id)s::text AND (last_used_at IS NULL OR last_used_at < clock_timestamp() - interval '1 minute');
