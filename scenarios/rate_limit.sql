-- Who asks locks the user's row before it looks how many have asked: of two, the second counts the first.

CREATE OR REPLACE FUNCTION hit_fixed_window(who text, now_ms bigint, most bigint, window_ms bigint)
RETURNS bigint LANGUAGE plpgsql AS $$
DECLARE held fixed_windows%ROWTYPE;
BEGIN
  SELECT * INTO held FROM fixed_windows WHERE key = who FOR UPDATE;
  IF held.until_ms IS NULL OR held.until_ms <= now_ms THEN
    held.count := 0;
    held.until_ms := now_ms + window_ms;
  END IF;
  UPDATE fixed_windows SET count = held.count + 1, until_ms = held.until_ms WHERE key = who;
  RETURN most - held.count - 1;
END $$;
