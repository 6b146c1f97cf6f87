-- get_document
-- By its key.
SELECT container, id, body, etag, updated_at
  FROM treadle.documents
 WHERE container = %(container)s::text AND id = %(id)s::text;

-- list_documents
-- In the order of the ids, behind the last one of the page before.
SELECT container, id, body, etag, updated_at
  FROM treadle.documents
 WHERE container = %(container)s::text
   AND id > %(after)s::text  -- if after
   AND body @> %(where)s::jsonb  -- if where
 ORDER BY id
 LIMIT %(limit)s::bigint;

-- put_document
-- Whatever was there before.
INSERT INTO treadle.documents (container, id, body, etag, words)
VALUES (%(container)s::text, %(id)s::text, %(body)s::jsonb, gen_random_uuid()::text,
        setweight(to_tsvector('simple', %(heading)s::text), 'A') || to_tsvector('simple', %(text)s::text))
    ON CONFLICT (container, id) DO UPDATE
   SET body = excluded.body, etag = excluded.etag, words = excluded.words, updated_at = clock_timestamp()
RETURNING container, id, body, etag, updated_at;

-- create_document
-- No row back: there is one already.
INSERT INTO treadle.documents (container, id, body, etag, words)
VALUES (%(container)s::text, %(id)s::text, %(body)s::jsonb, gen_random_uuid()::text,
        setweight(to_tsvector('simple', %(heading)s::text), 'A') || to_tsvector('simple', %(text)s::text))
    ON CONFLICT (container, id) DO NOTHING
RETURNING container, id, body, etag, updated_at;

-- replace_document
-- No row back: it has another etag, or is gone.
UPDATE treadle.documents
   SET body = %(body)s::jsonb, etag = gen_random_uuid()::text, updated_at = clock_timestamp(),
       words = setweight(to_tsvector('simple', %(heading)s::text), 'A') || to_tsvector('simple', %(text)s::text)
 WHERE container = %(container)s::text AND id = %(id)s::text AND etag = %(if_match)s::text
RETURNING container, id, body, etag, updated_at;

-- delete_document
-- No row back: there is none, or it has another etag.
DELETE FROM treadle.documents
 WHERE container = %(container)s::text AND id = %(id)s::text
   AND etag = %(if_match)s::text  -- if if_match
RETURNING id;

-- search_documents
-- Best first: words in the heading weigh most, then words that stand together; long texts do not win by length. Ties in the order of the ids.
SELECT container, id, body, etag, updated_at
  FROM treadle.documents
 WHERE words @@ to_tsquery('simple', %(query)s::text)
   AND container = %(container)s::text
   AND body @> %(where)s::jsonb  -- if where
 ORDER BY ts_rank_cd(words, to_tsquery('simple', %(query)s::text), 1) DESC, id
 LIMIT %(limit)s::bigint;
