-- A key that was never sent has no row, and FOR UPDATE would lock nothing: who begins locks the key itself. The lock is
-- a statement of its own, before the row is looked for, and ends with the caller's COMMIT.

-- No row: the key was free, and is claimed now. Else the claim that is live, or the answer.
CREATE OR REPLACE FUNCTION begin_request(sent text, mine text, wanted text, now_ms bigint, ends_ms bigint)
RETURNS SETOF claimed_keys LANGUAGE plpgsql AS $$
BEGIN
  PERFORM pg_advisory_xact_lock('claimed_keys'::regclass::oid::int, hashtext(sent));
  RETURN QUERY SELECT * FROM claimed_keys WHERE key = sent AND (answer IS NOT NULL OR until_ms > now_ms);
  IF FOUND THEN RETURN; END IF;
  INSERT INTO claimed_keys (key, attempt, body, until_ms) VALUES (sent, mine, wanted, ends_ms)
  ON CONFLICT (key) DO UPDATE SET attempt = mine, body = wanted, until_ms = ends_ms;
END $$;

CREATE OR REPLACE FUNCTION complete_request(sent text, mine text, given text, now_ms bigint)
RETURNS boolean LANGUAGE plpgsql AS $$
BEGIN
  PERFORM pg_advisory_xact_lock('claimed_keys'::regclass::oid::int, hashtext(sent));
  UPDATE claimed_keys SET answer = coalesce(answer, given)
  WHERE key = sent AND attempt = mine AND (answer IS NOT NULL OR until_ms > now_ms);
  RETURN FOUND;
END $$;
