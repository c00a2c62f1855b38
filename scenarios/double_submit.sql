-- Who starts locks the user's row before it looks: whoever comes second waits here, and then finds the first at work.

CREATE OR REPLACE FUNCTION start_attempt(who text, mine text, ends_ms bigint, now_ms bigint)
RETURNS boolean LANGUAGE plpgsql AS $$
DECLARE held users%ROWTYPE;
BEGIN
  SELECT * INTO held FROM users WHERE key = who FOR UPDATE;
  IF held.until_ms > now_ms THEN RETURN false; END IF;
  UPDATE users SET attempt = mine, until_ms = ends_ms WHERE key = who;
  RETURN true;
END $$;

CREATE OR REPLACE FUNCTION finish_attempt(who text, mine text, now_ms bigint)
RETURNS boolean LANGUAGE plpgsql AS $$
DECLARE held users%ROWTYPE;
BEGIN
  SELECT * INTO held FROM users WHERE key = who FOR UPDATE;
  IF held.attempt = mine AND held.until_ms > now_ms THEN
    UPDATE users SET attempt = NULL, until_ms = NULL WHERE key = who;
    RETURN true;
  END IF;
  RETURN false;
END $$;

-- Who takes over is told from whom: of two that look before either writes, both would be told of nobody.

CREATE OR REPLACE FUNCTION take_over(who text, mine text, ends_ms bigint, now_ms bigint)
RETURNS text LANGUAGE plpgsql AS $$
DECLARE held users%ROWTYPE;
BEGIN
  SELECT * INTO held FROM users WHERE key = who FOR UPDATE;
  UPDATE users SET attempt = mine, until_ms = ends_ms WHERE key = who;
  RETURN CASE WHEN held.until_ms > now_ms THEN held.attempt END;
END $$;

-- Who joins is told who is at work; what that one made stays, with a lease that ends at 0.

CREATE OR REPLACE FUNCTION join_attempt(who text, mine text, ends_ms bigint, now_ms bigint)
RETURNS text LANGUAGE plpgsql AS $$
DECLARE held users%ROWTYPE;
BEGIN
  SELECT * INTO held FROM users WHERE key = who FOR UPDATE;
  IF held.until_ms > now_ms THEN RETURN held.attempt; END IF;
  UPDATE users SET attempt = mine, until_ms = ends_ms WHERE key = who;
  RETURN mine;
END $$;

CREATE OR REPLACE FUNCTION keep_result(who text, mine text, now_ms bigint)
RETURNS boolean LANGUAGE plpgsql AS $$
DECLARE held users%ROWTYPE;
BEGIN
  SELECT * INTO held FROM users WHERE key = who FOR UPDATE;
  IF held.attempt = mine AND held.until_ms > now_ms THEN
    UPDATE users SET until_ms = 0 WHERE key = who;
    RETURN true;
  END IF;
  RETURN false;
END $$;
