-- Uploads of a scenario's archives: they belong to who began them, get a place of their own, and are used up by one job.
ALTER TABLE treadle.uploads
    ADD COLUMN owner        text,                -- the subject of who began it; null: begun before this was kept
    ADD COLUMN archive_path text UNIQUE,         -- where the verified archive goes; null: a workbook, which goes to Files/import/
    ADD COLUMN used_by      uuid,                -- the job that builds from it; null: nobody has used it
    ADD CHECK (archive_path IS NULL OR owner IS NOT NULL),
    ADD CHECK (used_by IS NULL OR (archive_path IS NOT NULL AND state = 'PLACED'));
