-- The rule as a function: the row is locked by the statement that reads it, until the caller's COMMIT.

CREATE OR REPLACE FUNCTION add_one(which text) RETURNS bigint LANGUAGE plpgsql AS $$
DECLARE held bigint;
BEGIN
  SELECT coalesce(value, 0) INTO held FROM counters WHERE key = which FOR UPDATE;
  UPDATE counters SET value = held + 1 WHERE key = which;
  RETURN held + 1;
END $$;
