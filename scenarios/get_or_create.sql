-- Who asks locks the name before it looks: a row that is not there yet cannot be locked.
-- The lock is a statement of its own, so that the look is not older than the wait for it.

CREATE OR REPLACE FUNCTION row_of(name text, new_row text) RETURNS SETOF text LANGUAGE plpgsql AS $$
BEGIN
  PERFORM FROM names WHERE key = name FOR UPDATE;
  IF NOT EXISTS (SELECT FROM named_rows WHERE key = name) THEN
    INSERT INTO named_rows (key, member) VALUES (name, new_row);
  END IF;
  RETURN QUERY SELECT member FROM named_rows WHERE key = name;
END $$;
