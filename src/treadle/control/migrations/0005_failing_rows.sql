-- The rows on which the checks of a profile failed, beside it. Profiles that were made without them are made again when somebody asks.

DELETE FROM treadle.file_profiles;
ALTER TABLE treadle.file_profiles ADD COLUMN failing_rows jsonb NOT NULL DEFAULT '[]';
