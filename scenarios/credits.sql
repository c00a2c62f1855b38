-- The rule as functions: the account is locked by the statement that reads it, until the caller's COMMIT.

CREATE OR REPLACE FUNCTION reserve_credit(who text, now_ms bigint, mine text, refill bigint, every bigint)
RETURNS boolean LANGUAGE plpgsql AS $$
DECLARE account credit_accounts%ROWTYPE;
BEGIN
  SELECT * INTO account FROM credit_accounts WHERE key = who FOR UPDATE;
  account.credits := coalesce(account.credits, 0);
  IF coalesce(account.due_ms, 0) <= now_ms THEN
    account.credits := account.credits + refill;
    account.due_ms := now_ms + every;
  END IF;
  IF account.credits < 1 THEN RETURN false; END IF;
  UPDATE credit_accounts
  SET credits = account.credits - 1, due_ms = account.due_ms, held = array_append(account.held, mine)
  WHERE key = who;
  RETURN true;
END $$;

CREATE OR REPLACE FUNCTION end_reservation(who text, mine text, back bigint)
RETURNS boolean LANGUAGE plpgsql AS $$
DECLARE account credit_accounts%ROWTYPE;
BEGIN
  SELECT * INTO account FROM credit_accounts WHERE key = who FOR UPDATE;
  IF mine = ANY(account.held) THEN
    UPDATE credit_accounts
    SET credits = account.credits + back, held = array_remove(account.held, mine) WHERE key = who;
    RETURN true;
  END IF;
  RETURN false;
END $$;
