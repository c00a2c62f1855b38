-- Each of these locks the user's row before it looks at the plan. Whose word counts, the lock does not say: the rules
-- differ in what they ask. `ids`: whether the attempts are known; `stands`: whether an upgrade that has begun cannot be
-- cancelled; `reopens`: whether who upgrades after a cancel means it.

CREATE OR REPLACE FUNCTION begin_upgrade(who text, attempt text, ids boolean, reopens boolean)
RETURNS text LANGUAGE plpgsql AS $$
DECLARE held plans%ROWTYPE;
BEGIN
  SELECT * INTO held FROM plans WHERE key = who FOR UPDATE;
  IF ids THEN
    IF attempt = ANY(held.known) THEN RETURN 'known'; END IF;
    IF held.pending = attempt THEN RETURN 'pending'; END IF;
    IF held.plan = 'pro' OR ((held.closed OR held.pending <> '') AND NOT reopens) THEN RETURN 'refused'; END IF;
  END IF;
  UPDATE plans SET
    plan = coalesce(held.plan, 'free'), pending = attempt, closed = false, known = coalesce(held.known, '{}')
  WHERE key = who;
  RETURN CASE WHEN ids AND held.closed THEN 'reopened' ELSE 'pending' END;
END $$;

CREATE OR REPLACE FUNCTION settle_upgrade(who text, attempt text, ids boolean) RETURNS text LANGUAGE plpgsql AS $$
DECLARE held plans%ROWTYPE;
BEGIN
  SELECT * INTO held FROM plans WHERE key = who FOR UPDATE;
  IF ids THEN
    IF attempt = ANY(held.known) THEN RETURN 'known'; END IF;
    held.known := array_append(held.known, attempt);
  END IF;
  IF NOT ids OR held.pending = attempt THEN
    UPDATE plans SET
      plan = 'pro', pending = '', closed = coalesce(held.closed, false), known = coalesce(held.known, '{}')
    WHERE key = who;
    RETURN 'active';
  END IF;
  UPDATE plans SET
    plan = coalesce(held.plan, 'free'), pending = coalesce(held.pending, ''), closed = coalesce(held.closed, false),
    known = held.known
  WHERE key = who;
  RETURN 'late';
END $$;

CREATE OR REPLACE FUNCTION abandon_upgrade(who text, attempt text, ids boolean) RETURNS text LANGUAGE plpgsql AS $$
DECLARE held plans%ROWTYPE;
BEGIN
  SELECT * INTO held FROM plans WHERE key = who FOR UPDATE;
  IF ids AND coalesce(held.pending, '') <> attempt THEN RETURN 'kept'; END IF;
  UPDATE plans SET
    plan = coalesce(held.plan, 'free'), pending = '', closed = coalesce(held.closed, false),
    known = coalesce(held.known, '{}')
  WHERE key = who;
  RETURN 'abandoned';
END $$;

CREATE OR REPLACE FUNCTION cancel_plan(who text, stands boolean) RETURNS text LANGUAGE plpgsql AS $$
DECLARE held plans%ROWTYPE;
BEGIN
  SELECT * INTO held FROM plans WHERE key = who FOR UPDATE;
  IF stands AND (held.pending <> '' OR held.plan = 'pro') THEN RETURN 'refused'; END IF;
  UPDATE plans SET plan = 'free', pending = '', closed = true, known = coalesce(held.known, '{}') WHERE key = who;
  RETURN CASE WHEN held.plan = 'pro' THEN 'ended' WHEN held.pending <> '' THEN 'cancelled' ELSE 'noted' END;
END $$;
