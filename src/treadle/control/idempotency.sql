-- claim
-- The first to come has it. Later it may be taken over when its holder crashed (its lease lapsed unanswered) or the whole row has expired.
-- No row back: it is answered, in somebody's hands, or was used for another request.
INSERT INTO treadle.idempotency AS kept (owner, key, fingerprint, holder, lease_until, expires_at)
VALUES (%(owner)s::text, %(key)s::text, %(fingerprint)s::bytea, %(holder)s::uuid, clock_timestamp() + %(lease)s::interval,
        clock_timestamp() + %(lifetime)s::interval)
ON CONFLICT (owner, key) DO UPDATE
   SET fingerprint = excluded.fingerprint, holder = excluded.holder, lease_until = excluded.lease_until, answer = NULL,
       expires_at = excluded.expires_at
 WHERE kept.expires_at <= clock_timestamp()
    OR (kept.answer IS NULL AND kept.lease_until <= clock_timestamp() AND kept.fingerprint = excluded.fingerprint)
RETURNING holder;

-- kept
-- What stands in the way of a claim.
SELECT fingerprint, answer FROM treadle.idempotency WHERE owner = %(owner)s::text AND key = %(key)s::text;

-- keep_answer
-- Only by the holder: one whose claim was taken over has nothing to say any more.
UPDATE treadle.idempotency SET answer = %(answer)s::jsonb
 WHERE owner = %(owner)s::text AND key = %(key)s::text AND holder = %(holder)s::uuid AND answer IS NULL
RETURNING holder;

-- let_go
-- The request was refused: the key is free for another try.
DELETE FROM treadle.idempotency WHERE owner = %(owner)s::text AND key = %(key)s::text AND holder = %(holder)s::uuid AND answer IS NULL;

-- delete_expired
-- What nobody will ask for again, a thousand at a time.
DELETE FROM treadle.idempotency
 WHERE (owner, key) IN (SELECT owner, key FROM treadle.idempotency WHERE expires_at <= clock_timestamp() LIMIT 1000)
RETURNING key;
