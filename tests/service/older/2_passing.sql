ALTER TABLE calls ADD COLUMN passing_since timestamptz;
COMMENT ON COLUMN calls.passing_since IS 'first of the failures in a row that may pass';
